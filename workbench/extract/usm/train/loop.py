"""Training of USM: its data, the losses of a step, what is learnt; the loop itself is `workbench.extract.loop`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from workbench.extract.loop import Identity, Length, as_json, descend, new_adamw, rate_factor, run_steps, set_rate
from workbench.extract.usm.batch import special_tokens
from workbench.extract.usm.loss import link_loss, summed
from workbench.extract.usm.model import UsmModel
from workbench.extract.usm.prompt import LabelCoder
from workbench.extract.usm.train.mixture import Mixture
from workbench.extract.usm.train.names import allowed_names, banned_names, without_names
from workbench.extract.usm.train.prompts import Prompter
from workbench.extract.usm.train.recipe import Recipe
from workbench.extract.usm.train.sources import Source, definitions, load_sources
from workbench.extract.usm.weights import save_model
from workbench.models.device import autocast
from workbench.training.processes import Place

ROLES = ":roles"  # behind a set that is kept out: its roles alone are, the rest is learnt from


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
        kept,
        root,
        tokenizer,
        recipe.window,
        recipe.documents,
        recipe.seed,
        progress,
        recipe.patterns,
        shelf,
        recipe.swaps,
        recipe.silver,
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
        beside=recipe.beside,
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
    return new_adamw(model, "encoder.", recipe.encoder_rate, recipe.head_rate, recipe.weight_decay)


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
    place: Place | None = None,
) -> Path:
    """Train, or go on training.

    Args:
        mixture: the data.
        model: changed in place. tokenizer: exported with it.
        out: folder of the run.
        encoder: what the model started from, for the log.
        progress: draw a bar.
        place: which of several processes this is; None: the only one.

    Returns:
        Folder of the exported checkpoint.

    Raises:
        ExtractError: the folder holds another run, or the recipe of the run to resume differs.
    """
    place = place or Place()
    mixture.rank = place.rank
    optimizer = new_optimizer(model, recipe)
    return run_steps(
        model, optimizer, lambda step, done: train_step(model, optimizer, mixture, recipe, step, done, place), out,
        Identity(as_json(recipe.to_json()), "usm", type(model.encoder).__name__, encoder, recipe.bf16), length,
        lambda folder: save_model(folder, model, tokenizer), resume=resume, progress=progress, place=place,
    )  # fmt: skip


def train_step(
    model: UsmModel,
    optimizer: torch.optim.Optimizer,
    mixture: Mixture,
    recipe: Recipe,
    step: int,
    done: float,
    place: Place | None = None,
) -> tuple[dict[str, float], int]:
    """One optimiser step: metrics by name, and the positions computed.

    Args:
        step: from 0. done: share of the run that lies behind.
    """
    factor = rate_factor(recipe.warmup, step, done)
    set_rate(optimizer, factor)
    drawn = mixture.batch(step)
    device = model.device
    torch.manual_seed(recipe.seed * 1_000_003 + step)  # dropout of this step, whether resumed or not
    batch = drawn.batch.to(device)
    with autocast(device.type, recipe.bf16):
        scores = model(batch)
    losses = link_loss(scores, to_device(drawn.targets, device))
    loss = summed(losses, recipe.pair_weight)
    norm = descend(model, optimizer, loss, recipe.clip, place)
    values = {
        "loss": float(loss.detach()),
        **{f"loss/{name}": float(value.detach()) for name, value in losses.items()},
        "lr": recipe.encoder_rate * factor,
        "grad_norm": norm,
    }
    return values, drawn.batch.ids.numel()


def to_device(found: tuple[Tensor, Tensor, Tensor], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Targets where the model is."""
    tokens, from_label, to_label = (part.to(device) for part in found)
    return tokens, from_label, to_label
