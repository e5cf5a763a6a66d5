"""Training of encoder-decoders: the recipe, the losses of a step, what is learnt; the loop itself is `workbench.extract.loop`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from workbench.extract.loop import Identity, Length, as_json, descend, new_adamw, rate_factor, run_steps, set_rate
from workbench.extract.seq2seq.batch import Batch, Example
from workbench.extract.seq2seq.model import IGNORED, CopySeq2Seq
from workbench.extract.seq2seq.stream import Stream
from workbench.models.device import autocast
from workbench.training.processes import Place

Extra = Callable[
    [Any, Sequence[Example], int], dict[str, Tensor]
]  # model, examples of the step, step -> losses by name


@dataclass(frozen=True)
class Recipe:
    """What decides the result of a run.

    Attributes:
        what: choices of the engine, plain JSON.
        seed: of everything that chance decides. batch: examples a step.
        encoder_rate, decoder_rate: peak rates of AdamW. warmup: steps; then the rate falls linearly to 0.
        freeze_embeddings: keep the word embeddings as they are, those of special tokens apart.
        bf16: autocast, where the device computes in it (`models.device.arithmetic`). clip: norm of the gradient.
        weight_decay: of matrices. dropout: while it trains.
    """

    what: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    batch: int = 16
    encoder_rate: float = 1e-4
    decoder_rate: float = 5e-4
    warmup: int = 100
    weight_decay: float = 0.01
    clip: float = 1.0
    freeze_embeddings: bool = True
    bf16: bool = True
    dropout: float = 0.0


def token_losses(model: Any, batch: Batch) -> Tensor:
    """Cross-entropy of each target token, [B, T], 0 where it is not counted; of a copying model or any other encoder-decoder."""
    if isinstance(model, CopySeq2Seq):
        return model.loss(batch.source, batch.mask, batch.shapes, batch.inputs, batch.labels, batch.places)
    logits = model(input_ids=batch.source, attention_mask=batch.mask, decoder_input_ids=batch.inputs).logits
    loss = nn.functional.cross_entropy(
        logits.float().flatten(0, 1), batch.labels.flatten(), ignore_index=IGNORED, reduction="none"
    )
    return loss.view_as(batch.labels)


def new_optimizer(model: Any, recipe: Recipe, special: Iterable[int] = ()) -> torch.optim.Optimizer:
    """AdamW with one rate for the encoder and one for the rest; vectors do not decay.

    Args:
        special: numbers of tokens that are learnt though word embeddings, or an output matrix under LoRA, stay as they are: where they
            were added they hold nothing yet. Copying models keep them apart by themselves.
    """
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = recipe.dropout
    if recipe.freeze_embeddings:
        model.get_input_embeddings().weight.requires_grad_(False)
    partly = [] if isinstance(model, CopySeq2Seq) else learn_rows(model, sorted(special))
    # decay would move the rows that stay
    return new_adamw(model, "encoder.model.", recipe.encoder_rate, recipe.decoder_rate, recipe.weight_decay, partly)


def learn_rows(model: Any, rows: Sequence[int]) -> list[nn.Parameter]:
    """Let some rows of frozen word embeddings and of a frozen output matrix learn; the gradient of the others is nothing, so they stay.

    Returns:
        The matrices of which this is so.
    """
    found: list[nn.Parameter] = []
    for part in (model.get_input_embeddings(), model.get_output_embeddings()):
        weight = getattr(part, "weight", None)
        if weight is None or weight.requires_grad or not rows:
            continue
        mask = torch.zeros((len(weight), 1), device=weight.device)
        mask[list(rows)] = 1
        weight.requires_grad_(True)
        weight.register_hook(lambda gradient, mask=mask: gradient * mask)
        found.append(weight)
    return found


def train(
    model: Any,
    stream: Stream,
    out: Path,
    recipe: Recipe,
    length: Length,
    save: Callable[[Path], Any],
    *,
    family: str,
    start: str,
    resume: bool = False,
    progress: bool = False,
    extra: Extra | None = None,
    place: Place | None = None,
) -> Path:
    """Train, or go on training.

    Args:
        model: changed in place. stream: the data.
        out: folder of the run. save: writes model and tokenizer into a folder.
        family: of the model, and start: what it started from, for the log.
        progress: draw a bar.
        extra: further losses of a step, weighted, which are added to that of extraction.
        place: which of several processes this is; None: the only one.

    Returns:
        Folder of the exported checkpoint.

    Raises:
        ExtractError: the folder holds another run, or the recipe of the run to resume differs.
    """
    place = place or Place()
    stream.rank = place.rank
    optimizer = new_optimizer(model, recipe, stream.tokens.special)
    return run_steps(
        model, optimizer, lambda step, done: train_step(model, optimizer, stream, recipe, step, done, extra, place), out,
        Identity(as_json(asdict(recipe)), family, type(model).__name__, start, recipe.bf16), length, save,
        resume=resume, progress=progress, place=place,
    )  # fmt: skip


def train_step(
    model: Any,
    optimizer: torch.optim.Optimizer,
    stream: Stream,
    recipe: Recipe,
    step: int,
    done: float,
    extra: Extra | None = None,
    place: Place | None = None,
) -> tuple[dict[str, float], int]:
    """One optimiser step: metrics by name, and the positions computed.

    Args:
        step: from 0. done: share of the run that lies behind.
    """
    factor = rate_factor(recipe.warmup, step, done)
    set_rate(optimizer, factor)
    drawn, kinds = stream.batch(step)
    device = next(model.parameters()).device
    torch.manual_seed(recipe.seed * 1_000_003 + step)  # dropout of this step, whether resumed or not
    batch = drawn.to(device)
    with autocast(device.type, recipe.bf16):
        losses = token_losses(model, batch)
    counted = (batch.labels != IGNORED).sum().clamp_min(1)
    loss = losses.sum() / counted
    more: dict[str, Tensor] = {}
    if extra is not None:
        with autocast(device.type, recipe.bf16):
            more = extra(model, stream.rows(step), step)
    shown = {f"loss/{name}": float(value.detach()) for name, value in more.items()}
    if shown:
        shown["loss/extraction"] = float(loss.detach())
        loss = loss + torch.stack(list(more.values())).sum()
    norm = descend(model, optimizer, loss, recipe.clip, place)
    return {
        "loss": float(loss.detach()),
        **shown,
        "lr": recipe.decoder_rate * factor,
        "grad_norm": norm,
        **{f"examples/{kind}": count for kind, count in kinds.items()},
    }, batch.tokens
