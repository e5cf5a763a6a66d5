"""Sweep: quality and cost of many sub-models of one model, into a folder with `curve.parquet`.

    loaded = load_model("omni-mini")
    documents = read_documents(["texts/"], InputOptions(group_by="folder"))
    sweep(loaded, documents, grid(["even:5", "all"], ["share:0.5:random"], ["2", "4"]), SweepOptions(), "out")

Order of work: rankings; losses, with every layer that sub-models share run once (shared.py); tasks; captures
(captures.py); then the clock, in interleaved rounds on gathered weights (latency.py), and memory. What is found is in the
journal at once, so a sweep that is stopped, killed or out of disk goes on where it was with `resume`.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.capture.errors import WorkbenchError
from workbench.elastic.captures import capture_folder, record_point
from workbench.elastic.curve import About, rows_of, write_curve
from workbench.elastic.errors import SweepError
from workbench.elastic.harness import Harness, check_harness
from workbench.elastic.journal import Journal
from workbench.elastic.latency import Gathered, LatencyOptions, Timing, gatherable, measure, time_visit, visits
from workbench.elastic.points import Point, make_points
from workbench.elastic.ranking import Rankings
from workbench.elastic.samples import read_any, takes_samples
from workbench.elastic.texts import Scores, Texts
from workbench.elastic.unified_tasks import TaskData, UnifiedTasks, check_tasks

if TYPE_CHECKING:
    import torch

    from probes import SubModel
    from workbench.capture import Capture
    from workbench.inputs import Document
    from workbench.models import LoadedModel

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class SweepOptions:
    """How a sweep measures.

    Attributes:
        group_by: as in `InputOptions`; quality is given for each group.
        batch_size: rows of a forward pass. max_length: tokens of a row; None: what the model takes, at most 2,048.
        latency: what is timed; `rounds` 0 leaves the clock out.
        share: run layers that sub-models share once; False is the plain loop.
        tasks: tasks of lm-evaluation-harness, or of the unified model its own. task_folder: further task files of the harness.
        task_limit: documents of a task. task_data: test data and judges of the unified model's tasks.
        captures: record the routing of every sub-model on the same inputs, with at most so many token rows each; 0 records none.
        seed: of the order of visits and the resampling.
    """

    group_by: str = "modality"
    batch_size: int = 8
    max_length: int | None = None
    latency: LatencyOptions = field(default_factory=LatencyOptions)
    share: bool = True
    tasks: tuple[str, ...] = ()
    task_folder: Path | None = None
    task_limit: int | None = None
    task_data: TaskData = field(default_factory=TaskData)
    captures: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise SweepError(f"--batch-size must be at least 1, but is {self.batch_size}.")
        if self.captures < 0:
            raise SweepError(f"captures must be at least 0, but is {self.captures}.")


@dataclass(frozen=True)
class Swept:
    """What a sweep made.

    Attributes:
        curve: path of curve.parquet, or None if no sub-model was finished.
        points: sub-models asked for. rows: those in the curve.
        left_out: sub-models of the grid that cannot run -> why.
        stopped: it was cancelled; `resume` goes on.
        shared, reason: whether layers were shared, and why not.
        layers, layers_plain: layers run over each batch, and how many a plain loop runs.
        documents, tokens: of the inputs.
    """

    curve: Path | None
    points: int
    rows: int
    left_out: dict[str, str]
    stopped: bool
    shared: bool
    reason: str
    layers: int
    layers_plain: int
    documents: int
    tokens: int


def sweep(
    loaded: LoadedModel,
    documents: Sequence[Document],
    wanted: Sequence[SubModel],
    options: SweepOptions,
    out: str | Path,
    *,
    listed: Sequence[SubModel] = (),
    calibration: Sequence[Document] = (),
    ranking: Capture | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Swept:
    """Measure sub-models and write their curve.

    Args:
        loaded: the full model.
        documents: texts whose loss is measured.
        wanted: sub-models of a grid (`grid`); those that cannot run are left out and named in the result.
        listed: sub-models of which each must run.
        out: folder of the sweep; new, or with `resume` one that was begun with the same model, inputs and options (sub-models
            may be added).
        calibration: texts for rankings. ranking: a capture for rankings by count and mass, instead.
        progress: told (done, total, what), in the thread that calls this.
        cancelled: asked between batches and visits; what was found is kept, and the curve of the finished sub-models written.

    Raises:
        SweepError: if options, inputs or the folder do not fit.
        SubModelError: if a listed sub-model cannot run.
        CaptureError: if the disk is full.
    """
    if takes_samples(loaded):
        check_tasks(options.tasks, options.task_data)
    else:
        check_harness(options.tasks, options.task_folder)
    say = progress or (lambda done, total, what: None)
    stop = cancelled or (lambda: False)
    loaded.model.eval()
    texts = _texts(loaded, documents, options)
    rankings = Rankings(
        loaded, _texts(loaded, calibration, options) if calibration else None, ranking, lambda words: say(0, 1, words)
    )
    points, left_out = make_points(loaded.model, wanted, rankings.of, listed=listed)
    journal = Journal(Path(out), _identity(loaded, texts, options), resume=resume)
    work = _Work(loaded, documents, texts, points, options, journal, say, stop)
    try:
        finished = work.losses() and work.tasks() and work.captures() and work.clock()
    except BaseException as fault:
        journal.close()
        # The first fault is the one to tell: that the curve cannot be written either comes from the same full disk.
        with suppress(WorkbenchError):
            work.write()
        found = _memory_error(fault)
        if found is None:
            raise
        raise found from fault
    journal.close()
    curve, rows = work.write()
    return Swept(
        curve, len(points), rows, left_out, not finished, work.shared, work.reason, work.layers, work.layers_plain,
        texts.documents, int(texts.tokens.sum()),
    )  # fmt: skip


def _texts(loaded: LoadedModel, documents: Sequence[Document], options: SweepOptions) -> Texts:
    return read_any(
        loaded, documents, group_by=options.group_by, batch_size=options.batch_size, max_length=options.max_length
    )


def _identity(loaded: LoadedModel, texts: Texts, options: SweepOptions) -> dict[str, Any]:
    """What must be the same for findings to belong together; words a person understands."""
    latency = options.latency
    return {
        "model": {"id": loaded.info.id, "revision": loaded.info.revision, "parameters": loaded.info.parameters},
        "number format and device": [loaded.info.dtype, loaded.info.device],
        "input": {"texts": texts.fingerprint, "batch_size": options.batch_size},
        "timing": [latency.batch, latency.length, latency.steps],
        "version": 1,
    }


class _Work:
    """One sweep at work: each step does what the journal does not hold yet, and says False when it was stopped."""

    def __init__(
        self,
        loaded: LoadedModel,
        documents: Sequence[Document],
        texts: Texts,
        points: Sequence[Point],
        options: SweepOptions,
        journal: Journal,
        say: Progress,
        stop: Callable[[], bool],
    ) -> None:
        from probes.cost import cost

        self.loaded, self.texts, self.points, self.options, self.journal = loaded, texts, points, options, journal
        self.model: Any = loaded.model
        self.documents, self.stop, self._say = documents, stop, say
        self.costs = {point.key: cost(loaded.model, point.plan) for point in points}
        self.shared, self.reason, self.layers, self.layers_plain = options.share, "", 0, 0
        self.visits = len(points) * options.latency.rounds
        self.total = (
            len(points) * len(texts.batches) + len(points) * (len(options.tasks) + bool(options.captures)) + self.visits
        )
        self.done = 0

    def say(self, words: str, step: int = 1) -> None:
        self.done += step
        self._say(self.done, self.total, words)

    # ------------------------------------------------------------------ quality
    def losses(self) -> bool:
        """Losses of every sub-model on every batch; batches with the same sub-models still to do run together."""
        from workbench.elastic.shared import SharedRunner

        missing: list[tuple[tuple[int, ...], list[int]]] = []
        for batch in range(len(self.texts.batches)):
            left = tuple(
                number
                for number, point in enumerate(self.points)
                if batch not in self.journal.found.losses.get(point.key, {})
            )
            self.done += len(self.points) - len(left)
            if left and missing and missing[-1][0] == left:
                missing[-1][1].append(batch)
            elif left:
                missing.append((left, [batch]))
        for left, batches in missing:
            plans = [self.points[number].plan for number in left]
            runner = SharedRunner(self.model, plans, share=self.options.share)
            self._say(self.done, self.total, "comparing shared and plain runs on one batch")
            runner.check(self.texts.batches[batches[-1]])
            self.shared, self.reason = runner.shared, runner.reason
            self.layers, self.layers_plain = runner.work.layers, runner.work.layers_plain
            chosen = [self.texts.batches[batch] for batch in batches]
            for first, end in runner.chunks(chosen):

                def consume(
                    point: int, number: int, answer: torch.Tensor, left: Any = left, batches: Any = batches
                ) -> None:
                    self._score(left[point], batches[number], answer)

                if not runner.run(chosen[first:end], first, consume, self.stop):
                    return False
        return True

    def _score(self, number: int, batch: int, answer: torch.Tensor) -> None:
        point, own = self.points[number], self.texts.batches[batch]
        scores = Scores(len(self.texts.cells))
        scores.add(own, answer)
        cells = np.unique(own.cell[own.cell >= 0])
        self.journal.add(
            "loss",
            point.key,
            batch=batch,
            cells=cells.tolist(),
            loss=scores.loss[cells].tolist(),
            right=scores.right[cells].tolist(),
        )
        self.say(f"loss of {point.key}")

    def tasks(self) -> bool:
        """Tasks under every sub-model."""
        options = self.options
        if not options.tasks:
            return True
        tasks: Harness | UnifiedTasks
        if takes_samples(self.loaded):
            tasks = UnifiedTasks(
                self.loaded, options.tasks, options.task_data, limit=options.task_limit, seed=options.seed,
                say=lambda words: self._say(self.done, self.total, words),
            )  # fmt: skip
        else:
            tasks = Harness(
                self.loaded, options.tasks, folder=options.task_folder, limit=options.task_limit, batch_size=options.batch_size,
            )  # fmt: skip
        for point in self.points:
            for task in options.tasks:
                if self.stop():
                    return False
                if task not in self.journal.found.tasks.get(point.key, {}):
                    with point.plan.applied(self.model):
                        measures = tasks.run(task)
                    self.journal.add("task", point.key, task=task, measures=measures)
                self.say(f"{task} under {point.key}")
        return True

    def captures(self) -> bool:
        """The routing of every sub-model, where it is asked for."""
        from workbench.recording import RecordOptions

        options, folder = self.options, self.journal.folder
        if not options.captures:
            return True
        for point in self.points:
            if self.stop():
                return False
            if capture_folder(folder, self.journal.found.captures.get(point.key, "")) is None:
                recording = RecordOptions(
                    group_by=options.group_by, batch_size=options.batch_size, max_length=options.max_length,
                    max_tokens=options.captures, seed=options.seed, notes=f"Recorded in a sweep, as the sub-model: {point.key}.",
                )  # fmt: skip
                name = record_point(self.loaded, self.documents, point, recording, folder, self.stop)
                if name is None:
                    return False
                self.journal.add("capture", point.key, name=name)
            self.say(f"routing of {point.key}")
        return True

    # ------------------------------------------------------------------ latency and memory
    def clock(self) -> bool:
        """Visits of the clock, then one run each under the memory watch."""
        options, found = self.options.latency, self.journal.found
        if not options.rounds:
            return True
        plans = {point.key: point.plan for point in self.points}
        for key, why in gatherable(self.model, plans).items():
            if key not in found.masked:
                self.journal.add("masked", key, reason=why)
        able = [key for key in plans if key not in found.masked]
        wanted = [visit for visit in visits(able, options) if visit[0] not in found.timings.get(visit[1], {})]
        self.done = self.total - len(wanted)
        if not able:
            return True
        gathered = Gathered(self.model, plans)
        ids = self._prompt()

        def keep(number: int, key: str, timing: Timing) -> None:
            self.journal.add("time", key, round=number, prefill=timing.prefill, decode=list(timing.decode))
            self.say(f"clock, round {number + 1} of {options.rounds}: {key}")

        def failed(key: str, why: str) -> None:
            self.journal.add("masked", key, reason=why)

        if not measure(gathered, ids, options, wanted, keep, failed, self.stop):
            return False
        return self._memory(gathered, [key for key in able if key not in found.masked], ids)

    def _memory(self, gathered: Gathered, keys: Sequence[str], ids: torch.Tensor) -> bool:
        from workbench.elastic.live_memory import peak_memory

        for key in keys:
            if self.stop():
                return False
            if key in self.journal.found.memory:
                continue
            with gathered.of(key) as small:
                peak = peak_memory(small, lambda small=small: time_visit(small, ids, 1))  # type: ignore[misc]
            self.journal.add("memory", key, weights=peak.weights, other=peak.other, how=peak.how)
            self._say(self.done, self.total, f"memory of {key}")
        return True

    def _prompt(self) -> torch.Tensor:
        """int64 [B, T] of the inputs' own tokens, repeated where they are too few: routing depends on what is read."""
        import torch

        options = self.options.latency
        every = torch.cat([batch.words() for batch in self.texts.batches])
        need = options.batch * options.length
        every = every.repeat(-(-need // len(every)))[:need]
        return every.view(options.batch, options.length).to(self.model.device)

    def write(self) -> tuple[Path | None, int]:
        """Write the curve of the sub-models whose losses are all there; (path, rows), (None, 0) if there is none."""
        info = self.loaded.info
        about = About(
            info.id, info.revision, info.family, info.device, info.dtype, _software(), self.options.latency,
            datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), self.options.seed,
        )  # fmt: skip
        rows, documents = rows_of(self.points, self.costs, self.texts, self.journal.found, about)
        if not rows:
            return None, 0
        return write_curve(self.journal.folder, rows, documents), len(rows)


def _software() -> str:
    """Names and versions that a number may depend on, and the processor's threads."""
    import torch

    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers")]
    return ", ".join([*versions, f"Python {platform.python_version()}", f"{torch.get_num_threads()} threads"])


def _memory_error(fault: BaseException) -> WorkbenchError | None:
    """The sentence for a sweep that ran out of memory, or None for another fault."""
    words = str(fault).lower()
    if isinstance(fault, MemoryError) or "out of memory" in words or "can't allocate" in words:
        return SweepError(
            "The memory was not enough for a batch of the sweep: use a smaller --batch-size or --max-length, then go on with --resume."
        )
    return None
