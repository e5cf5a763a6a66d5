"""The manifest of a capture: every field that a reader may rely on, validated on writing and on reading.

A capture is a folder (see docs/capture_format.md). `manifest.json` is this file's `Manifest` as JSON; the arrays and token
rows lie beside it. Versions are MAJOR.MINOR: a reader takes a newer minor version and refuses a newer major one.
"""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

SCHEMA_VERSION = "1.0"

# File names inside a capture folder; readers and the archive accept nothing else.
MANIFEST_FILE = "manifest.json"
LOAD_FILE = "load.safetensors"
COACTIVATION_FILE = "coactivation.safetensors"
CURVE_FILE = "curve.parquet"
TOKENS_FOLDER = "tokens"
EVIDENCE_FOLDER = "evidence"

# Axes of the additive tables in load.safetensors.
EXPERT_DIMS = ("block", "site", "phase", "group", "expert")
GROUP_DIMS = ("block", "site", "phase", "group")
LOAD_DIMS: dict[str, tuple[str, ...]] = {
    "count": EXPERT_DIMS,
    "mass": EXPERT_DIMS,
    "tokens": GROUP_DIMS,
    "dropped": GROUP_DIMS,
    "skipped": GROUP_DIMS,
}
LOAD_DTYPES = {"count": "int64", "mass": "float64", "tokens": "int64", "dropped": "int64", "skipped": "int64"}

BLOCKS = 32
PHASES = ("prefill", "decode")
UNKNOWN_GROUP = "unknown"
_ID = re.compile(r"^[A-Za-z0-9_\-]+$")


class Record(BaseModel):
    """Base of the manifest's parts: immutable, and tolerant of fields that a newer minor version adds."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class Site(Record):
    """One set of experts that a router chooses from: the axis of every routing table."""

    id: str  # unique, letters digits _ -, for example "text_3_mlp"; also the suffix of token columns
    stack: str  # token axis that the site works on: "text", "encoder", "decoder", "vision", "talker", ...
    layer: int = Field(ge=0)  # layer number inside its stack, as the model counts
    part: str = "mlp"  # "mlp", "attention", or a named set of experts ("text", "vision" in ERNIE 4.5 VL)
    module: str = ""  # dotted path of the module that holds router and experts
    experts: int = Field(ge=1)  # experts to choose from, identity experts included (they come last)
    top_k: int = Field(ge=1)  # choices a token
    identity_experts: int = Field(default=0, ge=0)  # zero-compute experts among `experts` (LongCat)

    @field_validator("id", "stack")
    @classmethod
    def _plain(cls, value: str) -> str:
        if not _ID.match(value):
            raise ValueError(f"'{value}' must consist of letters, digits, '_' and '-'")
        return value

    @property
    def label(self) -> str:
        """Short name for an axis tick: "3", or "vision 3 attention" where stack or part say something."""
        stack = "" if self.stack == "text" else f"{self.stack} "
        part = "" if self.part == "mlp" else f" {self.part}"
        return f"{stack}{self.layer}{part}"


class Group(Record):
    """A class of tokens whose routing is counted apart."""

    name: str
    modality: str | None = None  # "text", "image", "video", "audio", or None for a group of another kind
    role: str | None = None  # "understanding", "generation", or None where the group pools both


# The six groups of the ERNIE 5.0 report (section 6.4.1), the default for every capture.
DEFAULT_GROUPS = (
    Group(name="Text", modality="text"),
    Group(name="Image und.", modality="image", role="understanding"),
    Group(name="Video und.", modality="video", role="understanding"),
    Group(name="Image gen.", modality="image", role="generation"),
    Group(name="Video gen.", modality="video", role="generation"),
    Group(name="Audio", modality="audio"),
)


class ModelInfo(Record):
    """Which model was watched, in the words of its own configuration."""

    id: str = "unknown"  # hub id or folder name, never an absolute path
    revision: str | None = None
    family: str = "unknown"  # model_type of the configuration
    architecture: str | None = None  # class name
    dtype: str = "unknown"
    device: str = "unknown"
    parameters: int | None = None
    shared_experts: int | None = None  # always-on experts beside the routed ones, None: not stated by the model
    score_function: str | None = None  # for example "softmax" or "sigmoid + selection bias"
    weight_normalisation: str | None = None  # what a token's gate weights add up to, for example "sum 1"


class Sampling(Record):
    """How many token rows of a stack were kept: n of N, chosen by document with a seed."""

    kept: int = Field(ge=0)
    seen: int = Field(ge=0)
    seed: int = 0
    documents_kept: int = 0
    documents_seen: int = 0


class Check(Record):
    """One proof that the probe asked of itself at the end of a capture."""

    name: str
    passed: bool
    detail: str = ""
    site: str | None = None


class Flag(Record):
    """Something about a site that a reader has to know, for example that other experts ran than were chosen."""

    kind: str  # "executed_differs", "recomputed", "mixes_tokens", ...
    detail: str
    site: str | None = None


class Manifest(Record):
    """Everything about a capture that is not a table; the JSON form is `manifest.json`."""

    schema_version: str = SCHEMA_VERSION
    created: str  # ISO 8601 with offset
    model: ModelInfo = ModelInfo()
    sites: tuple[Site, ...]
    groups: tuple[Group, ...]
    grouped_by: str = (
        "modality and role"  # what the groups are: "modality and role", "file", "folder", "column kind", ...
    )
    phases: tuple[str, ...] = PHASES
    blocks: int = Field(default=BLOCKS, ge=1)
    documents: int = Field(default=0, ge=0)
    tokens: dict[str, dict[str, int]] = {}  # stack -> group -> tokens counted
    excluded: dict[str, dict[str, int]] = {}  # stack -> reason ("padding", "special") -> tokens not counted
    sampling: dict[str, Sampling] = {}  # stack -> token rows kept
    streams: tuple[str, ...] = ("load",)  # "load", "coactivation", "tokens", "curve", "evidence"
    checks: tuple[Check, ...] = ()
    flags: tuple[Flag, ...] = ()
    software: dict[str, str] = {}
    licence: str = ""  # note on the data behind the capture
    notes: str = ""  # the user's own words
    kind: Literal["routing"] = "routing"

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        for what, names in (
            ("site ids", [site.id for site in self.sites]),
            ("group names", [group.name for group in self.groups]),
            ("phases", list(self.phases)),
        ):
            if len(set(names)) != len(names):
                raise ValueError(f"{what} must be unique, got {names}")
        return self

    @property
    def stacks(self) -> tuple[str, ...]:
        """Token axes in order of first appearance."""
        return tuple(dict.fromkeys(site.stack for site in self.sites))

    @property
    def max_experts(self) -> int:
        """Length of the padded expert axis."""
        return max((site.experts for site in self.sites), default=0)
