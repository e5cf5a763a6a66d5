"""MetaNER's backbone fine-tuned on shots: the plain task, under the types' own names, no demonstrations and no meta loss.

As in finetuning.py of the paper's code, each sample asks for three to all of the types, drawn and in any order; asked afterwards, it is given all of them
in the order of the schema. Its "reject" variant (noisy copies with "X is not entity.") is left out.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from workbench.extract.engines import Engine
from workbench.extract.errors import EngineError
from workbench.extract.fewshot.tuning import HEADS, Progress, Tuning, loop
from workbench.extract.metaner.engine import MetaNerEngine
from workbench.extract.metaner.prompts import names_of
from workbench.extract.metaner.train.episodes import Sampling, Writer
from workbench.extract.metaner.wire import Shot, Wire
from workbench.extract.records import Document
from workbench.extract.schema import Schema
from workbench.extract.seq2seq.batch import Example
from workbench.extract.seq2seq.loop import Recipe, new_optimizer, train_step
from workbench.extract.seq2seq.stream import Stream

LEAST_ASKED = 3  # types of a sample, where there are as many


def tune(
    engine: MetaNerEngine,
    shots: Sequence[Document],
    schema: Schema,
    tuning: Tuning,
    progress: Progress,
    stopped: Callable[[], bool],
) -> Engine:
    """A fine-tuned copy; see `tuning.fine_tuned`. Ask it without demonstrations.

    Raises:
        EngineError: no example fits into a prompt, or the schema has no types.
    """
    model = copy.deepcopy(engine.net)
    made = MetaNerEngine(
        model, engine.tokenizer, engine.model, engine.shape.anonymous, engine.constrained, engine.shape.ordered, engine.learnt
    )  # fmt: skip
    wire = Wire(engine.tokenizer, engine.tokens, engine.copies)
    samples = Samples(
        Writer(wire, Sampling(max_source=engine.longest or Sampling.max_source)),
        wire.shots(shots),
        names_of(schema, False),
    )
    batch = min(tuning.batch, len(shots))  # a sentence more than once in a batch would only cost time
    recipe = Recipe(
        seed=tuning.seed, batch=batch, encoder_rate=tuning.rate, decoder_rate=HEADS * tuning.rate, warmup=tuning.warmup_steps(len(shots)), bf16=False,
    )  # fmt: skip
    stream = Stream({"plain": (1.0, samples.draw)}, engine.tokens.sel, batch, tuning.seed)
    optimizer = new_optimizer(model, recipe)
    model.train()
    loop(
        lambda number, done: train_step(model, optimizer, stream, recipe, number, done),
        tuning.steps(len(shots)), progress, stopped,
    )  # fmt: skip
    model.eval()
    return made


class Samples:
    """Samples of the plain task from a few texts.

    Args:
        names: type -> its own name.

    Raises:
        EngineError: no text fits into a prompt with all the types.
    """

    def __init__(self, writer: Writer, shots: Sequence[Shot], names: dict[str, str]) -> None:
        self._writer, self._names = writer, names
        self._shots = [shot for shot in shots if len(shot.pieces) and writer.plain(names, shot) is not None]
        if not self._shots:
            raise EngineError("No example fits into a prompt with these types: give shorter examples, or fewer types.")

    def draw(self, rng: np.random.Generator) -> Example | None:
        """A text, asked for some of the types."""
        shot = self._shots[int(rng.integers(len(self._shots)))]
        types = list(self._names)
        count = int(rng.integers(min(LEAST_ASKED, len(types)), len(types) + 1))
        asked = [types[n] for n in rng.permutation(len(types))[:count]]
        shown = replace(shot, mentions=tuple(m for m in shot.mentions if m[2] in asked))
        return self._writer.plain({type_: self._names[type_] for type_ in asked}, shown)
