"""Engines as plug-ins: what an engine must do, which there are, and how one is loaded.

    from workbench.extract import load_engine
    load_engine("usm").extract(["Marie Curie worked in Paris."], {"entities": ["person", "city"]})

Built-in engines stand in `BUILT_IN`; a package adds its own by an entry point in the group "workbench.engines" that names an
`EngineSpec`. Listing engines imports no engine: torch loads when one is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from workbench.capture.errors import reason
from workbench.extract.errors import EngineError
from workbench.extract.extraction import Evidence, Extraction
from workbench.extract.records import Document, Event, Relation, Span
from workbench.extract.schema import Schema

GROUP = "workbench.engines"
CHECKPOINTS = Path(__file__).resolve().parents[2] / "sample_data" / "checkpoints"


@runtime_checkable
class Engine(Protocol):
    """A loaded engine.

    Attributes:
        name: of its `EngineSpec`. model: what was loaded, by name, folder or hub id. device: where it runs.
    """

    name: str
    model: str
    device: str

    def extract(
        self,
        texts: Sequence[str],
        schema: Schema | Mapping[str, Any],
        demonstrations: Sequence[Document] = (),
        *,
        batch_size: int = 8,
        progress: Callable[[int], None] | None = None,
        stopped: Callable[[], bool] | None = None,
    ) -> list[Extraction]:
        """Candidates of every text, in order.

        Args:
            texts: any length; offsets are code points of each.
            schema: a `Schema` or its JSON form.
            demonstrations: annotated texts to learn from in context; an engine that cannot raises EngineError if given any.
            batch_size: texts in one pass.
            progress: called with the number of texts done.
            stopped: asked between batches; once true, the extractions done so far are returned.

        An engine may take one thing more, `passes`: called with how many passes are done of how many over the texts in hand, for
        texts that are long.

        Raises:
            SchemaError: the schema is none. EngineError: what was asked cannot be done.
        """
        ...

    def explain(
        self,
        text: str,
        schema: Schema | Mapping[str, Any],
        item: Span | Relation | Event,
        demonstrations: Sequence[Document] = (),
        *,
        layer: int | None = None,
        heads: Sequence[int] | None = None,
    ) -> Evidence:
        """What stands behind one result.

        Args:
            item: a result of `extract` on the same text and schema.
            layer, heads: which attention is wanted; None: the last layer, all heads.
        """
        ...


@dataclass(frozen=True)
class EngineSpec:
    """An engine that may be loaded.

    Attributes:
        name: what `--engine` takes. title: for people. about: one sentence.
        load: "module:function" or a callable of (model, **options) -> Engine; a string keeps its module unimported.
        models: prefix of folder names below sample_data/checkpoints that hold its weights; "" where it needs none of ours.
        default_model: shipped weights to load when none are named, or a hub id, or None where the engine needs no weights.
        needs: importable package that must be installed, or "". extra: the extra of this project that brings it.
        install: how `needs` is installed where the extra alone does not bring it.
        named: whether weights have to be named, since none are shipped and none are its own.
        demonstrations: whether it learns from examples in context.
        ordered: whether its loader takes ordered=True, to show the demonstrations in the order given where it would choose one of its own.
        anonymous: whether its loader takes anonymous=True or False, to show types as `<type1>` … or under their own names in a prompt with demonstrations.
        evidence: which parts of `Evidence` it gives, of links, attention, steps, experts.
        kinds: what it finds, of entities, relations, events.
    """

    name: str
    title: str
    about: str
    load: str | Callable[..., Engine]
    models: str = ""
    default_model: str | None = None
    needs: str = ""
    extra: str = ""
    install: str = ""
    named: bool = False
    demonstrations: bool = False
    ordered: bool = False
    anonymous: bool = False
    evidence: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ("entities", "relations", "events")

    def shipped(self) -> tuple[str, ...]:
        """Names of weights at hand in sample_data/checkpoints."""
        if not self.models or not CHECKPOINTS.is_dir():
            return ()
        return tuple(
            folder.name
            for folder in sorted(CHECKPOINTS.iterdir())
            if folder.name.startswith(self.models) and any(folder.glob("*.safetensors"))
        )

    def missing(self, model: str | None = None) -> str:
        """Why it cannot run on what is at hand, in one sentence; "" if it can.

        Args:
            model: weights that are named; None: its own.
        """
        if self.needs and find_spec(self.needs) is None:
            how = self.install or f"pip install 'unified-workbench[{self.extra}]'"
            return f"The engine '{self.name}' needs the package {self.needs}: {how}."
        if model:
            return ""
        if self.named:
            return f"{self.title} has no weights of its own: name a checkpoint, by folder or hub id, as its model (on the page: Weights)."
        if self.models and not self.shipped():
            return f"No weights for the engine '{self.name}' are at hand: name a checkpoint's folder or hub id as the model, or train one with `workbench train --engine {self.name}`."
        return ""


BUILT_IN: tuple[EngineSpec, ...] = (
    EngineSpec(
        name="usm",
        title="USM",
        about="One encoder pass for a whole schema: entities, relations, events and sentiment by linking tokens and labels.",
        load="workbench.extract.usm:load",
        models="usm-",
        default_model="usm-mini",
        evidence=("links", "attention", "experts"),
    ),
    EngineSpec(
        name="uie",
        title="UIE",
        about="One structured string written for a whole schema: entities, relations, events and sentiment, every span copied from the text.",
        load="workbench.extract.uie:load",
        models="uie-",
        default_model="uie-mini",
        evidence=("steps", "attention"),
    ),
    EngineSpec(
        name="metaner",
        title="MetaNER",
        about="An extractor from an instruction and a few examples, with no training step: entities of types that nobody trained.",
        load="workbench.extract.metaner:load",
        models="metaner-",
        default_model="metaner-mini",
        demonstrations=True,
        ordered=True,
        anonymous=True,
        evidence=("steps", "attention"),
        kinds=("entities",),
    ),
    EngineSpec(
        name="gliner",
        title="GLiNER",
        about="A GLiNER checkpoint run by its authors' own code, to compare with: entities only.",
        load="workbench.extract.gliner:load",
        needs="gliner",
        extra="gliner",
        install="pip install 'unified-workbench[gliner]' && pip install --no-deps 'gliner>=0.2.29,<0.3'",
        named=True,
        kinds=("entities",),
    ),
    EngineSpec(
        name="llm",
        title="A text model of yours",
        about="A causal language model, asked in a chat with the demonstrations as its turns; answers are read as MetaNER's are: entities only.",
        load="workbench.extract.llm:load",
        named=True,
        demonstrations=True,
        ordered=True,
        evidence=("steps",),
        kinds=("entities",),
    ),
)


def engines() -> dict[str, EngineSpec]:
    """Every engine by name: built in, then from other packages. A plug-in that cannot be read is left out, not fatal."""
    found = {spec.name: spec for spec in BUILT_IN}
    for point in entry_points(group=GROUP):
        try:
            spec = point.load()
        except Exception:
            continue
        if isinstance(spec, EngineSpec) and spec.name not in found:
            found[spec.name] = spec
    return found


def engine_spec(name: str) -> EngineSpec:
    """The engine of this name.

    Raises:
        EngineError: there is none; the sentence lists those there are.
    """
    found = engines()
    if name not in found:
        raise EngineError(f"There is no engine '{name}': choose one of {', '.join(sorted(found))}.")
    return found[name]


def shipped_or(model: str) -> str:
    """The folder of shipped weights with this name; anything else as it is."""
    found = CHECKPOINTS / model
    return str(found) if Path(model).name == model and found.is_dir() else model


def load_engine(name: str, model: str | None = None, **options: Any) -> Engine:
    """Load an engine.

    Args:
        name: of the engine, for instance "usm".
        model: name of shipped weights, a folder or a hub id; None: the engine's default.
        options: passed to the engine, for instance device="cpu".

    Raises:
        EngineError: no such engine, a missing package, or no weights.
    """
    spec = engine_spec(name)
    chosen = model or spec.default_model
    if model is None and spec.missing():
        raise EngineError(spec.missing())
    if chosen is not None and spec.models:
        chosen = shipped_or(chosen)
    if spec.needs and find_spec(spec.needs) is None:
        raise EngineError(spec.missing())
    load = spec.load
    if isinstance(load, str):
        module, _, function = load.partition(":")
        try:
            load = getattr(import_module(module), function)
        except (ImportError, AttributeError) as fault:
            raise EngineError(f"The engine '{name}' could not be started ({reason(fault)}): reinstall it.") from fault
    return load(chosen, **options)


def write_json_schemas(folder: str | Path) -> list[Path]:
    """Write the JSON Schemas of schema, annotated text and extraction: what docs/schemas holds."""
    from workbench.extract import extraction, records, schema

    written = []
    for name, made in (("schema", schema), ("document", records), ("extraction", extraction)):
        path = Path(folder) / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(made.json_schema(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        written.append(path)
    return written
