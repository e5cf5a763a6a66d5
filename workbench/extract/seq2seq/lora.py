"""Low-rank parts beside the matrices of a backbone (Hu et al. 2021, arXiv 2106.09685) by peft: what is trained is small, what is saved is whole."""

from __future__ import annotations

import copy
from typing import Any

from workbench.extract.errors import EngineError
from workbench.extract.seq2seq.causal import PromptModel
from workbench.extract.seq2seq.model import CopySeq2Seq


def with_lora(model: Any, rank: int) -> Any:
    """A model of which only low-rank parts of every matrix are trained, and its word embeddings where the recipe trains them.

    Args:
        rank: of each part; its weight is 2 (alpha = 2 x rank).

    Raises:
        EngineError: peft is missing, or the model is a copying one.
    """
    if isinstance(model, CopySeq2Seq):
        raise EngineError(
            "A base that copies is small and trained whole: leave --lora out, or name another --backbone."
        )
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise EngineError("LoRA needs the package peft: pip install 'unified-workbench[lora]'.") from None
    inner = model.lm if isinstance(model, PromptModel) else model
    made = get_peft_model(inner, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear"))
    made.get_input_embeddings().weight.requires_grad_(True)  # the recipe may freeze them again
    return PromptModel(made) if isinstance(model, PromptModel) else made


def merged(model: Any) -> Any:
    """The plain model with its low-rank parts added in, a copy; one without any as it is."""
    return copy.deepcopy(model).merge_and_unload() if hasattr(model, "merge_and_unload") else model
