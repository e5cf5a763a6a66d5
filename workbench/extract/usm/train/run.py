"""`workbench train --engine usm`: from an encoder or a USM model to a trained one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.extract.loop import Length
from workbench.extract.usm.config import UsmConfig
from workbench.extract.usm.engine import UsmEngine
from workbench.extract.usm.reading import Reading
from workbench.extract.usm.train.loop import build_mixture, train
from workbench.extract.usm.train.recipe import Recipe
from workbench.extract.usm.train.start import start_model
from workbench.extract.usm.tune import development_parts, fit, with_development
from workbench.extract.usm.weights import save_model
from workbench.training.processes import Place, process_group


def run(
    encoder: str,
    root: Path,
    out: Path,
    recipe: Recipe,
    length: Length,
    *,
    device: str = "cpu",
    resume: bool = False,
    progress: bool = False,
    notice: Any = None,
    development: int = 100,
    learn: Callable[[UsmEngine], Reading] | None = None,
    shelf: dict[Any, Any] | None = None,
) -> Path:
    """Load, train, export, and learn on development parts how results are read off. See `loop.train`.

    Args:
        development: texts of each development part; 0 leaves that out.
        learn: how results are read off, in place of what the development parts say.
        shelf: see `sources.load_sources`.
    """
    with process_group(device) as place:
        return _run(
            encoder, root, out, recipe, length, place, resume, progress and place.first, notice if place.first else None,
            development, learn, shelf,
        )  # fmt: skip


def _run(
    encoder: str,
    root: Path,
    out: Path,
    recipe: Recipe,
    length: Length,
    place: Place,
    resume: bool,
    progress: bool,
    notice: Any,
    development: int,
    learn: Callable[[UsmEngine], Reading] | None,
    shelf: dict[Any, Any] | None,
) -> Path:
    model, tokenizer = start_model(
        encoder,
        place.device,
        labels_see_text=recipe.labels_see_text,
        label_vector=recipe.label_vector,
        events_apart=True,
        window=max(recipe.window, UsmConfig().window),
    )
    if recipe.beside:  # hardly any set has events and relations, so without it no prompt of the training asks for both
        model.config.events_apart = False
    mixture = build_mixture(recipe, root, tokenizer, model.config.max_label, notice, shelf)
    name = Path(encoder).name if Path(encoder).is_dir() else encoder
    made = train(
        mixture, model, tokenizer, out, recipe, length, encoder=name, resume=resume, progress=progress, place=place
    )
    names = with_development(name for name in recipe.sets if name not in recipe.held_out)
    if place.first and (learn is not None or (development and names)):
        engine = UsmEngine(model.eval(), tokenizer, out.name)
        if learn is None:
            reading = fit(development_parts(engine, names, root, development, recipe.seed, notice))
        else:
            reading = learn(engine)
        model.config.decoding = reading.to_json()
        save_model(made, model, tokenizer)
    return made
