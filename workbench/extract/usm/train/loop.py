"""The training loop of USM: one command, resumable, with a log that the Training page follows.

A run's folder: `run.json` and `metrics.jsonl` (docs/training_log.md), `state/` to resume, `model/` the last exported checkpoint.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from workbench.extract.errors import ExtractError
from workbench.extract.usm.batch import special_tokens
from workbench.extract.usm.loss import link_loss
from workbench.extract.usm.model import UsmModel
from workbench.extract.usm.prompt import LabelCoder
from workbench.extract.usm.train.mixture import Mixture
from workbench.extract.usm.train.names import allowed_names, banned_names, without_names
from workbench.extract.usm.train.prompts import Prompter
from workbench.extract.usm.train.recipe import Recipe, rate_factor
from workbench.extract.usm.train.sources import Source, definitions, load_sources
from workbench.extract.usm.train.state import Progress, load_state, read_progress, save_state
from workbench.extract.usm.weights import save_model
from workbench.models.device import arithmetic, autocast
from workbench.training.writer import RunWriter

MODEL = "model"
ROLES = ":roles"  # behind a set that is kept out: its roles alone are, the rest is learnt from


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


def build_mixture(
    recipe: Recipe,
    root: Path,
    tokenizer: Any,
    longest_label: int,
    progress: Any = None,
    shelf: dict[Any, Any] | None = None,
) -> Mixture:
    """The data of a recipe.

    Args:
        root: folder of the sets.
        longest_label: pieces of a label at most.
        progress: called with each set's name.
        shelf: see `load_sources`.
    """
    kept = [name for name in recipe.sets if name not in recipe.held_out]
    sources = load_sources(
        kept, root, tokenizer, recipe.window, recipe.documents, recipe.seed, progress, recipe.patterns, shelf
    )
    banned = banned_names(types_of_held_out(recipe, root, tokenizer, shelf))
    weights = dict(recipe.weights)
    sources = [
        replace(source, plan=replace(source.plan, weight=weights.get(source.name, source.plan.weight)))
        for source in sources
        if teaches(source, banned)
    ]
    prompter = Prompter(
        LabelCoder(tokenizer, longest_label),
        sources,
        banned,
        without_names(definitions(root), banned),
        drop=recipe.drop,
        describe=recipe.describe,
        own_name=recipe.own_name,
        from_relations=recipe.from_relations,
        far_labels=recipe.far_labels,
        whole=recipe.whole,
    )
    return Mixture(sources, prompter, recipe.batch, recipe.seed, special_tokens(tokenizer))


def types_of_held_out(
    recipe: Recipe, root: Path, tokenizer: Any, shelf: dict[Any, Any] | None = None
) -> dict[str, set[str]]:
    """Every type of the sets that are kept out: of entities, relations, events and roles; of "casie:roles" the roles alone."""
    names = {name.removesuffix(ROLES): name.endswith(ROLES) for name in recipe.held_out}
    sources = load_sources(names, root, tokenizer, recipe.window, 10**9, recipe.seed, shelf=shelf)
    return {source.name: roles_of(source) if names[source.name] else inventory(source) for source in sources}


def inventory(source: Source) -> set[str]:
    """Names of everything that a source can be asked for."""
    return {*source.entities, *source.relations, *source.events, *roles_of(source)}


def roles_of(source: Source) -> set[str]:
    """Names of the roles of a source's events."""
    return {role for roles in source.events.values() for role in roles}


def teaches(source: Source, banned: frozenset[str]) -> bool:
    """Whether a source can be asked for anything: one whose every type is kept out would only say that nothing is there."""
    return not banned or any(allowed_names(source.name, type_, banned) for type_ in inventory(source))


def new_optimizer(model: UsmModel, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW with one rate for the encoder and one for the link heads; vectors do not decay."""
    for part in model.encoder.modules():
        if isinstance(part, nn.Dropout):
            part.p = recipe.dropout
    if recipe.freeze_embeddings:
        model.encoder.get_input_embeddings().weight.requires_grad_(False)
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((name.startswith("encoder."), parameter.ndim > 1 and "embed" not in name), []).append(
                parameter
            )
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "lr": 0.0,
                "peak": recipe.encoder_rate if encoder else recipe.head_rate,
                "weight_decay": recipe.weight_decay if decays else 0.0,
            }
            for (encoder, decays), parameters in groups.items()
        ],
        betas=(0.9, 0.98),
        fused=True,  # one pass over the weights where foreach makes six
    )


def train(
    mixture: Mixture,
    model: UsmModel,
    tokenizer: Any,
    out: Path,
    recipe: Recipe,
    length: Length,
    *,
    encoder: str,
    resume: bool = False,
    progress: bool = False,
) -> Path:
    """Train, or go on training.

    Args:
        mixture: the data.
        model: changed in place. tokenizer: exported with it.
        out: folder of the run.
        encoder: what the model started from, for the log.
        progress: draw a bar.

    Returns:
        Folder of the exported checkpoint.

    Raises:
        ExtractError: the folder holds another run, or the recipe of the run to resume differs.
    """
    state = resumable(out, recipe, resume)
    optimizer = new_optimizer(model, recipe)
    if state is None:
        state = Progress(recipe, encoder, 0, 0.0, 0, 0)
    else:
        load_state(out, model, optimizer)
    writer = RunWriter.open(
        out,
        model={
            "id": out.name, "family": "usm", "architecture": type(model.encoder).__name__,
            "parameters": sum(parameter.numel() for parameter in model.parameters()), "config": {"encoder": encoder},
        },
        total_steps=length.steps if length.minutes is None else None,
        training={
            "recipe": recipe.to_json(), "minutes": length.minutes,
            "arithmetic": arithmetic(model.device.type, recipe.bf16),
        },
        resume_from=state.step if resume else None,
    )  # fmt: skip
    saved = time.monotonic()
    model.train()
    try:
        with tqdm(total=length.steps, initial=state.step, disable=not progress, mininterval=5) as bar:
            while (done := length.done(state.step, state.seconds)) < 1.0 and state.step != length.stop_after:
                start = time.perf_counter()
                values, tokens = train_step(model, optimizer, mixture, recipe, state.step, done)
                spent = time.perf_counter() - start
                state = replace(
                    state,
                    step=state.step + 1,
                    seconds=state.seconds + spent,
                    samples=state.samples + mixture.size,
                    tokens=state.tokens + tokens,
                )
                bar.update(1)
                writer.metrics(state.step, {**values, "tokens": state.tokens, "tokens_per_second": tokens / spent})
                if time.monotonic() - saved > length.save_minutes * 60:
                    save_state(out, state, model, optimizer)
                    save_model(out / MODEL, model, tokenizer)
                    saved = time.monotonic()
        save_state(out, state, model, optimizer)
        save_model(out / MODEL, model, tokenizer)
    except BaseException as fault:
        writer.stop(f"The run ended at step {state.step} by {type(fault).__name__}.", state.step)
        raise
    if done >= 1.0:
        writer.finish(state.step)
    else:
        writer.stop("The run was told to stop before its end.", state.step)
    return out / MODEL


def train_step(
    model: UsmModel, optimizer: torch.optim.Optimizer, mixture: Mixture, recipe: Recipe, step: int, done: float
) -> tuple[dict[str, float], int]:
    """One optimiser step: metrics by name, and the positions computed.

    Args:
        step: from 0. done: share of the run that lies behind.
    """
    factor = rate_factor(recipe, step, done)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor
    drawn = mixture.batch(step)
    device = model.device
    torch.manual_seed(recipe.seed * 1_000_003 + step)  # dropout of this step, whether resumed or not
    batch = drawn.batch.to(device)
    with autocast(device.type, recipe.bf16):
        scores = model(batch)
    losses = link_loss(scores, to_device(drawn.targets, device))
    loss = torch.stack(list(losses.values())).sum()
    loss.backward()
    norm = nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], recipe.clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    values = {
        "loss": float(loss.detach()),
        **{f"loss/{name}": float(value.detach()) for name, value in losses.items()},
        "lr": recipe.encoder_rate * factor,
        "grad_norm": float(norm),
    }
    return values, drawn.batch.ids.numel()


def to_device(found: tuple[Tensor, Tensor, Tensor], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Targets where the model is."""
    tokens, from_label, to_label = (part.to(device) for part in found)
    return tokens, from_label, to_label


def resumable(out: Path, recipe: Recipe, resume: bool) -> Progress | None:
    """The progress to go on from, None for a new run; a folder that fits neither is refused."""
    done = read_progress(out)
    if done is None:
        if resume:
            raise ExtractError(f"There is no state to resume in '{out}': leave --resume out to start a run.")
        return None
    if not resume:
        raise ExtractError(
            f"'{out}' holds a run at step {done.step}: add --resume to go on with it, or name another --out."
        )
    if differ := done.recipe.differences(recipe):
        raise ExtractError(
            f"The run in '{out}' has another recipe ({', '.join(differ)} differ): give the same options."
        )
    return done
