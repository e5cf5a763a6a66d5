"""Where a model lies and what its files say: read from names, JSON and tensor headers, without torch or transformers."""

from __future__ import annotations

import json
import math
import os
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.capture.errors import WorkbenchError
from workbench.models.families import Experts, experts_of

CONFIG_FILE = "config.json"
CONFIG_LIMIT = 64 * 1024 * 1024  # bytes of a config or index file
HEADER_LIMIT = 256 * 1024 * 1024  # bytes of a safetensors header
_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.\-]*(/[A-Za-z0-9][\w.\-]*)?$")


class ModelError(WorkbenchError):
    """A model could not be found, is of the wrong kind, or cannot be loaded here."""


@dataclass(frozen=True)
class ModelSource:
    """A model that a name stands for.

    Attributes:
        name: what to call it in titles: hub id or folder name, never an absolute path.
        kind: "folder", "hub" or "gguf".
        folder: the folder that holds its files; None for a hub model that is not in the local cache.
        repo: hub id, if it is one.
        gguf_file: file name inside `folder`, or inside the hub repository.
    """

    name: str
    kind: str
    folder: Path | None = None
    repo: str | None = None
    gguf_file: str | None = None

    @property
    def target(self) -> str:
        """What transformers' from_pretrained is given."""
        return self.repo if self.repo is not None else str(self.folder)


@dataclass(frozen=True)
class ListedModel:
    """A model at hand, described from its configuration alone."""

    name: str
    path: Path
    origin: str  # "embedded" or "cache"
    family: str
    experts: Experts
    bytes: int  # of its weight files
    revision: str | None = None


EmbeddedModel = ListedModel


def checkout() -> Path | None:
    """The folder that holds `app.py` and `sample_data`, or None if the package was installed without them."""
    root = Path(__file__).resolve().parent.parent.parent
    return root if (root / "app.py").is_file() or (root / "sample_data").is_dir() else None


def offline() -> bool:
    """Whether the environment forbids the network (HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE)."""
    return any(
        os.environ.get(name, "").lower() in ("1", "true", "yes", "on")
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    )


def find_model(name: str, *, gguf_file: str | None = None, revision: str | None = None) -> ModelSource:
    """Find what `name` stands for: a folder, a GGUF file, an embedded model's name, or a hub id.

    Raises:
        ModelError: if it is none of them.
    """
    path = Path(name).expanduser()
    if path.suffix.lower() == ".gguf" and path.is_file():
        return ModelSource(path.stem, "gguf", folder=path.parent, gguf_file=path.name)
    if path.is_dir():
        return _folder_source(path, gguf_file)
    if path.is_file():
        raise ModelError(
            f"A model is a folder, a .gguf file or a hub id, but '{name}' is a file of another kind: name the folder that holds its "
            f"{CONFIG_FILE}."
        )
    for model in embedded_models():
        if model.name == name:
            return ModelSource(name, "folder", folder=model.path)
    if not _HUB_ID.match(name) or ".." in name:
        raise ModelError(
            f"'{name}' is no folder and no file here, and no hub id like 'owner/model' either: check the path (now in '{Path.cwd()}')."
        )
    if gguf_file:
        return ModelSource(name, "gguf", repo=name, gguf_file=gguf_file)
    return ModelSource(name, "hub", folder=_cached_folder(name, revision), repo=name)


def _folder_source(path: Path, gguf_file: str | None) -> ModelSource:
    name = path.resolve().name
    if gguf_file:
        if not (path / gguf_file).is_file():
            raise ModelError(f"The folder '{path}' has no file '{gguf_file}': check --gguf-file.")
        return ModelSource(f"{name}/{gguf_file}", "gguf", folder=path, gguf_file=gguf_file)
    if not (path / CONFIG_FILE).is_file():
        found = sorted(file.name for file in path.glob("*.gguf"))
        if len(found) == 1:
            return ModelSource(f"{name}/{found[0]}", "gguf", folder=path, gguf_file=found[0])
        hint = (
            f"choose one of {', '.join(found)} with --gguf-file"
            if found
            else "name the folder that transformers saved the model in"
        )
        raise ModelError(f"The folder '{path}' has no {CONFIG_FILE}, which every model folder has: {hint}.")
    return ModelSource(name, "folder", folder=path)


def _cached_folder(repo: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, CONFIG_FILE, revision=revision)
    return Path(found).parent if isinstance(found, str) else None


def read_json(file: Path) -> dict[str, Any]:
    """Parse a bounded JSON object; raises ModelError naming the file."""
    try:
        if file.stat().st_size > CONFIG_LIMIT:
            raise ModelError(
                f"'{file}' is larger than any model's description ({CONFIG_LIMIT // 2**20} MB): is it the right file?"
            )
        value = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as fault:
        raise ModelError(
            f"'{file}' cannot be read as JSON ({first_sentence(fault)}): download or save the model again."
        ) from fault
    if not isinstance(value, dict):
        raise ModelError(
            f"'{file}' should hold a JSON object, but holds a {type(value).__name__}: save the model again."
        )
    return value


def read_config(source: ModelSource, *, revision: str | None = None) -> dict[str, Any] | None:
    """The `config.json` of a model, or None where it is inside a GGUF file; a hub model's is downloaded if need be."""
    if source.kind == "gguf":
        return None
    if source.folder is None:
        return read_json(_download_config(source, revision))
    return read_json(source.folder / CONFIG_FILE)


def _download_config(source: ModelSource, revision: str | None) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(source.target, CONFIG_FILE, revision=revision, local_files_only=offline()))
    except Exception as fault:
        raise hub_error(source.target, fault, revision) from fault


def hub_error(repo: str, fault: Exception, revision: str | None = None) -> ModelError:
    """The sentence for a hub model that could not be had."""
    from huggingface_hub import errors

    if isinstance(fault, errors.GatedRepoError):
        return ModelError(
            f"The model '{repo}' is gated on the hub: accept its licence on its page, run `hf auth login`, and try again."
        )
    if isinstance(fault, errors.RevisionNotFoundError):
        return ModelError(f"The model '{repo}' has no revision '{revision}': check --revision.")
    if isinstance(fault, errors.RepositoryNotFoundError):
        return ModelError(
            f"There is no folder and no model on the hub called '{repo}': check the spelling, or log in if it is private."
        )
    if isinstance(fault, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled | OSError):
        return ModelError(
            f"'{repo}' is no folder here and not in the local cache, and the hub was not reached: download it where there is a network, "
            "or name a folder."
        )
    return ModelError(
        f"The model '{repo}' could not be fetched ({first_sentence(fault)}): check the name and the network."
    )


def first_sentence(fault: BaseException, limit: int = 200) -> str:
    """The first line of another library's error, short enough to stand inside a sentence."""
    text = str(fault).strip().splitlines()
    line = text[0].strip().rstrip(".:") if text else type(fault).__name__
    return line if len(line) <= limit else line[: limit - 1] + "…"


# ------------------------------------------------------------------ weights
def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder."""
    return sorted(folder.glob("*.safetensors"))


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a safetensors file, as its header describes it.

    Attributes:
        name, dtype, shape: as stored.
        start, size: bytes from the start of the file, and how many.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int


def stored_tensors(file: Path) -> list[StoredTensor]:
    """Every tensor in a safetensors file, from its header alone.

    Raises:
        ModelError: if the file is cut or is none.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as handle:
            prefix = handle.read(8)
            length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else -1
            if not 2 <= length <= min(HEADER_LIMIT, size - 8):
                raise ModelError(f"'{file}' is not a whole safetensors file ({size} bytes): download it again.")
            header = json.loads(handle.read(length))
    except (ValueError, OSError) as fault:
        raise ModelError(
            f"'{file}' has a header that cannot be read ({first_sentence(fault)}): download it again."
        ) from fault
    found = [
        StoredTensor(
            name,
            str(entry["dtype"]),
            tuple(int(extent) for extent in entry["shape"]),
            8 + length + int(entry["data_offsets"][0]),
            int(entry["data_offsets"][1]) - int(entry["data_offsets"][0]),
        )
        for name, entry in header.items()
        if name != "__metadata__"
    ]
    end = max((tensor.start + tensor.size for tensor in found), default=0)
    if end > size:
        raise ModelError(f"'{file}' is cut off ({size} of {end} bytes): download it again.")
    return found


def tensor_shapes(file: Path) -> Iterator[tuple[str, str, int]]:
    """(name, dtype code, number of elements) of every tensor in a safetensors file, from its header alone.

    Raises:
        ModelError: if the file is cut or is none.
    """
    for tensor in stored_tensors(file):
        yield tensor.name, tensor.dtype, math.prod(tensor.shape)


def check_weights(source: ModelSource) -> None:
    """Refuse a model folder without safetensors weights; the sentence says what to do instead."""
    if source.kind != "folder" or source.folder is None:
        return
    folder = source.folder
    if weight_files(folder):
        return
    pickles = sorted(file.name for pattern in ("*.bin", "*.pt", "*.pth") for file in folder.glob(pattern))
    if pickles:
        raise ModelError(
            f"The weights of '{source.name}' are a pickle ({pickles[0]}), which can run code when it is read: make safetensors of it with "
            f"`workbench convert {folder} --out NEW_FOLDER`."
        )
    if sorted(folder.glob("*.gguf")):
        raise ModelError(f"'{source.name}' holds its weights in GGUF files: choose one with --gguf-file.")
    raise ModelError(
        f"The folder '{folder}' has a {CONFIG_FILE} but no *.safetensors weights: download or save the model again."
    )


# ------------------------------------------------------------------ models at hand
def embedded_models(root: Path | None = None) -> list[EmbeddedModel]:
    """The models that come with the workbench: `sample_data/checkpoints/*`, by name."""
    base = root or checkout()
    if base is None:
        return []
    found = (
        list_model(file.parent, file.parent.name, "embedded")
        for file in sorted((base / "sample_data" / "checkpoints").glob("*/config.json"))
    )
    return [model for model in found if model is not None]


def cached_models() -> list[ListedModel]:
    """Mixture-of-experts models in the local Hugging Face cache, judged by their config.json, newest revision of each."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        cache = scan_cache_dir()
    except (CacheNotFound, OSError, ValueError):
        return []
    models = []
    for repo in sorted(cache.repos, key=lambda repo: repo.repo_id):
        if repo.repo_type != "model":
            continue
        for revision in sorted(repo.revisions, key=lambda revision: revision.last_modified, reverse=True):
            model = list_model(Path(revision.snapshot_path), repo.repo_id, "cache", revision.commit_hash)
            if model is not None:
                models.append(model)
                break
    return models


def list_model(folder: Path, name: str, origin: str, revision: str | None = None) -> ListedModel | None:
    """Describe a model folder from its config.json, or None if it is dense, unreadable or none."""
    file = folder / CONFIG_FILE
    if not file.is_file():
        return None
    try:
        config = read_json(file)
    except ModelError:
        return None
    experts = experts_of(config)
    if experts is None:
        return None
    size = sum(weights.stat().st_size for weights in weight_files(folder))
    return ListedModel(name, folder, origin, str(config.get("model_type", "unknown")), experts, size, revision)


def check_config(name: str, config: Mapping[str, Any]) -> None:
    """Refuse a configuration that needs remote code, or that says in plain words that the model is dense.

    Raises:
        ModelError: naming the model type.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    family = config.get("model_type")
    if family in CONFIG_MAPPING:
        return
    if "auto_map" in config:
        raise ModelError(
            f"The model '{name}' (type '{family}') brings its own Python code, which the workbench never runs: use a version of it that "
            "transformers knows, or register an adapter for it in a notebook (docs/probes.md)."
        )
    raise ModelError(
        f"The installed transformers knows no model type '{family}', which '{name}' asks for: check its {CONFIG_FILE}, or upgrade transformers."
    )
