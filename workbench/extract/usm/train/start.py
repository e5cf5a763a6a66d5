"""What a run starts from: a transformers encoder, or a USM model that is gone on from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from workbench.capture.errors import reason
from workbench.extract.errors import EngineError
from workbench.extract.loop import on_device
from workbench.extract.usm.config import UsmConfig
from workbench.extract.usm.model import UsmModel, new_model
from workbench.extract.usm.weights import CONFIG, load_model

UNLOADABLE = (OSError, ValueError, KeyError, ImportError, TypeError, AttributeError, RuntimeError, SafetensorError)
"""What transformers raises of a folder or a hub id that it cannot load: cut weights, a configuration that is none, a name that is unknown."""


def is_usm_model(folder: Path) -> bool:
    """Whether a folder holds a USM model, by the type that its configuration states; one that cannot be read holds none."""
    try:
        values = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and values.get("model_type") == UsmConfig.model_type


def start_model(encoder: str, device: str, **choices: Any) -> tuple[UsmModel, Any]:
    """A model to train and its tokenizer.

    Args:
        encoder: hub id or folder of a transformers encoder, or the folder of a USM model to go on from.
        choices: of `new_model`.

    Raises:
        EngineError: it cannot be loaded, is no encoder for USM, or the device is not here.
    """
    from transformers import AutoModel, AutoTokenizer

    folder = Path(encoder)
    if is_usm_model(folder):
        model, tokenizer = load_model(folder)
        return on_device(model, device), tokenizer
    try:
        tokenizer = AutoTokenizer.from_pretrained(encoder, use_fast=True)
        base = AutoModel.from_pretrained(encoder, attn_implementation="eager", use_safetensors=True)
    except UNLOADABLE as fault:
        raise EngineError(
            f"The encoder '{encoder}' cannot be loaded ({reason(fault)}): name a hub id or a folder with safetensors weights."
        ) from None
    if not tokenizer.is_fast:
        raise EngineError(
            f"USM needs a tokenizer that knows offsets, but that of '{encoder}' does not: choose one with a tokenizer.json."
        )
    uncased = (
        bool(getattr(getattr(tokenizer, "backend_tokenizer", None), "normalizer", None)) and _lowered(tokenizer) == "a"
    )
    return on_device(new_model(base.float(), shapes=uncased, **choices), device), tokenizer


def _lowered(tokenizer: Any) -> str:
    """What the tokenizer makes of "A": an uncased vocabulary cannot tell it from "a"."""
    same = (
        tokenizer("A", add_special_tokens=False)["input_ids"] == tokenizer("a", add_special_tokens=False)["input_ids"]
    )
    return "a" if same else "A"
