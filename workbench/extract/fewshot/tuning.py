"""An engine fine-tuned on the shots of an episode: what learning in context is compared with.

The recipe is MetaNER's for few-shot fine-tuning (arXiv 2305.11038; finetuning.py of its code): rate 1e-4, batches of 4, linear warm-up over
.06 of the steps, 200 epochs. An epoch is as many steps as show each sentence once on average; batches are drawn with replacement. Every
engine trains by its own loop, heads and decoder at five times the rate, as in its pre-training here. The engine that is given stays as it is.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any

from workbench.extract.engines import Engine
from workbench.extract.errors import EngineError, ExtractError
from workbench.extract.records import Document
from workbench.extract.schema import Schema

PAPER_EPOCHS = 200
HEADS = 5.0  # rate of heads and decoder over that of the encoder
Progress = Callable[[int, int], None]  # steps done, of how many
Tuner = Callable[..., Engine]
TUNERS: dict[str, str] = {
    "usm": "workbench.extract.fewshot.tuning:tune_usm",
    "uie": "workbench.extract.fewshot.tuning:tune_uie",
    "metaner": "workbench.extract.fewshot.tuning_metaner:tune",
}


class Stopped(ExtractError):
    """Fine-tuning was stopped before its end."""


@dataclass(frozen=True)
class Tuning:
    """How an engine is fine-tuned on shots.

    Attributes:
        epochs: over the shots; the paper's are 200. batch: sentences a step. rate: peak rate of AdamW for the encoder; see `HEADS`.
        warmup: share of the steps. seed: of everything that chance decides.
    """

    epochs: int = 50
    batch: int = 4
    rate: float = 1e-4
    warmup: float = 0.06
    seed: int = 0

    def steps(self, sentences: int) -> int:
        """Optimiser steps over so many sentences."""
        return self.epochs * math.ceil(sentences / self.batch)

    def warmup_steps(self, sentences: int) -> int:
        return max(1, math.ceil(self.warmup * self.steps(sentences)))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def can_tune(engine: str) -> bool:
    """Whether an engine of this name can be fine-tuned on shots."""
    return engine in TUNERS


def fine_tuned(
    engine: Engine,
    shots: Sequence[Document],
    schema: Schema,
    tuning: Tuning | None = None,
    progress: Progress | None = None,
    stopped: Callable[[], bool] | None = None,
) -> Engine:
    """A fine-tuned copy of an engine.

    Args:
        engine: usm, uie or metaner, loaded. shots: annotated sentences. schema: every type that is asked for.
        progress: told (steps done, steps in all). stopped: asked before every step.

    Raises:
        EngineError: there is no such training, or there are no shots. Stopped: `stopped` said so.
    """
    if engine.name not in TUNERS:
        raise EngineError(
            f"The engine '{engine.name}' cannot be fine-tuned on examples here: choose one of {', '.join(TUNERS)}."
        )
    if not shots:
        raise EngineError("There is nothing to fine-tune on: give at least one annotated sentence.")
    module, _, function = TUNERS[engine.name].partition(":")
    tune: Tuner = getattr(import_module(module), function)
    bare = [Document(id=d.id, text=d.text, entities=d.entities or ()) for d in shots]
    return tune(engine, bare, schema, tuning or Tuning(), progress or _no_progress, stopped or _never)


def _no_progress(done: int, total: int) -> None:
    return None


def _never() -> bool:
    return False


def loop(step: Callable[[int, float], Any], steps: int, progress: Progress, stopped: Callable[[], bool]) -> None:
    """Run a training step so many times.

    Args:
        step: takes its number, from 0, and the share of the training that lies behind.

    Raises:
        Stopped: `stopped` said so.
    """
    for number in range(steps):
        if stopped():
            raise Stopped("The fine-tuning was stopped before its end, so nothing of it is kept.")
        step(number, number / steps)
        progress(number + 1, steps)


def tune_usm(
    engine: Any,
    shots: Sequence[Document],
    schema: Schema,
    tuning: Tuning,
    progress: Progress,
    stopped: Callable[[], bool],
) -> Engine:
    """USM, by its own training loop."""
    from workbench.extract.usm.batch import special_tokens
    from workbench.extract.usm.engine import UsmEngine
    from workbench.extract.usm.prompt import LabelCoder
    from workbench.extract.usm.train.loop import new_optimizer, train_step
    from workbench.extract.usm.train.mixture import Mixture
    from workbench.extract.usm.train.prompts import Prompter
    from workbench.extract.usm.train.recipe import Recipe

    model = copy.deepcopy(engine.usm)
    recipe = Recipe(
        sets=(), seed=tuning.seed, batch=tuning.batch, encoder_rate=tuning.rate, head_rate=HEADS * tuning.rate,
        warmup=tuning.warmup_steps(len(shots)), dropout=0.1, bf16=False,
    )  # fmt: skip
    source = _source(shots, schema, engine.tokenizer, min(recipe.window, model.config.window))
    coder = LabelCoder(engine.tokenizer, model.config.max_label)
    prompter = Prompter(coder, [source], drop=0.0, describe=0.0, own_name=1.0, from_relations=0.0, far_labels=False, whole=1.0)  # fmt: skip
    mixture = Mixture([source], prompter, tuning.batch, tuning.seed, special_tokens(engine.tokenizer))
    optimizer = new_optimizer(model, recipe)
    model.train()
    loop(
        lambda number, done: train_step(model, optimizer, mixture, recipe, number, done),
        tuning.steps(len(shots)), progress, stopped,
    )  # fmt: skip
    made = UsmEngine(model.eval(), engine.tokenizer, engine.model)
    made.reading = engine.reading
    return made


def tune_uie(
    engine: Any,
    shots: Sequence[Document],
    schema: Schema,
    tuning: Tuning,
    progress: Progress,
    stopped: Callable[[], bool],
) -> Engine:
    """UIE, by the loop of encoder-decoders, with its rejected labels (.1) and every type in each prompt."""
    from workbench.extract.seq2seq.loop import Recipe, new_optimizer, train_step
    from workbench.extract.seq2seq.model import CopySeq2Seq
    from workbench.extract.uie.train.run import WINDOW, build_stream

    model = copy.deepcopy(engine.net)
    what = {
        "objectives": {"pair": 1.0},
        "sampling": {"labels": 10**6, "drop": 0.0, "reject": 0.1, "ordered": 1.0, "own_name": 1.0, "far": 0.0},
    }
    recipe = Recipe(
        what=what, seed=tuning.seed, batch=tuning.batch, encoder_rate=tuning.rate, decoder_rate=HEADS * tuning.rate,
        warmup=tuning.warmup_steps(len(shots)), bf16=False,
    )  # fmt: skip
    source = _source(shots, schema, engine.tokenizer, WINDOW)
    stream = build_stream(recipe, [source], engine.tokenizer, engine.tokens, isinstance(model, CopySeq2Seq))
    optimizer = new_optimizer(model, recipe)
    model.train()
    loop(
        lambda number, done: train_step(model, optimizer, stream, recipe, number, done),
        tuning.steps(len(shots)), progress, stopped,
    )  # fmt: skip
    made = copy.copy(engine)
    made.net, made.counts = model.eval(), Counter()
    return made


def _source(shots: Sequence[Document], schema: Schema, tokenizer: Any, window: int) -> Any:
    """The shots as a set to train on; every type of the schema may be asked, so that what is absent is learnt as absent."""
    from workbench.extract.usm.train.sources import Plan, make_source

    source = make_source("shots", Plan(1.0, "general"), shots, tokenizer, window)
    source.entities = tuple(label.name for label in schema.entities)
    if not source.chunks or not source.entities:
        raise EngineError("The examples hold no text that the model can read, or the schema no entity type: give both.")
    return source
