"""The work behind Extract and Evaluate: engines kept loaded, extraction of one text, of a file, evidence, evaluation.

Runs in the thread of a job, so it draws nothing; torch loads here, with an engine, and not with the page.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from inspect import signature
from pathlib import Path
from typing import Any

from pages.parts.faults import in_words_of
from workbench.extract import Document, Engine, Evidence, Extraction, RecordError, Schema, load_engine
from workbench.extract.batch import Tally, annotated, extract_all
from workbench.extract.evaluate import Evaluation, evaluate, score, within
from workbench.extract.formats import Counts, read_annotated, schema_of
from workbench.extract.formats.sets import load_data
from workbench.extract.marks import Item
from workbench.extract.texts import read_texts
from workbench.jobs import Task

FIELDS = {
    "--text-column": "“Text column”",
    "--data-root": "“Folder of the data sets”",
    "--format": "“Format”",
    "--model": "“Weights”",
    "--device": "“Device”",
    "--out": "“Out”",
}
LOADED = 2  # engines kept in memory
KEPT_ROWS = 200  # results of a batch that the page shows


@dataclass(frozen=True)
class Which:
    """An engine with its weights (None: its own) and device; `ordered`: it shows demonstrations in the order given; `anonymous`: types without their names, None: as its weights say."""

    engine: str
    model: str | None = None
    device: str = "auto"
    ordered: bool = False
    anonymous: bool | None = None


class Engines:
    """Engines that are loaded, the one not used for longest makes room."""

    def __init__(self, most: int = LOADED) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._loaded: OrderedDict[Which, Engine] = OrderedDict()

    def get(self, which: Which, task: Task | None = None) -> Engine:
        """The engine, loaded if it is not."""
        with self._lock:
            if which not in self._loaded:
                if task is not None:
                    task.progress(0, None, f"Loading {which.engine}")
                while len(self._loaded) >= self._most:
                    self._loaded.popitem(last=False)
                options: dict[str, Any] = {} if which.device == "auto" else {"device": which.device}
                if which.ordered:
                    options["ordered"] = True
                if which.anonymous is not None:
                    options["anonymous"] = which.anonymous
                self._loaded[which] = load_engine(which.engine, which.model, **options)
            self._loaded.move_to_end(which)
            return self._loaded[which]


ENGINES = Engines()


@dataclass(frozen=True)
class Run:
    """Candidates of one text.

    Attributes:
        text, schema: what was asked. which: the engine; device: where it ran. seconds: without loading.
        beside: the same by a second engine, or None.
    """

    text: str
    schema: Schema
    which: Which
    extraction: Extraction
    seconds: float
    model: str
    device: str
    demonstrations: tuple[Document, ...] = ()
    beside: Run | None = None


def run_text(
    text: str, schema: Schema, engines: Sequence[Which], demonstrations: tuple[Document, ...], task: Task
) -> Run:
    """One text through one or two engines."""
    made: Run | None = None
    with in_words_of(FIELDS):
        for which in reversed(engines):
            engine = ENGINES.get(which, task)
            task.check()
            task.progress(0, None, "Reading the text")
            more: dict[str, Any] = {}
            if "passes" in signature(engine.extract).parameters:
                more["passes"] = lambda done, total: task.progress(done, total, "Reading the text")
            start = time.perf_counter()
            found = engine.extract([text], schema, demonstrations, stopped=task.cancelled, **more)
            seconds = time.perf_counter() - start
            task.check()
            made = Run(
                text,
                schema,
                which,
                found[0],
                seconds,
                Path(str(engine.model)).name,
                str(engine.device),
                demonstrations,
                made,
            )
    assert made is not None
    return made


def run_evidence(run: Run, item: Item, layer: int | None, heads: tuple[int, ...] | None, task: Task) -> Evidence:
    """What stands behind one result of a run."""
    with in_words_of(FIELDS):
        engine = ENGINES.get(run.which, task)
        task.progress(0, None, "Computing links and attention of this result")
        return engine.explain(run.text, run.schema, item, run.demonstrations, layer=layer, heads=heads)


@dataclass
class BatchResult:
    """A batch as far as it came; filled while it runs, read by the page.

    Attributes:
        file: JSONL of what is done. done: texts in it. first: the first of them. counts: items by kind.
        early: it was stopped. fault: the sentence that ended it, or "".
    """

    file: Path
    done: int = 0
    first: list[Document] = field(default_factory=list)
    counts: Tally = field(default_factory=Tally)
    early: bool = False
    fault: str = ""


@dataclass(frozen=True)
class BatchOrder:
    """A file to run through an engine; `folder` holds it, and the result."""

    file: Path
    folder: Path
    schema: Schema
    which: Which
    threshold: float | None
    nested: bool
    labels: frozenset[str] | None
    text_column: str | None
    lines: bool
    batch_size: int
    demonstrations: tuple[Document, ...] = ()


def run_batch(order: BatchOrder, result: BatchResult, task: Task) -> BatchResult:
    """A file text by text; stopped or broken, what was done stays in `result`."""
    with in_words_of(FIELDS, order.folder):
        task.progress(0, None, "Counting the texts")
        total = sum(1 for _ in read_texts(order.file, order.text_column, order.lines))
        if not total:
            raise RecordError(f"'{order.file.name}' holds no text, and at least one was expected: choose another file.")
        engine = ENGINES.get(order.which, task)
        documents = read_texts(order.file, order.text_column, order.lines)
        with result.file.open("w", encoding="utf-8", newline="\n") as file:
            for document, found in extract_all(
                engine, documents, order.schema, order.demonstrations, batch_size=order.batch_size,
                progress=lambda done: task.progress(done, total, "Extracting"), stopped=task.cancelled,
            ):  # fmt: skip
                made = annotated(document, found, order.threshold, order.nested, order.labels, along=True)
                file.write(made.dumps() + "\n")
                file.flush()
                result.done += 1
                if len(result.first) < KEPT_ROWS:
                    result.first.append(made)
                result.counts.add(made)
        result.early = task.cancelled() and result.done < total
        if result.early:
            task.check()  # so that the list of jobs calls it cancelled
    return result


@dataclass(frozen=True)
class EvaluationOrder:
    """Gold and what to hold against it.

    Attributes:
        gold: file of annotated texts, or None for a named set below `root`.
        predictions: file of annotated texts to score as they are, or None to run `which`.
        demonstrations: file of annotated texts that it is shown, or None.
    """

    gold: Path | None
    name: str
    root: str
    split: str
    form: str | None
    schema: Schema | None
    which: Which | None
    predictions: Path | None
    threshold: float | None
    nested: bool
    mode: str
    limit: int | None
    folder: Path | None = None
    demonstrations: Path | None = None


@dataclass(frozen=True)
class Evaluated:
    """An evaluation with what it was of; `demonstrations` says how many texts the engine was shown."""

    evaluation: Evaluation
    order: EvaluationOrder
    engine: str
    device: str
    left_out: dict[str, int]
    demonstrations: int = 0


def run_evaluation(order: EvaluationOrder, task: Task) -> Evaluated:
    """Read gold, run the engine (or read predictions), score."""
    counts = Counts()
    with in_words_of(FIELDS, order.folder):
        task.progress(0, None, "Reading the annotated texts")
        if order.gold is not None:
            documents = list(read_annotated(order.gold, order.form, counts))
        else:
            documents = load_data(order.name, order.root, order.split, counts)
        documents = documents[: order.limit]
        schema = order.schema or schema_of(documents)
        shots = [] if order.demonstrations is None else list(read_annotated(order.demonstrations))
        task.check()
        if order.predictions is not None:
            gold = [within(document, schema) for document in documents]
            found = list(read_annotated(order.predictions))[: len(documents)]
            result = replace(score([g for g, _ in gold], found, order.mode), outside=sum(n for _, n in gold))
            engine, device = "stored predictions", ""
        else:
            assert order.which is not None
            loaded = ENGINES.get(order.which, task)
            engine, device = f"{loaded.name}, {Path(str(loaded.model)).name}", str(loaded.device)
            result = evaluate(
                loaded, documents, schema, threshold=order.threshold, nested=order.nested, mode=order.mode, demonstrations=shots,
                progress=lambda done: task.progress(done, len(documents), "Extracting"), stopped=task.cancelled,
            )  # fmt: skip
    return Evaluated(result, order, engine, device, dict(counts), len(shots))


def tidy(folder: Path | None) -> None:
    """Remove uploaded files."""
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def jsonl_bytes(documents: Sequence[Document]) -> bytes:
    """Annotated texts as JSON lines."""
    return "".join(document.dumps() + "\n" for document in documents).encode()
