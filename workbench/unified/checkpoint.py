"""A checkpoint folder: model (safetensors), configuration, text tokenizer and the media tokenizers, written and read."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from workbench.making import WORDS
from workbench.unified.model import UnifiedForCausalLM
from workbench.unified.segments import UnifiedError

if TYPE_CHECKING:
    from workbench.unified.tokenizers.bundle import Tokenizers

TOKENIZERS = "tokenizers"
FULL_PRECISION = ("router.",)  # parts of names that stay in fp32: a choice must not change by rounding


def export(
    model: UnifiedForCausalLM,
    tokenizers: Tokenizers,
    folder: Path,
    dtype: torch.dtype = torch.bfloat16,
    words: Mapping[str, Iterable[str]] | None = None,
) -> None:
    """Write a checkpoint that loads with AutoModelForCausalLM after ``import workbench.unified``.

    Args:
        model: keeps its own precision.
        tokenizers: saved beside it.
        folder: replaced as a whole.
        dtype: of the weights on disk; routers stay in fp32.
        words: what prompts may say, by what is made of them (:func:`workbench.making.unlearned_words` reads it).
    """
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    weights = {
        name: value.detach().to(torch.float32 if any(part in name for part in FULL_PRECISION) else dtype).contiguous()
        for name, value in model.state_dict().items()
    }
    config = copy.deepcopy(model.config)
    config.dtype, config.architectures = dtype, [type(model).__name__]
    config.save_pretrained(fresh)
    save_file(weights, fresh / "model.safetensors", metadata={"format": "pt"})
    tokenizers.save(fresh / TOKENIZERS)
    tokenizers.text.save_pretrained(fresh)
    if words is not None:
        listed = {make: sorted(said) for make, said in words.items()}
        (fresh / WORDS).write_text(json.dumps(listed, ensure_ascii=False) + "\n", encoding="utf-8")
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(folder: Path | str, device: str = "cpu") -> tuple[UnifiedForCausalLM, Tokenizers]:
    """Read a checkpoint, in fp32 and evaluation mode.

    Args:
        folder: as written by :func:`export`.
        device: where to.

    Raises:
        UnifiedError: the folder holds no checkpoint of a unified model, or a broken one.
    """
    from workbench.unified.tokenizers.bundle import Tokenizers

    path = Path(folder)
    if not (path / "config.json").is_file() or not (path / TOKENIZERS).is_dir():
        raise UnifiedError(
            f"Expected a checkpoint of the unified model in '{path}' (config.json and {TOKENIZERS}/), found none: train one with "
            "`workbench unified train`, or name its folder."
        )
    try:
        model = UnifiedForCausalLM.from_pretrained(path, dtype=torch.float32)
    except (OSError, ValueError, RuntimeError, SafetensorError) as fault:
        raise UnifiedError(
            f"Expected a whole checkpoint in '{path}', but its weights or its config.json cannot be read: copy or export it again."
        ) from fault
    torch.nn.Module.to(model, torch.device(device))
    return model.eval(), Tokenizers.load(path / TOKENIZERS)


def tokenizers_beside(model: Any, name: str) -> Tokenizers:
    """The tokenizers in the folder that a model was loaded from.

    Args:
        model: as transformers loaded it.
        name: of the model, for the sentence.

    Raises:
        UnifiedError: there are none.
    """
    from workbench.unified.tokenizers.bundle import Tokenizers

    folder = Path(str(model.name_or_path)) / TOKENIZERS
    if not folder.is_dir():
        raise UnifiedError(
            f"A unified model reads files with its own tokenizers, but there is no folder '{TOKENIZERS}' beside the weights of '{name}': "
            "name the folder that `workbench unified train` wrote."
        )
    return Tokenizers.load(folder)
