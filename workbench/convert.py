"""Make safetensors of a `pytorch_model.bin`: the only place where a pickle is read, in a process of its own, weights only.

    python -m workbench.convert SRC OUT      what `convert` starts; reads, checks and writes

`weights_only=True` builds tensors and plain containers and refuses every other object, so a pickle that would run code is
refused before it does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.capture.errors import WorkbenchError, reason
from workbench.capture.write import whole_or_nothing

SINGLE, INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
LICENCE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "NOTICE", "USE_POLICY.md")
# Beside the weights; never a .py, and never another pickle.
COPIED = (".json", ".txt", ".model", ".md", ".jinja", ".spm", ".tiktoken", ".vocab")
_REFUSED = 3


class ConvertError(WorkbenchError):
    """Weights could not be converted."""


@dataclass(frozen=True)
class Converted:
    """What a conversion wrote.

    Attributes:
        out: the new folder.
        tensors: number of tensors written.
        tied: names left out because they share their memory with one that was written.
        bytes: of the weights.
        licence: what the source says of its licence.
    """

    out: Path
    tensors: int
    tied: tuple[str, ...]
    bytes: int
    licence: str


def weight_pickles(source: Path) -> list[Path]:
    """The pickled weight files of a model folder: one, or the shards that its index names.

    Raises:
        ConvertError: if there is none, or a shard is missing.
    """
    if not source.is_dir():
        raise ConvertError(
            f"A model folder was expected, but there is none at '{source}': download the model first, and name its folder."
        )
    index = source / INDEX
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError) as fault:
            raise ConvertError(f"'{index}' is no index of weights ({reason(fault)}): download it again.") from fault
        files = [source / Path(str(name)).name for name in names]
    else:
        files = [source / SINGLE]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        if any(source.glob("*.safetensors")):
            raise ConvertError(
                f"'{source}' has safetensors weights already, so there is nothing to convert: use it as it is."
            )
        raise ConvertError(
            f"'{source}' has no {missing[0]}, which is what is converted: name the folder of a model with pickled weights."
        )
    return files


def licence_of(source: Path) -> str:
    """What a model folder says of its licence: the model card's field, or the first lines of a licence file."""
    for name in LICENCE_FILES:
        if (source / name).is_file():
            head = (source / name).read_text(encoding="utf-8", errors="replace")[:2000].strip().splitlines()
            return f"{name}: " + " ".join(line.strip() for line in head[:4] if line.strip())
    card = source / "README.md"
    if card.is_file():
        for line in card.read_text(encoding="utf-8", errors="replace")[:20_000].splitlines():
            key, _, value = line.partition(":")
            if key.strip().lower() in ("license", "licence", "license_name") and value.strip():
                return f"model card: {value.strip()}"
    return "not stated in the folder"


def convert(source: str | Path, out: str | Path) -> Converted:
    """Convert a model folder's pickled weights to safetensors in a new folder, with its configuration and tokenizer.

    Args:
        source: folder with `pytorch_model.bin` or its shards.
        out: new folder; appears whole or not at all.

    Raises:
        ConvertError: if there is nothing to convert, the pickle holds more than weights, or it cannot be written.
    """
    source, out = Path(source), Path(out)
    weight_pickles(source)
    if out.exists():
        raise ConvertError(f"'{out}' exists already, and nothing is overwritten: choose another --out.")
    environment = {**os.environ, "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)
    with whole_or_nothing(out.absolute()) as folder:
        command = [sys.executable, "-m", "workbench.convert", str(source.absolute()), str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        lines = done.stdout.strip().splitlines()
        if done.returncode == _REFUSED and lines:
            raise ConvertError(lines[-1])
        if done.returncode or not lines:
            last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
            raise ConvertError(
                f"The conversion of '{source}' broke off ({last[:200]}): nothing was written; check memory and disk."
            )
        found = json.loads(lines[-1])
        _copy_rest(source, folder)
    return Converted(out, found["tensors"], tuple(found["tied"]), found["bytes"], licence_of(source))


def _copy_rest(source: Path, folder: Path) -> None:
    for file in sorted(source.iterdir()):
        wanted = file.suffix.lower() in COPIED or file.name in LICENCE_FILES
        if file.is_file() and wanted and file.name != INDEX:
            (folder / file.name).write_bytes(file.read_bytes())


# ------------------------------------------------------------------ the process of its own
def write_safetensors(source: Path, folder: Path) -> dict[str, Any]:
    """Read the pickles of `source`, weights only, and write `folder/model*.safetensors`; meant for a process of its own.

    Tensors that share their memory (tied embeddings) are written once, under the first name; loading ties them again.

    Raises:
        ConvertError: if a file holds anything but tensors by name.
    """
    import torch
    from safetensors.torch import save_file

    files = weight_pickles(source)
    seen: dict[tuple[Any, ...], str] = {}
    tied: list[str] = []
    places: dict[str, str] = {}
    total = 0
    for number, file in enumerate(files, start=1):
        try:
            loaded = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as fault:  # a pickle fails in as many ways as there are pickles
            raise ConvertError(_refusal(file, fault)) from fault
        if isinstance(loaded, dict) and set(loaded) == {"state_dict"}:
            loaded = loaded["state_dict"]
        if (
            not isinstance(loaded, dict)
            or not loaded
            or not all(isinstance(value, torch.Tensor) for value in loaded.values())
        ):
            raise ConvertError(
                f"'{file.name}' should hold tensors by name, but holds something else: it is no file of weights."
            )
        kept: dict[str, torch.Tensor] = {}
        for name, tensor in loaded.items():
            key = (
                number,
                tensor.untyped_storage().data_ptr(),
                tensor.storage_offset(),
                tuple(tensor.shape),
                tensor.stride(),
            )
            if tensor.numel() and seen.setdefault(key, name) != name:
                tied.append(str(name))
                continue
            kept[str(name)] = tensor.clone(memory_format=torch.contiguous_format)
        target = "model.safetensors" if len(files) == 1 else f"model-{number:05d}-of-{len(files):05d}.safetensors"
        save_file(kept, folder / target, metadata={"format": "pt"})
        places |= dict.fromkeys(kept, target)
        total += sum(tensor.numel() * tensor.element_size() for tensor in kept.values())
    if len(files) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": places}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")
    return {"tensors": len(places), "tied": tied, "bytes": total}


def _refusal(file: Path, fault: Exception) -> str:
    if "weights_only" in str(fault).lower() or "Unsupported" in str(fault) or "GLOBAL" in str(fault):
        return (
            f"'{file.name}' holds more than weights (objects that would run code when read), so it was refused and nothing of it was run: "
            "get the model from a source that has safetensors."
        )
    return (
        f"'{file.name}' cannot be read as weights ({type(fault).__name__}: {reason(fault)[:120]}): download it again."
    )


def _main(arguments: list[str]) -> int:
    try:
        found: dict[str, Any] = write_safetensors(Path(arguments[0]), Path(arguments[1]))
    except WorkbenchError as fault:
        sys.stdout.write(f"{fault}\n")
        return _REFUSED
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
