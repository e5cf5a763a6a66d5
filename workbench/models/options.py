"""How a model is loaded, and the sentence for each way in which that fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workbench.capture.errors import WorkbenchError
from workbench.models.files import ModelError, ModelSource, first_sentence, hub_error, offline

QUANTIZE = ("8bit", "4bit")


@dataclass(frozen=True)
class LoadOptions:
    """How to load a model."""

    dtype: str = "auto"  # auto, float32, bfloat16, float16
    device: str = "auto"  # auto, cpu, cuda, cuda:N, mps
    device_map: str | None = None  # "auto", "balanced", ..., or a JSON object module -> device (accelerate)
    revision: str | None = None  # branch, tag or commit of a hub model
    quantize: str | None = None  # 8bit or 4bit, through bitsandbytes
    gguf_file: str | None = None  # name of the GGUF file in a folder or repository that holds several
    force: bool = False  # load although the estimate says that it will not fit


def hub_arguments(source: ModelSource, options: LoadOptions) -> dict[str, Any]:
    """Arguments that every `from_pretrained` gets: no remote code, no network where the files are at hand."""
    arguments: dict[str, Any] = {"trust_remote_code": False, "local_files_only": offline() or source.repo is None}
    if source.repo is not None and options.revision is not None:
        arguments["revision"] = options.revision
    if source.gguf_file is not None:
        arguments["gguf_file"] = source.gguf_file
    return arguments


def load_error(source: ModelSource, fault: Exception, what: str) -> WorkbenchError:
    """What transformers raised, as one sentence.

    Args:
        what: part of the model that could not be loaded, for example "tokenizer".
    """
    import torch

    from workbench.models.memory import NotEnoughMemoryError

    if isinstance(fault, WorkbenchError):
        return fault
    if isinstance(fault, torch.OutOfMemoryError | MemoryError):
        return NotEnoughMemoryError(
            f"The memory was not enough to load '{source.name}': try --dtype bfloat16, --quantize 4bit or --device-map auto."
        )
    if source.kind == "hub" and source.folder is None:
        return hub_error(source.target, fault)
    return ModelError(
        f"The {what} of '{source.name}' could not be loaded ({type(fault).__name__}: {first_sentence(fault)}): check that the files are "
        "whole and of a model that the installed transformers knows."
    )
