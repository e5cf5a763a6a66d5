"""Greedy answers of a causal language model, with the probability of every token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Answer:
    """What was written after a prompt.

    Attributes:
        text: decoded. ids: token numbers, the end token left out. chances: probability of each when it was written.
        ends: how many characters of `text` are there after each token.
        whole: whether it ended by itself.
    """

    text: str
    ids: tuple[int, ...]
    chances: tuple[float, ...]
    ends: tuple[int, ...]
    whole: bool

    @property
    def pieces(self) -> list[tuple[str, float]]:
        """The characters that each token added, with its probability."""
        found, before = [], 0
        for chance, stop in zip(self.chances, self.ends, strict=True):
            found.append((self.text[before:stop], chance))
            before = max(before, stop)
        return found


class _Record:
    """A logits processor that notes the probability of the likeliest token, which is the one greedy decoding takes."""

    def __init__(self) -> None:
        self.steps: list[Tensor] = []

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        self.steps.append(scores.float().softmax(-1).amax(-1))
        return scores


@torch.inference_mode()
def write(model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], most: int) -> list[Answer]:
    """Answers to some prompts, in one batch.

    Args:
        prompts: token numbers of each. most: tokens of an answer at most.
    """
    from transformers import GenerationConfig, LogitsProcessorList

    device = next(model.parameters()).device
    longest = max(map(len, prompts))
    ends = {*_numbers(model.generation_config.eos_token_id), *_numbers(tokenizer.eos_token_id)}
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(ends, default=0)
    ids = torch.tensor([[pad] * (longest - len(p)) + list(p) for p in prompts], device=device)
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=device)
    record = _Record()
    config = GenerationConfig(
        max_new_tokens=most, do_sample=False, num_beams=1, pad_token_id=pad, eos_token_id=sorted(ends) or None
    )
    made = model.generate(
        input_ids=ids, attention_mask=mask, generation_config=config, logits_processor=LogitsProcessorList([record])
    )[:, longest:]
    chances = torch.stack(record.steps, dim=1).cpu()
    found = []
    for row, chance in zip(made.cpu().tolist(), chances.tolist(), strict=True):
        stop = next((n for n, number in enumerate(row) if number in ends), len(row))
        numbers = tuple(row[:stop])
        lengths = [len(tokenizer.decode(numbers[: n + 1], skip_special_tokens=True)) for n in range(stop)]
        text = tokenizer.decode(numbers, skip_special_tokens=True)
        found.append(Answer(text, numbers, tuple(chance[:stop]), tuple(lengths), stop < len(row)))
    return found


def _numbers(value: Any) -> list[int]:
    return [] if value is None else [int(n) for n in value] if isinstance(value, list | tuple) else [int(value)]
