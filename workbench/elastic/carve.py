"""Carve a sub-model out of a checkpoint: a real, smaller checkpoint that transformers loads by itself.

    from probes import SubModel
    carve("owner/model", SubModel.parse("layers=first:12 experts=share:0.5:mass top_k=4"), "small", ranking=ranking)

The files are cut byte range by byte range (see stored.py), shard by shard: a model larger than memory is carved, and no
number format needs to be understood. The new folder appears whole or not at all.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.capture.claims import clear_stale
from workbench.capture.write import whole_or_nothing
from workbench.convert import COPIED, LICENCE_FILES
from workbench.elastic.card import CARVE_FILE, note, with_note
from workbench.elastic.cut import Cut, make_cut, new_config
from workbench.elastic.errors import CarveError
from workbench.elastic.families import rule_of
from workbench.elastic.names import Named, renumber, understand
from workbench.elastic.stored import Piece, rows, whole, write_pieces
from workbench.models.files import (
    CONFIG_FILE,
    ModelSource,
    StoredTensor,
    check_config,
    check_weights,
    find_model,
    hub_error,
    offline,
    read_config,
    stored_tensors,
    weight_files,
)

if TYPE_CHECKING:
    from probes import SubModel

INDEX_FILE = "model.safetensors.index.json"
CARD_FILE = "README.md"
# Kept free on the disk beside what is written, for whatever else writes meanwhile.
SPARE_BYTES = 64 * 1024 * 1024

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Carved:
    """A checkpoint that was carved.

    Attributes:
        out: its folder.
        cut: what is left.
        tensors, bytes: of its weight files.
        bytes_before: of the old weight files.
    """

    out: Path
    cut: Cut
    tensors: int
    bytes: int
    bytes_before: int

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        cut = self.cut
        return {
            "out": str(self.out),
            "family": cut.family,
            "layers": len(cut.layers),
            "layers_before": cut.layers_before,
            "layers_kept": list(cut.layers),
            "experts": cut.experts_left,
            "experts_before": cut.experts_before,
            "experts_kept": {str(layer): list(experts) for layer, experts in cut.experts.items()},
            "top_k": cut.top_k,
            "tensors": self.tensors,
            "bytes": self.bytes,
            "bytes_before": self.bytes_before,
        }


def carve(
    model: str,
    sub_model: SubModel,
    out: str | Path,
    *,
    ranking: Any = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
    finish: Callable[[Path], str] | None = None,
) -> Carved:
    """Write the sub-model of a checkpoint as a checkpoint of its own.

    Args:
        model: folder, name of an embedded model, or hub id; safetensors.
        sub_model: what is left.
        out: new folder; appears whole or not at all.
        ranking: of experts or layers, where the sub-model asks for one (`probes.rank_experts`).
        progress: told (bytes written, bytes in all, what is done).
        cancelled: asked after every few megabytes; where it says True nothing is left.
        finish: given the whole folder before it takes its name (a recovery fine-tune); returns words for the model card.

    Returns:
        What was written.

    Raises:
        CarveError: if the family is not known, the sub-model is not even enough, the files lack a tensor, or it was cancelled.
        ModelError: if the model cannot be found or is no safetensors checkpoint.
        CaptureError: if the disk is full or the folder cannot be written; nothing is then left behind.
    """
    out = Path(out)
    if out.exists():
        raise CarveError(f"'{out}' exists already, and nothing is overwritten: choose another --out.")
    source, raw, config, cut = plan_cut(model, sub_model, ranking)
    if source.folder is None:  # plan_cut has fetched it
        raise CarveError(f"'{model}' has no local folder of weights to carve from: download it first.")
    files = weight_files(source.folder)
    shards = [_pieces(file, stored_tensors(file), cut) for file in files]
    _check_complete([piece for shard in shards for piece in shard], cut)
    total = sum(piece.size for shard in shards for piece in shard)
    beside = _files_beside(source.folder, cut)
    clear_stale(out.absolute().parent)  # a carve that was killed may hold the very space that is asked for
    _check_room(out, total + sum(file.stat().st_size for file in beside))
    settings = new_config(raw, config, cut)
    _check_loads(settings, cut)
    written = _Meter(total, progress, cancelled)
    with whole_or_nothing(out.absolute(), replace=False) as folder:
        placed = _write_shards([shard for shard in shards if shard], folder, written)
        _write_json(folder / CONFIG_FILE, settings)
        _copy_beside(source.folder, folder, beside)
        words = note(source.name, str(sub_model), cut)
        more = finish(folder) if finish is not None else ""
        carved = Carved(out, cut, len(placed), _bytes_of(folder), sum(file.stat().st_size for file in files))
        _write_json(folder / CARVE_FILE, {"source": source.name, "sub_model": str(sub_model), **_without_out(carved)})
        old = source.folder / CARD_FILE
        text = old.read_text(encoding="utf-8", errors="replace") if old.is_file() else ""
        (folder / CARD_FILE).write_text(with_note(text, words + more), encoding="utf-8")
    return carved


def plan_cut(model: str, sub_model: SubModel, ranking: Any = None) -> tuple[ModelSource, dict[str, Any], Any, Cut]:
    """Where the model lies, its configuration (as JSON, as transformers takes it), and the cut, without loading weights.

    Raises:
        CarveError, ModelError: as for `carve`.
    """
    import torch
    from transformers import AutoConfig

    from workbench.models.load import know_own_type, model_class, refuse_dense

    source = find_model(model)
    if source.kind == "gguf":
        raise CarveError(f"'{model}' is a GGUF file, and carving cuts safetensors: use the model's safetensors folder.")
    source = _with_weights(source)
    raw = read_config(source) or {}
    know_own_type(raw)
    check_config(source.name, raw)
    check_weights(source)
    config = AutoConfig.from_pretrained(str(source.folder), trust_remote_code=False, local_files_only=True)
    kind, _ = model_class(config)
    refuse_dense(source.name, config, kind)
    rule_of(str(config.model_type))
    with torch.device("meta"):
        full = kind._from_config(config)
    return source, raw, config, make_cut(full, sub_model.plan(full, ranking=ranking))


def _with_weights(source: ModelSource) -> ModelSource:
    """A hub model with all of its files in the local cache."""
    if source.repo is None:
        return source
    from huggingface_hub import snapshot_download

    wanted = ["*.safetensors", *(f"*{ending}" for ending in COPIED), *LICENCE_FILES]
    try:
        folder = snapshot_download(source.repo, allow_patterns=wanted, local_files_only=offline())
    except Exception as fault:
        raise hub_error(source.repo, fault) from fault
    return ModelSource(source.name, "folder", folder=Path(folder), repo=source.repo)


# ------------------------------------------------------------------ which bytes
def _pieces(file: Path, tensors: Iterable[StoredTensor], cut: Cut) -> list[Piece]:
    """What is left of one file."""
    found = (_piece(file, tensor, cut) for tensor in tensors)
    return [piece for piece in found if piece is not None]


def _piece(file: Path, tensor: StoredTensor, cut: Cut) -> Piece | None:
    named = understand(tensor.name)
    if not named.known:
        raise CarveError(
            f"The tensor '{tensor.name}' is of no kind that carving '{cut.family}' knows, so it cannot tell whether it belongs to one expert: "
            "please report the model."
        )
    if named.layer is None:
        return whole(tensor, file, tensor.name)
    number = cut.new_number(named.layer)
    if number is None:
        return None
    experts = cut.experts.get(named.layer)
    if experts is None or named.kind == "dense":
        return whole(tensor, file, renumber(tensor.name, number))
    if named.kind == "expert":
        if named.expert not in experts:
            return None
        return whole(tensor, file, renumber(tensor.name, number, experts.index(named.expert)))
    return rows(tensor, file, renumber(tensor.name, number), expert_axis(tensor.shape, tensor.name, cut), experts)


def expert_axis(shape: Sequence[int], name: str, cut: Cut) -> int:
    """The axis of a router's or fused experts' tensor that has an entry an expert: the first one that is not 1 long.

    Raises:
        CarveError: if it has another length.
    """
    axis = next((place for place, extent in enumerate(shape) if extent != 1), 0)
    if not shape or shape[axis] != cut.experts_before:
        raise CarveError(
            f"The tensor '{name}' of shape {list(shape)} has no axis of {cut.experts_before} experts (it may be packed): carve from weights that are not quantised."
        )
    return axis


def _check_complete(pieces: Sequence[Piece], cut: Cut) -> None:
    """Every layer is there, every layer with experts has its router and all the experts that are left."""
    names = Counter[str](piece.name for piece in pieces)
    twice = next((name for name, times in names.items() if times > 1), None)
    if twice is not None:
        raise CarveError(f"The tensor '{twice}' stands in two files of the checkpoint: download the model again.")
    parts: dict[int, list[Named]] = {}
    for name in names:
        named = understand(name)
        if named.layer is not None:
            parts.setdefault(named.layer, []).append(named)
    for new, old in enumerate(cut.layers):
        kinds = {part.kind for part in parts.get(new, [])}
        singles = {part.expert for part in parts.get(new, []) if part.kind == "expert"}
        whole_set = "fused" in kinds or len(singles) == cut.experts_left
        if "dense" not in kinds or (old in cut.experts and not ("router" in kinds and whole_set)):
            raise CarveError(
                f"The files of the model lack weights of layer {old}, so nothing whole could be carved: download the model again."
            )


def _check_room(out: Path, total: int) -> None:
    parent = next(folder for folder in (out.absolute().parent, *out.absolute().parents) if folder.exists())
    free = shutil.disk_usage(parent).free
    if free < total + SPARE_BYTES:
        raise CarveError(
            f"The carved model takes {total / 1e6:,.0f} MB, but '{parent}' has {free / 1e6:,.0f} MB free, so nothing was written: free some "
            "space or choose another --out."
        )


def _check_loads(settings: Mapping[str, Any], cut: Cut) -> None:
    """Build the smaller model without weights: its layers and experts must be those of the cut."""
    import torch
    from transformers import AutoConfig

    from probes import find_sites
    from workbench.models.load import model_class

    fields = {key: value for key, value in settings.items() if key != "model_type"}
    config = AutoConfig.for_model(settings["model_type"], **fields)
    kind, _ = model_class(config)
    with torch.device("meta"):
        small = kind._from_config(config)
    found = {} if not cut.experts else {site.site.layer: site.site for site in find_sites(small)}
    wanted = {new: cut.experts_left for new, old in enumerate(cut.layers) if old in cut.experts}
    if {layer: site.experts for layer, site in found.items()} != wanted or any(
        site.top_k != cut.top_k for site in found.values()
    ):
        raise CarveError(
            f"The smaller configuration of '{cut.family}' does not describe the layers that are left, so nothing was written: please report the "
            "model and the sub-model."
        )


# ------------------------------------------------------------------ writing
class _Meter:
    """Counts the bytes written, passes them on, and stops where asked."""

    def __init__(self, total: int, progress: Progress | None, cancelled: Callable[[], bool] | None) -> None:
        self.total, self.progress, self.cancelled = total, progress, cancelled
        self.done = 0
        self.step = ""

    def advance(self, count: int) -> None:
        self.done += count
        if self.cancelled is not None and self.cancelled():
            raise CarveError("The carve was stopped on request, and nothing was kept: start it again when wanted.")
        if self.progress is not None:
            self.progress(self.done, self.total, self.step)


def _write_shards(shards: Sequence[Sequence[Piece]], folder: Path, meter: _Meter) -> dict[str, str]:
    """One new file for each old one that has something left, and the index where there are several; tensor -> file."""
    places: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        single = len(shards) == 1
        name = "model.safetensors" if single else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        meter.step = f"writing {name}"
        write_pieces(shard, folder / name, meter.advance)
        places |= dict.fromkeys((piece.name for piece in shard), name)
    if len(shards) > 1:
        _write_json(folder / INDEX_FILE, {"metadata": {"total_size": meter.total}, "weight_map": places})
    return places


def _files_beside(source: Path, cut: Cut) -> list[Path]:
    """Tokenizer, generation settings, licence: everything beside weights and configuration that was not pickled."""
    left = {CONFIG_FILE, INDEX_FILE, CARD_FILE, CARVE_FILE, "pytorch_model.bin.index.json"}
    found = [
        file
        for file in sorted(source.iterdir())
        if file.is_file() and file.name not in left and (file.suffix.lower() in COPIED or file.name in LICENCE_FILES)
    ]
    for name in rule_of(cut.family).beside:
        inside = sorted(file for file in (source / name).rglob("*") if file.is_file())
        found += [file for file in inside if file.suffix.lower() in (*COPIED, ".safetensors")]
    return found


def _copy_beside(source: Path, folder: Path, files: Sequence[Path]) -> None:
    for file in files:
        target = folder / file.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())


def _write_json(file: Path, value: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _bytes_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in weight_files(folder))


def _without_out(carved: Carved) -> dict[str, Any]:
    return {key: value for key, value in carved.to_json().items() if key != "out"}
