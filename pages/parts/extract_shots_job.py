"""The work behind Demonstrations on Extract: each left out, and the fine-tuned extractor beside the one in context. Runs in a job's thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pages.parts.extract_job import ENGINES, FIELDS, Run, Which
from pages.parts.faults import in_words_of
from workbench.extract import Document, Schema
from workbench.extract.fewshot.effect import Distance, Effect, distance, leave_one_out
from workbench.extract.fewshot.tuning import Stopped, Tuning
from workbench.jobs import Task


@dataclass(frozen=True)
class Effects:
    """The effect of each demonstration of a run; `early`: it was stopped before all were left out."""

    run: Run
    found: tuple[Effect, ...]
    early: bool


def run_effects(run: Run, threshold: float | None, task: Task) -> Effects:
    """Leave each demonstration of a run out."""
    with in_words_of(FIELDS):
        engine = ENGINES.get(run.which, task)
        found = leave_one_out(
            engine, run.text, run.schema, run.demonstrations, threshold, lambda done, total, what: task.progress(done, total, what), task.cancelled
        )  # fmt: skip
    return Effects(run, tuple(found), len(found) < len(run.demonstrations))


@dataclass(frozen=True)
class Compared:
    """The extractor in context and the fine-tuned one, with what they were made of."""

    text: str
    schema: Schema
    which: Which
    shots: tuple[Document, ...]
    tuning: Tuning
    distance: Distance
    gold: int


def run_distance(run: Run, gold: Sequence[Document], threshold: float | None, epochs: int, task: Task) -> Compared:
    """Fine-tune a copy of the engine on the demonstrations of a run, and let both read its text."""
    tuning = Tuning(epochs=epochs)
    with in_words_of(FIELDS):
        engine = ENGINES.get(run.which, task)
        try:
            found = distance(
                engine, [Document(id="text", text=run.text)], run.schema, run.demonstrations, tuning, threshold, gold,
                lambda done, total, what: task.progress(done, total, what), task.cancelled,
            )  # fmt: skip
        except Stopped:
            found = None
        task.check()
    assert found is not None  # it is None only where the job was cancelled
    return Compared(run.text, run.schema, run.which, run.demonstrations, tuning, found, len(gold))
