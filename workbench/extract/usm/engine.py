"""The engine `usm`: a loaded model behind the engine protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import torch

from workbench.extract.errors import EngineError, no_model, usable
from workbench.extract.extraction import Evidence, Extraction
from workbench.extract.records import Document, Event, Relation, Span
from workbench.extract.schema import Schema
from workbench.extract.usm.model import UsmModel
from workbench.extract.usm.passes import Found, Passes, Window, results
from workbench.extract.usm.pieces import encode_texts, foreign_note
from workbench.extract.usm.plan import Block, blocks, windows
from workbench.extract.usm.reading import MODES, Reading
from workbench.extract.usm.trim import one_reading
from workbench.extract.usm.weights import load_model

PASSES_AT_ONCE = 256  # whose link scores are held together: about 65 MB with windows of 128 pieces


class UsmEngine:
    """USM.

    Args:
        model, tokenizer: as `load_model` gives them.
        source: what was loaded, for people.
        decoding: "auto" (what did best on development data), "strict" (every link above 0, the paper's rule) or "mean".
    """

    name = "usm"

    def __init__(self, model: UsmModel, tokenizer: Any, source: str = "", decoding: str = "auto") -> None:
        if decoding not in ("auto", *MODES):
            raise EngineError(
                f"USM reads results by auto, {' or '.join(MODES)}, not by '{decoding}': choose one of them."
            )
        self.usm, self.tokenizer = model, tokenizer
        self.model, self.device = source, str(model.device)
        self.reading = Reading.from_json(model.config.decoding).of(decoding)
        self.passes = Passes(model, tokenizer)

    @classmethod
    def load(
        cls, model: str | None, device: str = "auto", decoding: str = "auto", attention: str = "eager"
    ) -> UsmEngine:
        """Load a folder or a hub id.

        Raises:
            EngineError: there is no USM model, or the device is not there.
        """
        if model is None:
            raise EngineError("Name the USM model to load: a folder that `workbench train` wrote, or a hub id.")
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        folder = Path(model)
        if not folder.is_dir():
            folder = _from_hub(model)
        with usable(device):
            loaded, tokenizer = load_model(folder, device, attention)
        return cls(loaded, tokenizer, Path(model).name if Path(model).is_dir() else model, decoding)

    def extract(
        self,
        texts: Sequence[str],
        schema: Schema | Mapping[str, Any],
        demonstrations: Sequence[Document] = (),
        *,
        batch_size: int = 8,
        progress: Callable[[int], None] | None = None,
        stopped: Callable[[], bool] | None = None,
        passes: Callable[[int, int], None] | None = None,
    ) -> list[Extraction]:
        """Candidates of every text, in order; see `workbench.extract.engines.Engine.extract`."""
        if demonstrations:
            raise EngineError(
                "USM does not learn from examples in context: leave the demonstrations out, or fine-tune it with `workbench train`."
            )
        wanted = Schema.read(schema)
        whole = wanted.expanded()
        plan = self.plan(whole)
        of_labels = self._notes_of_labels(plan)
        done: list[Extraction] = []
        for at in range(0, len(texts), max(1, batch_size)):
            if stopped is not None and stopped():
                break
            group = texts[at : at + max(1, batch_size)]
            cut = self.windows(group)
            found = {number: Found() for number in range(len(group))}
            together = max(1, PASSES_AT_ONCE // len(plan))
            counted = None if passes is None else _counter(passes, len(cut) * len(plan))
            for start in range(0, len(cut), together):
                part = self.passes.run(
                    cut[start : start + together], plan, whole, self.reading, batch_size, stopped, counted
                )
                for number, each in part.items():
                    for table in ("entities", "triggers", "relations", "arguments"):
                        into = getattr(found[number], table)
                        for key, value in getattr(each, table).items():
                            into[key] = max(value, into.get(key, value))
            if stopped is not None and stopped():
                break  # the passes of this group may be incomplete
            for number, text in enumerate(group):
                done.append(
                    self._extraction(
                        text, whole, found[number], sum(w.text == number for w in cut), len(plan), of_labels
                    )
                )
            if progress is not None:
                progress(len(done))
        return done

    def plan(self, schema: Schema) -> list[Block]:
        """The passes of a schema, sentiment written out."""
        return blocks(schema, self.usm.config.max_labels, self.usm.config.events_apart)

    def windows(self, texts: Sequence[str]) -> list[Window]:
        """Every window of some texts."""
        config = self.usm.config
        return [
            Window(number, pieces.cut(first, stop), first > 0, stop < len(pieces))
            for number, pieces in enumerate(encode_texts(self.tokenizer, texts))
            for first, stop in windows(pieces, config.window, config.overlap)
        ]

    def explain(
        self,
        text: str,
        schema: Schema | Mapping[str, Any],
        item: Span | Relation | Event,
        demonstrations: Sequence[Document] = (),
        *,
        layer: int | None = None,
        heads: Sequence[int] | None = None,
    ) -> Evidence:
        """Links, attention and experts behind one result; see `workbench.extract.engines.Engine.explain`."""
        from workbench.extract.usm.explain import explain

        return explain(self, text, Schema.read(schema).expanded(), item, layer, heads)

    def _notes_of_labels(self, plan: Sequence[Block]) -> list[str]:
        """What the model does not read of the schema: ends of long labels, and what sets apart labels that it reads alike."""
        labels = dict.fromkeys(label for block in plan for label in block.prompt.labels)
        notes = []
        if long := [label.name for label in labels if self.passes.coder.is_cut(label)]:
            notes.append(
                f"USM reads {self.usm.config.max_label} pieces of a label: the end of the description is not read of {_listed(long)}."
            )
        alike: dict[tuple[str, tuple[int, ...]], dict[str, None]] = {}
        for block in plan:
            for part in ("entities", "events", "relations", "roles"):
                for name, number in getattr(block, part).items():
                    ids = self.passes.coder.ids(block.prompt.labels[number])
                    alike.setdefault((part, ids), {})[name] = None
        for names in alike.values():
            if len(names) > 1:
                notes.append(f"USM reads these labels alike, so they have the same results: {_listed([*names])}.")
        return notes

    def _extraction(
        self, text: str, schema: Schema, found: Found, parts: int, passes: int, of_labels: Sequence[str] = ()
    ) -> Extraction:
        notes = [*of_labels, *foreign_note(self.tokenizer, text)]
        if parts > 1:
            notes.append(
                f"The text was read in {parts} overlapping windows of {self.usm.config.window} pieces: a relation or argument across more than one window is not found."
            )
        if passes > 1:
            apart = ", events apart from the rest" if self.usm.config.events_apart and schema.events else ""
            notes.append(
                f"The schema was asked in {passes} passes of at most {self.usm.config.max_labels} labels{apart}."
            )
        return Extraction(
            text=text,
            wanted=schema,
            floor=self.reading.floor,
            threshold=round(self.reading.threshold, 4),
            advised=dict(self.reading.thresholds),
            calibrated=self.reading.calibrated,
            notes=tuple(notes),
            **results(one_reading(found, text), schema, self.reading),
        )


def _listed(names: Sequence[str], most: int = 5) -> str:
    """Names with commas, the rest of many only counted."""
    rest = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{rest}"


def _counter(passes: Callable[[int, int], None], total: int) -> Callable[[], None]:
    """Says how many of the passes of a group of texts are done, each time it is called."""
    numbers = count(1)
    return lambda: passes(next(numbers), total)


def _from_hub(model: str) -> Path:
    """The folder of a model on the hub."""
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(model, allow_patterns=["*.json", "*.safetensors"]))
    except Exception as fault:  # the hub's client raises many kinds
        raise no_model("USM", model, fault) from None
