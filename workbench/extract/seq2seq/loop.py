"""The training loop of encoder-decoders: one command, resumable, with a log that the Training page follows.

A run's folder: `run.json` and `metrics.jsonl` (docs/training_log.md), `state/` to resume, `model/` the last exported checkpoint. With several processes each draws its own samples, gradients are averaged, and the first one writes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from workbench.extract.errors import ExtractError
from workbench.extract.seq2seq.batch import Batch, Example
from workbench.extract.seq2seq.model import IGNORED, CopySeq2Seq
from workbench.extract.seq2seq.stream import Stream
from workbench.extract.state import load_state, read_state, write_state
from workbench.extract.usm.train.loop import Length
from workbench.models.device import arithmetic, autocast
from workbench.training.processes import Place
from workbench.training.writer import RunWriter

MODEL = "model"
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

    def differences(self, other: dict[str, Any]) -> list[str]:
        """Names of the fields in which this recipe and a stored one differ."""
        return [name for name, value in asdict(self).items() if other.get(name) != value]


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
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            whole = all(parameter is not each for each in partly)  # decay would move the rows that stay
            key = (name.startswith("encoder.model."), whole and parameter.ndim > 1 and "embed" not in name)
            groups.setdefault(key, []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "lr": 0.0,
                "peak": recipe.encoder_rate if encoder else recipe.decoder_rate,
                "weight_decay": recipe.weight_decay if decays else 0.0,
            }
            for (encoder, decays), parameters in groups.items()
        ],
        betas=(0.9, 0.98),
        fused=True,
    )


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
    done_before = resumable(out, recipe, resume)
    optimizer = new_optimizer(model, recipe, stream.tokens.special)
    step, seconds, tokens = 0, 0.0, 0
    if done_before is not None:
        step, seconds, tokens = done_before["step"], done_before["seconds"], done_before["tokens"]
        load_state(out, model, optimizer)
    share_start(model, place)
    writer = None if not place.first else RunWriter.open(
        out,
        model={
            "id": out.name, "family": family, "architecture": type(model).__name__,
            "parameters": sum(parameter.numel() for parameter in model.parameters()), "config": {"start": start},
        },
        total_steps=length.steps if length.minutes is None else None,
        training={
            "recipe": asdict(recipe), "minutes": length.minutes,
            "arithmetic": arithmetic(next(model.parameters()).device.type, recipe.bf16),
        },
        resume_from=step if resume else None,
    )  # fmt: skip

    def keep() -> None:
        if not place.first:
            return
        write_state(
            out,
            {"recipe": asdict(recipe), "start": start, "step": step, "seconds": seconds, "tokens": tokens},
            model,
            optimizer,
        )
        save(out / MODEL)

    saved = time.monotonic()
    model.train()
    try:
        with tqdm(total=length.steps, initial=step, disable=not progress, mininterval=5) as bar:
            while (done := length.done(step, seconds)) < 1.0 and step != length.stop_after:
                begin = time.perf_counter()
                values, seen = train_step(model, optimizer, stream, recipe, step, done, extra, place)
                spent, seen = agree(time.perf_counter() - begin, seen, place)
                step, seconds, tokens = step + 1, seconds + spent, tokens + seen
                bar.update(1)
                if writer is not None:
                    writer.metrics(step, {**values, "tokens": tokens, "tokens_per_second": seen / spent})
                if time.monotonic() - saved > length.save_minutes * 60:
                    keep()
                    saved = time.monotonic()
        keep()
    except BaseException as fault:
        if writer is not None:
            writer.stop(f"The run ended at step {step} by {type(fault).__name__}.", step)
        raise
    model.eval()
    if writer is None:
        return out / MODEL
    if done >= 1.0:
        writer.finish(step)
    else:
        writer.stop("The run was told to stop before its end.", step)
    return out / MODEL


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
    factor = min(1.0, (step + 1) / max(1, recipe.warmup)) * max(0.0, 1.0 - done)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor
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
    loss.backward()
    if place is not None and place.world > 1:
        average_gradients(model, place)
    norm = nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], recipe.clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return {
        "loss": float(loss.detach()),
        **shown,
        "lr": recipe.decoder_rate * factor,
        "grad_norm": float(norm),
        **{f"examples/{kind}": count for kind, count in kinds.items()},
    }, batch.tokens


def share_start(model: nn.Module, place: Place) -> None:
    """Give every process the first one's weights: what is new in a model is drawn by chance."""
    if place.world > 1:
        for value in model.state_dict().values():
            torch.distributed.broadcast(value, 0)


def average_gradients(model: nn.Module, place: Place) -> None:
    """The mean over processes of every gradient; one that no process has stays away, one that some lack counts as 0 there."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    there = torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device)
    torch.distributed.all_reduce(there)
    used = [p for p, count in zip(parameters, there.tolist(), strict=True) if count]
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in used])
    torch.distributed.all_reduce(flat)
    for p, part in zip(used, (flat / place.world).split([p.numel() for p in used]), strict=True):
        p.grad = part.view_as(p)


def agree(seconds: float, tokens: int, place: Place) -> tuple[float, int]:
    """Seconds of the slowest process and tokens of all, so that all end at the same step."""
    if place.world == 1:
        return seconds, tokens
    every = torch.zeros((place.world, 2), dtype=torch.float64, device=place.device)
    every[place.rank] = torch.tensor([seconds, tokens], dtype=torch.float64)
    torch.distributed.all_reduce(every)
    return float(every[:, 0].max()), int(every[:, 1].sum())


def resumable(out: Path, recipe: Recipe, resume: bool) -> dict[str, Any] | None:
    """The state to go on from, None for a new run; a folder that fits neither is refused."""
    done = read_state(out)
    if done is None:
        if resume:
            raise ExtractError(f"There is no state to resume in '{out}': leave --resume out to start a run.")
        return None
    if not resume:
        raise ExtractError(
            f"'{out}' holds a run at step {done.get('step')}: add --resume to go on with it, or name another --out."
        )
    if differ := recipe.differences(done.get("recipe", {})):
        raise ExtractError(
            f"The run in '{out}' has another recipe ({', '.join(differ)} differ): give the same options."
        )
    return done
