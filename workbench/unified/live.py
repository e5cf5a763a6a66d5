"""Reading files and writing on, token by token, for the Live page (`workbench.live`): transformers' `generate` knows nothing of the unified
model's pictures, clips and sounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from workbench.unified.batch import make_batch
from workbench.unified.checkpoint import tokenizers_beside
from workbench.unified.files import prompt_of_file
from workbench.unified.segments import EOS, Sample, Segment, Text
from workbench.unified.session import TARGETS, Session

if TYPE_CHECKING:
    from workbench.models import LoadedModel


def prompt_of(loaded: LoadedModel, files: Sequence[Path], text: str) -> Sample:
    """Files in order and the words behind them, as one prompt of the unified model.

    Raises:
        UnifiedError: there are no tokenizers beside the weights, or a file is of no use to the model.
        workbench.inputs.InputError: a file cannot be decoded.
    """
    tokenizers = tokenizers_beside(loaded.model, loaded.info.id)
    segments: list[Segment] = [prompt_of_file(file, tokenizers) for file in files]
    if text.strip():
        segments.append(Text(tuple(tokenizers.text.encode(text.strip()))))
    return Sample(tuple(segments), "prompt", end=False)


def inputs_of(loaded: LoadedModel, prompt: Sample) -> dict[str, Tensor]:
    """The prompt as keyword arguments of one forward pass, a single row."""
    model: Any = loaded.model
    batch = make_batch([prompt], model.config, tokenizers_beside(model, loaded.info.id))
    return {name: value for name, value in batch.items() if name not in TARGETS}


def write_on(
    loaded: LoadedModel,
    prompt: Sample,
    choose: Callable[[Tensor, Tensor], Tensor],
    new_tokens: int,
    stopped: Callable[[], bool],
) -> None:
    """Read a prompt and write text behind it, as `generate` would.

    Args:
        loaded: the model.
        prompt: of :func:`prompt_of`.
        choose: called with the ids written so far int64 [1, n] and scores float32 [1, V]; gives scores whose largest is the choice.
        new_tokens: at most so many are written.
        stopped: asked after every token.
    """
    model: Any = loaded.model
    session = Session(model, tokenizers_beside(model, loaded.info.id), [prompt])
    written = torch.empty(1, 0, dtype=torch.int64, device=model.device)
    scores = session.text_logits
    while True:
        token = choose(written, scores.float()).argmax(-1)
        written = torch.cat([written, token[:, None]], 1)
        if written.shape[1] == new_tokens or int(token) == EOS or stopped():
            return
        out = session.text(token)
        assert out.logits is not None
        scores = out.logits[:, -1]
