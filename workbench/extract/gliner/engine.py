"""The engine `gliner`: a GLiNER checkpoint behind the engine protocol, for entities.

GLiNER cuts a text silently where it is too long for it, so here a text is read in overlapping windows of whole words, and a schema with
more labels than the checkpoint was trained with at once is asked in blocks.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.capture.errors import reason
from workbench.extract.errors import EngineError
from workbench.extract.extraction import FLOOR, THRESHOLD, Evidence, Extraction, entities_only
from workbench.extract.gliner.files import check, complete, folder_of
from workbench.extract.records import Document, Event, Relation, Span
from workbench.extract.schema import Schema

OVERLAP = 32  # words that neighbouring windows share, at most a quarter of a window
_AROUND = 6  # pieces around labels and text: the separator and special tokens, with one to spare
_UNLIMITED = 100_000  # a tokenizer without a limit states a huge number


@dataclass(frozen=True)
class Window:
    """A stretch of a text that is read at once: its text's number and its code points, end exclusive."""

    text: int
    start: int
    end: int


class GlinerEngine:
    """GLiNER.

    Args:
        model: a model of the package gliner: `inference`, `config`, `data_processor` and, where there is one, `device`.
        source: what was loaded, for people.
    """

    name = "gliner"

    def __init__(self, model: Any, source: str = "", device: str = "cpu") -> None:
        self.gliner, self.model, self.device = model, source, device

    @classmethod
    def load(cls, model: str | None, device: str = "auto") -> GlinerEngine:
        """Load a folder or a hub id.

        Raises:
            EngineError: there is no GLiNER checkpoint, it may not be opened (see `files`), or the device is not there.
        """
        if model is None:
            raise EngineError(
                "GLiNER needs the name of a checkpoint: a folder with gliner_config.json and model.safetensors, or a hub id."
            )
        import torch

        folder = folder_of(model)
        shown = folder.name if Path(model).is_dir() else model
        values = check(folder, shown)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        offline = bool(values.get("encoder_config")) and (folder / "tokenizer_config.json").is_file()
        try:
            from gliner import GLiNER

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made = GLiNER.from_pretrained(str(folder), map_location=device, local_files_only=offline)
        except Exception as fault:  # GLiNER's loader raises many kinds
            raise EngineError(
                f"The checkpoint '{shown}' cannot be loaded by GLiNER ({reason(fault)}): check it, or choose another one."
            ) from None
        complete(folder, made.model.state_dict(), _shared(made.model))
        return cls(made, shown, device)

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
        """Entities of every text, in order; see `workbench.extract.engines.Engine.extract`."""
        if demonstrations:
            raise EngineError("GLiNER does not learn from examples in context: leave the demonstrations out.")
        whole = Schema.read(schema).expanded()
        labels = [label.name for label in whole.entities]
        if not labels:
            raise EngineError("GLiNER finds entities, but the schema names no entity type: add one.")
        wanted, notes = entities_only("GLiNER", whole)
        blocks = self.blocks(labels)
        if len(blocks) > 1:
            notes.append(f"The schema was asked in {len(blocks)} passes of at most {len(blocks[0])} labels.")
        room = self._room(blocks)
        done: list[Extraction] = []
        for at in range(0, len(texts), max(1, batch_size)):
            if stopped is not None and stopped():
                break
            group = texts[at : at + max(1, batch_size)]
            cut = [
                Window(number, start, end)
                for number, text in enumerate(group)
                for start, end in self.windows(text, room)
            ]
            best: list[dict[tuple[int, int, str], float]] = [{} for _ in group]
            read = 0
            for block in blocks:
                for start_of in range(0, len(cut), max(1, batch_size)):
                    if stopped is not None and stopped():
                        return done
                    part = cut[start_of : start_of + max(1, batch_size)]
                    for window, found in zip(part, self._found(group, part, block), strict=True):
                        for each in found:
                            key = (window.start + each["start"], window.start + each["end"], str(each["label"]))
                            score = min(1.0, max(0.0, float(each["score"])))
                            best[window.text][key] = max(score, best[window.text].get(key, 0.0))
                    read += len(part)
                    if passes is not None:
                        passes(read, len(cut) * len(blocks))
            for number, text in enumerate(group):
                parts = sum(window.text == number for window in cut)
                more = [f"The text was read in {parts} overlapping windows."] if parts > 1 else []
                done.append(_extraction(text, wanted, best[number], (*notes, *more)))
            if progress is not None:
                progress(len(done))
        return done

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
        """Nothing beyond the score: GLiNER's own code gives none."""
        return Evidence(item=item, attention_refused="GLiNER gives no evidence beyond its score.")

    # ------------------------------------------------------------------ labels and windows
    def blocks(self, labels: Sequence[str]) -> list[list[str]]:
        """Labels in passes: at most as many as the checkpoint was trained with at once, and at most half of what it reads at once.

        Raises:
            EngineError: a label alone is longer than that.
        """
        most = max(1, int(getattr(self.gliner.config, "max_types", 25) or 25))
        limit = self._limit()
        half = _UNLIMITED if limit is None else limit // 2
        found: list[list[str]] = []
        taken = 0
        for label, size in zip(labels, self._sizes(labels), strict=True):
            size += 1  # the marker before it
            if size > half:
                raise EngineError(
                    f"The label '{label[:60]}' takes {size} of the {limit} pieces that this GLiNER reads at once: use a shorter name."
                )
            if not found or len(found[-1]) == most or taken + size > half:
                found.append([])
                taken = 0
            found[-1].append(label)
            taken += size
        return found

    def windows(self, text: str, room: int | None) -> list[tuple[int, int]]:
        """(start, end) in code points of each stretch that is read at once, between words.

        Args:
            room: pieces that fit beside the labels; None: no limit but the checkpoint's number of words.
        """
        words = [(start, end) for _, start, end in self.gliner.data_processor.words_splitter(text)]
        if not words:
            return []
        most = max(1, int(self.gliner.config.max_len))
        sizes = [1] * len(words) if room is None else self._sizes([text[start:end] for start, end in words])
        found = []
        first = 0
        while True:
            stop, taken = first, 0
            while stop < len(words) and stop - first < most and (room is None or taken + sizes[stop] <= room):
                taken += sizes[stop]
                stop += 1
            stop = max(stop, first + 1)  # a single word that is too long is cut by the tokenizer
            found.append((words[first][0], words[stop - 1][1]))
            if stop == len(words):
                return found
            first = max(first + 1, stop - min(OVERLAP, (stop - first) // 4))

    def _sizes(self, words: Sequence[str]) -> list[int]:
        """Pieces of each word."""
        made = self._tokenizer()(list(words), add_special_tokens=False, is_split_into_words=False)["input_ids"]
        return [max(1, len(ids)) for ids in made]

    def _tokenizer(self) -> Any:
        return self.gliner.data_processor.transformer_tokenizer

    def _limit(self) -> int | None:
        """Pieces that the encoder reads at once, None where it has no limit."""
        encoder = getattr(self.gliner.config, "encoder_config", None)
        limit = int(getattr(self._tokenizer(), "model_max_length", _UNLIMITED) or _UNLIMITED)
        if not getattr(encoder, "relative_attention", False):
            limit = min(limit, int(getattr(encoder, "max_position_embeddings", None) or _UNLIMITED))
        return None if limit >= _UNLIMITED else limit

    def _room(self, blocks: Iterable[Sequence[str]]) -> int | None:
        """Pieces of text that fit beside the longest block of labels, None where the encoder has no limit."""
        limit = self._limit()
        if limit is None:
            return None
        apart = getattr(self.gliner.config, "labels_encoder", None)  # labels are read by an encoder of their own
        longest = 0 if apart else max(sum(self._sizes(block)) + len(block) for block in blocks)
        return max(1, limit - longest - _AROUND)

    def _found(self, texts: Sequence[str], part: Sequence[Window], labels: Sequence[str]) -> list[list[dict[str, Any]]]:
        """What GLiNER finds in some windows: dictionaries with start, end (in the window), label and score."""
        options: dict[str, Any] = {"flat_ner": False, "multi_label": True, "threshold": FLOOR, "batch_size": len(part)}
        if getattr(self.gliner.config, "relations_layer", None) is not None:
            options["return_relations"] = False
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = self.gliner.inference(
                    [texts[window.text][window.start : window.end] for window in part], list(labels), **options
                )
        except (RuntimeError, ValueError, IndexError, TypeError, KeyError) as fault:
            raise EngineError(
                f"GLiNER stopped at this text ({reason(fault)}): try another checkpoint, or fewer labels."
            ) from fault
        return list(found)


def _extraction(
    text: str, wanted: Schema, best: Mapping[tuple[int, int, str], float], notes: tuple[str, ...]
) -> Extraction:
    return Extraction(
        text=text,
        wanted=wanted,
        entities=tuple(
            Span(start=start, end=end, type=label, score=round(score, 4))
            for (start, end, label), score in sorted(best.items())
        ),
        floor=FLOOR,
        threshold=THRESHOLD,
        notes=notes,
    )


def _shared(model: Any) -> dict[str, str]:
    """Names of weights that share their memory with another one -> that one; a file holds only one of them."""
    first: dict[tuple[int, tuple[int, ...]], str] = {}
    found: dict[str, str] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        key = (value.data_ptr(), tuple(value.shape))
        if key in first and value.numel():
            found[name] = first[key]
            found.setdefault(first[key], name)
        first.setdefault(key, name)
    return found
