"""The meta-function loss (MetaNER §4.1; `trainer.py`): an encoder that has read demonstrations should see a query as an extractor that was trained on them does.

The surrogate is the model one step of AdamW away: the encoder's gradient of the extraction loss over the demonstrations, without copying the model. In its first step
AdamW's corrected moments are the gradient g and its square, so that θ' = θ (1 - ηλ) - η g / (|g| + ε).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from workbench.extract.metaner.train.episodes import Episode
from workbench.extract.seq2seq.batch import Example, make_batch
from workbench.extract.seq2seq.loop import token_losses
from workbench.extract.seq2seq.model import IGNORED, CopySeq2Seq
from workbench.extract.seq2seq.tokens import SelTokens

RATE, DECAY, EPSILON = 1e-4, 0.01, 1e-8  # of the surrogate's AdamW (trainer.py)
WEIGHT, EVERY = 0.05, 10


def one_step(model: Any, examples: Sequence[Example], tokens: SelTokens) -> dict[str, Tensor]:
    """The encoder's parameters after one step of AdamW on examples, the rest of the model standing still.

    Args:
        examples: the demonstrations. tokens: of the model.

    Returns:
        Name within the encoder -> value, detached; those that do not change are left out.
    """
    encoder = model.get_encoder()
    device = next(model.parameters()).device
    names, parameters = zip(*((n, p) for n, p in encoder.named_parameters() if p.requires_grad), strict=True)
    batch = make_batch(examples, tokens).to(device)
    losses = token_losses(model, batch)
    loss = losses.sum() / (batch.labels != IGNORED).sum().clamp_min(1)
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    with torch.no_grad():
        return {
            name: value * (1 - RATE * DECAY) - RATE * gradient / (gradient.abs() + EPSILON)
            for name, value, gradient in zip(names, parameters, gradients, strict=True)
            if gradient is not None
        }


def features(
    model: Any, ids: Sequence[int], shapes: Sequence[int], changed: Mapping[str, Tensor] | None = None
) -> Tensor:
    """States of the encoder, [S, D].

    Args:
        ids, shapes: of a source. changed: values that take the place of the encoder's parameters.
    """
    encoder: nn.Module = model.get_encoder()
    device = next(model.parameters()).device
    given: dict[str, Tensor] = {"input_ids": torch.tensor([list(ids)], device=device)}
    given["attention_mask"] = torch.ones_like(given["input_ids"])
    if isinstance(model, CopySeq2Seq):
        given["shape_ids"] = torch.tensor([[*shapes, *[0] * (len(ids) - len(shapes))]], device=device)
    out = encoder(**given) if changed is None else functional_call(encoder, dict(changed), (), given)
    states: Tensor = out.last_hidden_state[0]
    return states


def meta_loss(model: Any, episode: Episode, tokens: SelTokens) -> Tensor:
    """Mean over tokens of the distance between what the encoder makes of instruction and query with the demonstrations before it, and what the surrogate makes of them
    without."""
    changed = one_step(model, episode.shown, tokens)
    with torch.no_grad():
        wanted = features(model, episode.bare, episode.bare_shapes, changed)
    seen = features(model, episode.source, episode.shapes)[torch.tensor(episode.kept, device=wanted.device)]
    exact = torch.promote_types(seen.dtype, torch.float32)
    return (seen.to(exact) - wanted.to(exact)).norm(dim=-1).mean()


@dataclass(frozen=True)
class MetaLoss:
    """The loss as `seq2seq.loop.train` adds it: every 10th step after warm-up, for the first episode of the batch.

    Attributes:
        tokens: of the model. warmup: steps without it. weight, every: of the paper.
    """

    tokens: SelTokens
    warmup: int
    weight: float = WEIGHT
    every: int = EVERY

    def __call__(self, model: Any, examples: Sequence[Example], step: int) -> dict[str, Tensor]:
        if step < self.warmup or step % self.every:
            return {}
        episode = next((each for each in examples if isinstance(each, Episode) and each.shown), None)
        if episode is None:
            return {}
        return {"meta": self.weight * meta_loss(model, episode, self.tokens)}
