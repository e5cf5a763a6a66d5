"""The engine `metaner`: a loaded model behind the engine protocol; demonstrations are read in context, nothing is trained."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from workbench.capture.errors import reason
from workbench.extract.borders import borders
from workbench.extract.errors import EngineError, usable
from workbench.extract.extraction import FLOOR, Evidence, Extraction, entities_only
from workbench.extract.metaner.constraint import Entries, SourceOnly
from workbench.extract.metaner.merge import Entry, Hit, Voted, place, read_output, vote, words_of
from workbench.extract.metaner.prompts import Prompt, Prompts, Shape
from workbench.extract.metaner.tokens import LEARNT, MetaTokens
from workbench.extract.records import Document, Event, Relation, Span
from workbench.extract.schema import Schema
from workbench.extract.seq2seq.decode import Decoder, Written
from workbench.extract.seq2seq.model import CopySeq2Seq
from workbench.extract.seq2seq.start import load_writer
from workbench.extract.seq2seq.tokens import encode_plain
from workbench.extract.uie.constraint import make_sources
from workbench.extract.usm.pieces import foreign_note

MAX_TARGET = 512  # of the original's greedy decoding
FLAT = "MetaNER writes its best and never two types for one place: what it did not write has no score, so a lower threshold shows nothing more."
STRUCTURE = (" is", "is", ".", ",", "a is a.")  # whose tokens may always be written


@dataclass(frozen=True)
class Answer:
    """What was written to one prompt.

    Attributes:
        entries: as read. hits: where they stand in the text.
    """

    prompt: Prompt
    written: Written
    entries: tuple[Entry, ...]
    hits: tuple[Hit, ...]


class MetaNerEngine:
    """MetaNER.

    Args:
        model, tokenizer: a copying model or any encoder-decoder of transformers with MetaNER's tokens.
        source: what was loaded, for people.
        anonymous: types stand under `<type1>` … in a prompt with demonstrations, else under their names; None: whichever its configuration says did better.
        constrained: write tokens of the source and structure only, in whole entries where the model copies; off is the original's free decoding.
        ordered: keep the demonstrations in the order given.
    """

    name = "metaner"

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        source: str = "",
        anonymous: bool | None = None,
        constrained: bool = True,
        ordered: bool = False,
        learnt: Mapping[str, Any] | None = None,
    ) -> None:
        self.net, self.tokenizer, self.model, self.constrained = model, tokenizer, source, constrained
        self.tokens = MetaTokens.of(tokenizer)
        self.copies = isinstance(model, CopySeq2Seq)
        self.device = str(next(model.parameters()).device)
        self.learnt = dict(learnt if learnt is not None else getattr(model.config, "engine", None) or {})
        under = bool(self.learnt.get("anonymous", True)) if anonymous is None else anonymous
        self.longest = int(model.config.max_source) if self.copies else None
        self.most = int(model.config.max_target) - 8 if self.copies else MAX_TARGET
        window = 128 if self.copies else Shape.window
        self.shape = Shape(anonymous=under, ordered=ordered, window=window)
        self._decoder = Decoder(model, self.tokens.sel)
        self._again: dict[str, str] = {}
        self._structure: list[int] | None = None

    @classmethod
    def load(
        cls,
        model: str | None,
        device: str = "auto",
        anonymous: bool | None = None,
        constrained: bool = True,
        ordered: bool = False,
    ) -> MetaNerEngine:
        """Load a folder or a hub id.

        Raises:
            EngineError: there is no such model, it lacks the special tokens, or the device is not there.
        """
        if model is None:
            raise EngineError("Name the MetaNER model to load: a folder that `workbench train` wrote, or a hub id.")
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        with usable(device):
            net, tokenizer = load_writer(model, device, "MetaNER")
        if isinstance(net, CopySeq2Seq):
            fused_attention(net)
        folder = Path(model)
        learnt = None
        if (folder / LEARNT).is_file():
            try:
                learnt = dict(json.loads((folder / LEARNT).read_text(encoding="utf-8")))
            except (OSError, ValueError, TypeError) as fault:
                raise EngineError(
                    f"'{folder / LEARNT}' cannot be read ({reason(fault)}): get the whole folder again."
                ) from None
        return cls(net, tokenizer, folder.name if folder.is_dir() else model, anonymous, constrained, ordered, learnt)

    def named(self, anonymous: bool) -> MetaNerEngine:
        """The same model with types under `<type1>` … or under their own names."""
        made = copy.copy(self)
        made.shape = replace(self.shape, anonymous=anonymous)
        return made

    def in_order(self) -> MetaNerEngine:
        """The same model, showing demonstrations in the order given."""
        made = copy.copy(self)
        made.shape = replace(self.shape, ordered=True)
        return made

    def prompts(self, schema: Schema | Mapping[str, Any], demonstrations: Sequence[Document] = ()) -> Prompts:
        """What is asked under a schema with some demonstrations.

        Raises:
            SchemaError: the schema is none. EngineError: it names no entity type, or too many.
        """
        whole = Schema.read(schema).expanded()
        return Prompts(self.tokenizer, self.tokens, self.copies, whole, demonstrations, self.shape, self.longest)

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
        """Spans of every text, in order; see `workbench.extract.engines.Engine.extract`."""
        whole = Schema.read(schema).expanded()
        prompts = self.prompts(whole, demonstrations)
        wanted, unread = entities_only("MetaNER", whole)
        notes = [FLAT, *prompts.notes, *unread]
        done: list[Extraction] = []
        size = max(1, batch_size)
        for at in range(0, len(texts), size * 4):
            group = texts[at : at + size * 4]
            answers = self.answers(prompts, group, size, stopped, passes)
            if stopped is not None and stopped():
                break  # the answers of this group may be incomplete
            for number, text in enumerate(group):
                done.append(self._extraction(text, wanted, answers[number], notes))
            if progress is not None:
                progress(len(done))
        return done

    def answers(
        self,
        prompts: Prompts,
        texts: Sequence[str],
        batch_size: int = 8,
        stopped: Callable[[], bool] | None = None,
        passes: Callable[[int, int], None] | None = None,
    ) -> list[list[Answer]]:
        """What is written to every prompt about each text, prompts in order; `passes` hears of how many prompts how many are done."""
        pieces = encode_plain(self.tokenizer, self.tokens.sel, texts)
        jobs = [job for n, text in enumerate(texts) for job in prompts.of(n, text, pieces[n])]
        order = sorted(range(len(jobs)), key=lambda n: len(jobs[n].source.ids))
        made: dict[int, Answer] = {}
        for at in range(0, len(order), batch_size):
            if stopped is not None and stopped():
                break
            numbers = order[at : at + batch_size]
            for number, written in zip(numbers, self._write(prompts, [jobs[n] for n in numbers], stopped), strict=True):
                made[number] = self._read(prompts, jobs[number], written)
            if passes is not None:
                passes(len(made), len(jobs))
        found: list[list[Answer]] = [[] for _ in texts]
        for number, job in enumerate(jobs):
            if number in made:
                found[job.text].append(made[number])
        return found

    def _write(self, prompts: Prompts, group: Sequence[Prompt], stopped: Callable[[], bool] | None) -> list[Written]:
        t, device = self.tokens, self.device
        longest = max(len(job.source.ids) for job in group)
        rows = [[*j.source.ids, *[t.sel.pad] * (longest - len(j.source.ids))] for j in group]
        ids = torch.tensor(rows, device=device)
        mask = torch.tensor(
            [[1] * len(j.source.ids) + [0] * (longest - len(j.source.ids)) for j in group], device=device
        )
        if not self.copies:
            machine = None
            if self.constrained:
                if self._structure is None:
                    self._structure = sorted(
                        {n for text in STRUCTURE for n in self._plain(text)} - set(self._plain("a"))
                    )
                machine = SourceOnly(ids, mask, self._structure, t, int(self.net.config.vocab_size))
            return self._decoder.write(ids, mask, None, self.most, machine, 1, stopped)
        shapes = torch.tensor([[*j.source.shapes, *[0] * (longest - len(j.source.ids))] for j in group], device=device)
        entries = None
        if self.constrained:
            begins = [job.source.query for job in group]
            sources = make_sources(ids, begins, [job.query.pieces for job in group], [0] * len(group))
            # under its own name a type that no demonstration shows would be written all the same, which training never asked for
            entries = Entries(sources, [prompts.wire.name(name) for name in prompts.asked.values()], t)
        return self._decoder.write(ids, mask, shapes, self.most, entries, 1, stopped)

    def _plain(self, text: str) -> list[int]:
        found: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    # ------------------------------------------------------------------ reading
    def _read(self, prompts: Prompts, job: Prompt, written: Written) -> Answer:
        entries = self._entries(prompts, job, written)
        named = {name: type_ for type_, name in prompts.names.items()}
        known = [replace(entry, type=named[entry.type]) for entry in entries if entry.type in named]
        pieces = job.query.pieces
        text = job.query.text
        start, end = (int(pieces.starts[0]), int(pieces.ends[-1])) if len(pieces) else (0, 0)
        words = [(a, b) for a, b in words_of(text, borders(text)) if a >= start and b <= end]
        hits = place(known, text, prompts.names, words, str if self.copies else self._written_again)
        return Answer(job, written, tuple(entries), tuple(hits))

    def _entries(self, prompts: Prompts, job: Prompt, written: Written) -> list[Entry]:
        """The entries of an output under the names of the prompt."""
        t = self.tokens
        if not self.copies:
            pieces: list[tuple[str, float]] = []
            ids, chance, part = [n for n in written.ids if n != t.end], 1.0, []
            for number, probability in zip(ids, written.chances, strict=False):
                part.append(number)
                chance *= probability
                if "." in str(self.tokenizer.convert_ids_to_tokens(number)):
                    pieces.append((self.tokenizer.decode(part, clean_up_tokenization_spaces=False), chance))
                    chance, part = 1.0, []
            pieces.append((self.tokenizer.decode(part, clean_up_tokenization_spaces=False), chance))
            return read_output([(f" {text}", likely) for text, likely in pieces])
        names = {prompts.wire.name(name): name for name in prompts.names.values()}
        found: list[Entry] = []
        begin = 0
        for at, number in enumerate(written.ids):
            if number != t.stop:
                continue
            entry, begin_of, begin = written.ids[begin:at], begin, at + 1
            if t.is_ not in entry:
                continue
            cut = entry.index(t.is_)
            likely = 1.0
            for chance in written.chances[begin_of:at]:
                likely *= chance
            span = self._words(job, written, begin_of, cut)
            rest: list[int] = []
            for n in (*entry[cut + 1 :], t.comma):
                if n == t.comma:
                    name = names.get(tuple(rest))
                    if name is not None and span:
                        found.append(Entry(span, name, likely))
                    rest = []
                else:
                    rest.append(n)
        return found

    def _words(self, job: Prompt, written: Written, begin: int, count: int) -> str:
        """The characters of a span that a copying model wrote: where it pointed at, else the first place with these tokens."""
        ids = written.ids[begin : begin + count]
        pieces = job.query.pieces
        row = pieces.ids.tolist()
        last = written.places[begin + count - 1] - job.source.query if count else -1
        first = last - count + 1
        if not (count and first >= 0 and row[first : last + 1] == ids):
            first = next((n for n in range(len(row) - count + 1) if count and row[n : n + count] == ids), -1)
        return job.query.words(first, first + count - 1) if first >= 0 else ""

    def _written_again(self, word: str) -> str:
        """A word as the tokenizer writes it after reading it: what an output can hold of it."""
        if word not in self._again:
            if len(self._again) > 100_000:
                self._again.clear()
            self._again[word] = self.tokenizer.decode(self._plain(word), skip_special_tokens=False) or word
        return self._again[word]

    def voted(self, answers: Sequence[Answer]) -> list[Voted]:
        """The vote over the prompts of one text, each window of it by itself; where windows share words the better supported stays."""
        windows: dict[tuple[int, int], list[Answer]] = {}
        for answer in answers:
            windows.setdefault(answer.prompt.window, []).append(answer)
        found = [each for group in windows.values() for each in vote([answer.hits for answer in group])]
        kept: list[Voted] = []
        for each in sorted(found, key=lambda v: (-v.score, v.hit.start)) if len(windows) > 1 else found:
            if not any(each.hit.overlaps(other.hit) for other in kept):
                kept.append(each)
        return sorted(kept, key=lambda v: (v.hit.start, -v.hit.end))

    def _extraction(self, text: str, wanted: Schema, answers: Sequence[Answer], notes: Sequence[str]) -> Extraction:
        kept = self.voted(answers)
        spans = [Span(start=v.hit.start, end=v.hit.end, type=v.hit.type, score=_score(v.score)) for v in kept]
        windows = len({answer.prompt.window for answer in answers})
        more = foreign_note(self.tokenizer, text)
        if windows > 1:
            more.append(f"The text was read in {windows} overlapping windows.")
        shown = len(answers) // max(1, windows)
        if shown > 1:
            more.append(f"A score is a span's share of the votes of {shown} prompts times its probability.")
        threshold = float(self.learnt.get("threshold", 0.0))
        floor = min([FLOOR, *(span.score or 0.0 for span in spans)])
        return Extraction(
            text=text, wanted=wanted, entities=tuple(spans), floor=floor, threshold=threshold, calibrated=False, notes=(*notes, *more)
        )  # fmt: skip

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
        """Decoding steps, the raw output, and attention to the demonstrations; see `workbench.extract.engines.Engine.explain`."""
        from workbench.extract.metaner.explain import explain

        return explain(self, text, Schema.read(schema).expanded(), item, demonstrations, layer, heads)


def fused_attention(net: CopySeq2Seq) -> None:
    """Let the encoder compute its attention in one kernel, where it can; its own weights are shown nowhere (evidence is of the decoder's)."""
    with suppress(ValueError, ImportError):  # of an encoder that has only the plain way
        net.encoder.model.set_attn_implementation("sdpa")


def _score(value: float) -> float:
    return min(1.0, max(0.0, round(value, 4)))
