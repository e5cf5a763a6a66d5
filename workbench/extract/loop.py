"""The training loop of the extraction models: one command, resumable, with a log that the Training page follows.

A run's folder: `run.json` and `metrics.jsonl` (docs/training_log.md), `state/` to resume, `model/` the last exported checkpoint. With several processes each draws its
own samples, gradients are averaged, and the first one writes.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from workbench.capture.errors import WorkbenchError
from workbench.extract.errors import ExtractError, usable
from workbench.extract.state import load_state, read_state, unreadable, write_state
from workbench.models.device import arithmetic
from workbench.training.processes import Place
from workbench.training.writer import RunWriter

MODEL = "model"
FINITE = ("loss", "grad_norm")  # metrics of a step without which no further one means anything
Step = Callable[
    [int, float], tuple[dict[str, float], int]
]  # number from 0, share that lies behind -> metrics, positions


@dataclass(frozen=True)
class Length:
    """How far a run goes and how often it writes.

    Attributes:
        steps: optimiser steps of the whole run. minutes: training time of the whole run; the rate then falls with time. The run ends at
            whichever comes first. save_minutes: between states. stop_after: leave after so many steps in all, as a kill would.
    """

    steps: int = 5000
    minutes: float | None = None
    save_minutes: float = 4.0
    stop_after: int | None = None

    def done(self, step: int, seconds: float) -> float:
        """Share of the run that lies behind."""
        share = step / self.steps
        return min(1.0, share if self.minutes is None else max(share, seconds / (60 * self.minutes)))


@dataclass(frozen=True)
class Identity:
    """What a run is, for its log and for whoever would go on with it.

    Attributes:
        recipe: what decides the result, plain JSON. family: of the model. architecture: class of its encoder or of the whole. start: what it started from.
        bf16: whether the recipe asks for it.
    """

    recipe: Mapping[str, Any]
    family: str
    architecture: str
    start: str
    bf16: bool


def rate_factor(warmup: int, step: int, done: float) -> float:
    """Factor on the peak rates: a linear rise over the warm-up, then a linear fall to 0.

    Args:
        warmup: steps. step: from 0. done: share of the run that lies behind, in [0, 1].
    """
    return min(1.0, (step + 1) / max(1, warmup)) * max(0.0, 1.0 - done)


def new_adamw(
    model: nn.Module,
    encoder: str,
    encoder_rate: float,
    rate: float,
    weight_decay: float,
    undecayed: Collection[nn.Parameter] = (),
) -> torch.optim.Optimizer:
    """AdamW with one rate for the encoder and one for the rest; vectors and embeddings do not decay.

    Args:
        encoder: begin of the names of its parameters. encoder_rate, rate: at their peak. undecayed: further matrices that do not decay.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decays = parameter.ndim > 1 and "embed" not in name and all(parameter is not each for each in undecayed)
            groups.setdefault((name.startswith(encoder), decays), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "lr": 0.0,
                "peak": encoder_rate if of_encoder else rate,
                "weight_decay": weight_decay if decays else 0.0,
            }
            for (of_encoder, decays), parameters in groups.items()
        ],
        betas=(0.9, 0.98),
        fused=True,  # one pass over the weights where foreach makes six
    )


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Every group at this share of its peak rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def descend(
    model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, clip: float, place: Place | None = None
) -> float:
    """Gradients of a loss, averaged over processes and clipped, and the step; returns their norm."""
    loss.backward()
    if place is not None and place.world > 1:
        average_gradients(model, place)
    norm = nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(norm)


def run_steps(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    take: Step,
    out: Path,
    what: Identity,
    length: Length,
    save: Callable[[Path], Any],
    *,
    resume: bool = False,
    progress: bool = False,
    place: Place | None = None,
) -> Path:
    """Train, or go on training.

    Args:
        model: changed in place. take: one optimiser step.
        out: folder of the run. save: writes model and tokenizer into a folder.
        progress: draw a bar. place: which of several processes this is; None: the only one.

    Returns:
        Folder of the exported checkpoint.

    Raises:
        ExtractError: the folder holds another run, the recipe of the run to resume differs, or the loss or the gradient norm of a step, or a weight
            that would be saved, is not finite: nothing of that step is saved.
    """
    place = place or Place()
    before = resumable(out, what.recipe, resume)
    step, seconds, tokens = 0, 0.0, 0
    if before is not None:
        try:
            step, seconds, tokens = int(before["step"]), float(before["seconds"]), int(before["tokens"])
        except (KeyError, TypeError, ValueError) as fault:
            raise unreadable(out, fault) from None
        load_state(out, model, optimizer)
    share_start(model, place)
    writer = None if not place.first else RunWriter.open(
        out,
        model={
            "id": out.name, "family": what.family, "architecture": what.architecture,
            "parameters": sum(parameter.numel() for parameter in model.parameters()), "config": {"start": what.start},
        },
        total_steps=length.steps if length.minutes is None else None,
        training={
            "recipe": dict(what.recipe), "minutes": length.minutes,
            "arithmetic": arithmetic(next(model.parameters()).device.type, what.bf16),
        },
        resume_from=step if resume else None,
    )  # fmt: skip

    kept = step  # at which the state on disk stands; 0: there is none

    def sound() -> bool:
        return all(bool(parameter.isfinite().all()) for parameter in model.parameters())

    def keep() -> None:
        nonlocal kept
        kept = step
        if place.first:
            values = {"recipe": what.recipe, "start": what.start, "step": step, "seconds": seconds, "tokens": tokens}
            write_state(out, values, model, optimizer)
            save(out / MODEL)

    saved = time.monotonic()
    model.train()
    try:
        with tqdm(total=length.steps, initial=step, disable=not progress, mininterval=5) as bar:
            while (done := length.done(step, seconds)) < 1.0 and step != length.stop_after:
                begin = time.perf_counter()
                values, seen = take(step, done)
                finite = all(math.isfinite(values[name]) for name in FINITE if name in values)
                spent, seen, finite = agree(time.perf_counter() - begin, seen, finite, place)
                if not finite:
                    shown = " and ".join(f"{name} {values[name]:.4g}" for name in FINITE if name in values)
                    raise diverged(out, step + 1, f"gave {shown}", kept)
                step, seconds, tokens = step + 1, seconds + spent, tokens + seen
                bar.update(1)
                if writer is not None:
                    writer.metrics(step, {**values, "tokens": tokens, "tokens_per_second": seen / spent})
                # processes come here at times of their own: what is unsound stops them all in the next step, whose loss is not finite
                if time.monotonic() - saved > length.save_minutes * 60 and sound():
                    keep()
                    saved = time.monotonic()
        if not sound():
            raise diverged(out, step, "left weights that are not finite", kept)
        keep()
    except BaseException as fault:
        if writer is not None:
            said = str(fault) if isinstance(fault, WorkbenchError) else None
            writer.stop(said or f"The run ended at step {step} by {type(fault).__name__}.", step)
        raise
    model.eval()
    if writer is None:
        return out / MODEL
    if done >= 1.0:
        writer.finish(step)
    else:
        writer.stop("The run was told to stop before its end.", step)
    return out / MODEL


def diverged(out: Path, step: int, what: str, kept: int) -> ExtractError:
    """The error of a run whose numbers are no longer finite.

    Args:
        step: from 1. what: it did. kept: step of the state on disk; 0: there is none.
    """
    again = "start again with lower rates (--encoder-rate, --head-rate) and another --out"
    if kept:
        again += f", with --encoder as before or with '{out / MODEL}', the model of step {kept}"
    return ExtractError(
        f"The training in '{out}' was stopped, because step {step} {what}, where finite numbers were expected, and nothing of it was saved: {again}."
    )


def resumable(out: Path, recipe: Mapping[str, Any], resume: bool) -> dict[str, Any] | None:
    """The state to go on from, None for a new run; a folder that fits neither is refused.

    Args:
        recipe: plain JSON, as `as_json` makes it.
    """
    done = read_state(out)
    if done is None:
        if resume:
            raise ExtractError(f"There is no state to resume in '{out}': leave --resume out to start a run.")
        return None
    if not resume:
        raise ExtractError(
            f"'{out}' holds a run at step {done.get('step')}: add --resume to go on with it, or name another --out."
        )
    kept = done.get("recipe")
    if not isinstance(kept, dict):
        raise unreadable(out, KeyError("recipe"))
    if differ := [name for name, value in recipe.items() if kept.get(name) != value]:
        raise ExtractError(
            f"The run in '{out}' has another recipe ({', '.join(differ)} differ): give the same options."
        )
    return done


def as_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as they come back from a file: tuples are lists."""
    found: dict[str, Any] = json.loads(json.dumps(values))
    return found


def named_number(given: str) -> tuple[str, float]:
    """What an option written as "conll04=10" says; the number is nan, which no bound lets through, where there is none."""
    name, _, number = given.partition("=")
    try:
        return name, float(number)
    except ValueError:
        return name, math.nan


def on_device(model: nn.Module, device: str) -> Any:
    """A model where it is to be trained.

    Raises:
        EngineError: that device is not here, or the model does not fit on it.
    """
    with usable(device):
        return model.to(device)


# ------------------------------------------------------------------ several processes
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


def agree(seconds: float, tokens: int, finite: bool, place: Place) -> tuple[float, int, bool]:
    """Seconds of the slowest process, tokens of all, and whether the step of each is finite, so that all end at the same step."""
    if place.world == 1:
        return seconds, tokens, finite
    every = torch.zeros((place.world, 3), dtype=torch.float64, device=place.device)
    every[place.rank] = torch.tensor([seconds, tokens, finite], dtype=torch.float64)
    torch.distributed.all_reduce(every)
    return float(every[:, 0].max()), int(every[:, 1].sum()), bool(every[:, 2].all())
