"""Running a schema over texts: windows and blocks of labels in batches, each written and read, results with offsets of the whole text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from workbench.extract.errors import EngineError
from workbench.extract.schema import Schema
from workbench.extract.seq2seq.decode import Decoder, Written
from workbench.extract.seq2seq.tokens import SelTokens, encode_plain
from workbench.extract.uie.constraint import LEAST, Grammar, Machine, make_sources, ties_of
from workbench.extract.uie.places import Places
from workbench.extract.uie.reading import values_of
from workbench.extract.uie.records import OURS, Found, Reader, Switches
from workbench.extract.uie.sel import Sel, read
from workbench.extract.uie.ssi import LabelIds, Prompt, prompt_of, roles_of_spots, source_ids
from workbench.extract.usm.pieces import Pieces
from workbench.extract.usm.plan import Block, blocks, windows

LEAST_ROOM = 24  # pieces of text that a pass must have room for beside its labels
BESIDE_LABEL = 4  # tokens that a label with a span of one token takes beside the label: two brackets, a colon, the span
OVERLAP = 24  # pieces that neighbouring windows share


@dataclass(frozen=True)
class Choices:
    """How a model is run.

    Attributes:
        window: pieces of text in a pass at most. max_source, max_target: tokens of both sides at most. max_labels: labels in a pass.
        constrained: decode under the grammar; off is the original's free decoding.
        beams: 1 is greedy. switches: see `records.Switches`.
        halve: read a window again in two halves where the grammar had to end its structure for want of tokens (ours).
    """

    window: int = 128
    max_source: int = 384
    max_target: int = 240
    max_labels: int = 32
    constrained: bool = True
    beams: int = 1
    switches: Switches = OURS
    halve: bool = True


@dataclass
class Job:
    """One pass: a window of a text under a block of labels.

    Attributes:
        text, block: numbers. before, after: whether the text goes on beyond the window. begin: where it begins in the source.
        halves: how often the window was halved to come to this one.
    """

    text: int
    block: int
    pieces: Pieces
    before: bool
    after: bool
    source: list[int]
    begin: int
    halves: int = 0


@dataclass
class Pass:
    """What came of a job."""

    job: Job
    written: Written
    sel: Sel
    values: dict[int, float]
    places: Places


class Passes:
    """A model with one schema compiled.

    Args:
        model, tokenizer, tokens: loaded. schema: sentiment written out.
    """

    def __init__(self, model: Any, tokenizer: Any, tokens: SelTokens, schema: Schema, choices: Choices) -> None:
        self.model, self.tokenizer, self.tokens, self.schema, self.choices = model, tokenizer, tokens, schema, choices
        coder = LabelIds(tokenizer, tokens)
        self.plan, self.prompts = self._plan(coder)
        self._prompt_ids = [prompt.ids(tokens) for prompt in self.prompts]
        self._decoder = Decoder(model, tokens)
        self.grammar = None
        if choices.constrained:
            ties = [
                ties_of(prompt, roles_of_spots(schema, block)) if choices.switches.tied_roles else None
                for prompt, block in zip(self.prompts, self.plan, strict=True)
            ]
            vocabulary = int(model.config.vocab_size)
            self.grammar = Grammar(list(zip(self.prompts, ties, strict=True)), tokens, vocabulary, self.device)

    @property
    def device(self) -> torch.device:
        found: torch.device = next(self.model.parameters()).device
        return found

    def _plan(self, coder: LabelIds) -> tuple[list[Block], list[Prompt]]:
        """Blocks of labels that leave room for text; fewer labels a block where they do not."""
        most = self.choices.max_labels
        while True:
            plan = blocks(self.schema, most)
            prompts = [prompt_of(coder, block) for block in plan]
            longest = max(len(prompt.ids(self.tokens)) for prompt in prompts)
            if self.choices.max_source - longest - 1 >= LEAST_ROOM:
                return plan, prompts
            if most == 1:
                raise EngineError(
                    f"The longest label takes {longest} of the {self.choices.max_source} tokens that the model reads, which leaves no room for the text: "
                    "shorten the label's name."
                )
            most = max(1, min(most, max(len(b.prompt.labels) for b in plan)) // 2)

    def jobs(self, texts: Sequence[str]) -> list[Job]:
        """Every pass over some texts; texts without a word have none."""
        found = []
        for number, pieces in enumerate(encode_plain(self.tokenizer, self.tokens, texts)):
            for block, prompt in enumerate(self._prompt_ids):
                size = min(self.choices.window, self.choices.max_source - len(prompt) - 1)
                for first, stop in windows(pieces, size, min(OVERLAP, size // 4)):
                    if stop > first:
                        cut = pieces.cut(first, stop)
                        found.append(self._job(number, block, cut, first > 0, stop < len(pieces)))
        return found

    def _job(self, text: int, block: int, pieces: Pieces, before: bool, after: bool, halves: int = 0) -> Job:
        prompt = self._prompt_ids[block]
        source = source_ids(prompt, pieces.ids.tolist(), self.tokens)
        return Job(text, block, pieces, before, after, source, len(prompt), halves)

    def is_full(self, done: Pass) -> bool:
        """Whether a structure may have been ended for want of tokens: one more label with a span of one token would not have found room."""
        return self._full(done.job, done.written)

    def _full(self, job: Job, written: Written) -> bool:
        prompt = self.prompts[job.block]
        label = max((len(ids) for ids in (*prompt.spots, *prompt.asocs)), default=0)
        return len(written.ids) + label + BESIDE_LABEL > self.choices.max_target

    def _halves(self, job: Job) -> list[Job]:
        """The two halves of a window, which share some pieces; none where it is too small, or one word."""
        length = len(job.pieces)
        shared = min(OVERLAP, length // 4)
        if length < 2 * LEAST_ROOM:
            return []
        parts = windows(job.pieces, -(-(length + shared) // 2), shared)
        return [
            self._job(
                job.text, job.block, job.pieces.cut(first, stop), job.before or first > 0, job.after or stop < length, job.halves + 1
            )
            for first, stop in parts
        ]  # fmt: skip

    def run(
        self,
        texts: Sequence[str],
        jobs: Iterable[Job],
        batch_size: int = 8,
        stopped: Callable[[], bool] | None = None,
    ) -> Iterator[Pass]:
        """Write and read every job, in any order; ends early once stopped.

        A window that holds more than there are tokens for is given up for its halves, which then come in its place.
        """
        waiting = sorted(jobs, key=lambda job: len(job.source))
        while waiting:
            if stopped is not None and stopped():
                return
            group, waiting = waiting[:batch_size], waiting[batch_size:]
            for job, written in zip(group, self._write(group, stopped), strict=True):
                again = self.choices.halve and self.grammar is not None and self._full(job, written)
                halves = self._halves(job) if again else []
                if halves:
                    waiting += halves
                else:
                    yield self._read(texts[job.text], job, written)

    def _write(self, group: Sequence[Job], stopped: Callable[[], bool] | None) -> list[Written]:
        longest = max(len(job.source) for job in group)
        ids = torch.tensor(
            [[*job.source, *[self.tokens.pad] * (longest - len(job.source))] for job in group], device=self.device
        )
        mask = torch.tensor([[1] * len(j.source) + [0] * (longest - len(j.source)) for j in group], device=self.device)
        shapes = torch.zeros_like(ids)
        for n, job in enumerate(group):
            row = torch.as_tensor(job.pieces.shapes.astype("int64"), device=self.device)
            shapes[n, job.begin : job.begin + len(row)] = row
        machine = None
        if self.grammar is not None:
            sources = make_sources(
                ids, [j.begin for j in group], [j.pieces for j in group], [j.block for j in group], self.choices.switches
            )  # fmt: skip
            machine = Machine(self.grammar, sources)
        most = max(LEAST, self.choices.max_target)
        return self._decoder.write(ids, mask, shapes, most, machine, self.choices.beams, stopped)

    def _read(self, text: str, job: Job, written: Written) -> Pass:
        sel = read(written.ids, self.tokens)
        for spot in sel.spots:
            for node in (spot, *spot.asocs):
                end = written.places[node.at + len(node.span) - 1] if node.span else -1
                node.place = end - len(node.span) + 1 - job.begin if end >= 0 else None
        places = Places(text, job.pieces, self.tokenizer, self.tokens)
        return Pass(job, written, sel, values_of(sel.spots, written.chances), places)

    def records(self, done: Pass, mode: str) -> Found:
        """What a pass says, without what touches a border behind which the text goes on: the next window has it whole."""
        reader = Reader(self.schema, self.prompts[done.job.block], mode, self.choices.switches)
        found = reader.records(done.sel.spots, done.places, done.values)
        job = done.job
        if not (job.before or job.after):
            return found
        first, last = int(job.pieces.starts[0]), int(job.pieces.ends[-1])

        def whole(start: int, end: int) -> bool:
            return not (job.before and start == first) and not (job.after and end == last)

        return Found(
            {key: value for key, value in found.entities.items() if whole(*key[1:])},
            {key: value for key, value in found.relations.items() if whole(*key[1][1:]) and whole(*key[2][1:])},
            {key: value for key, value in found.triggers.items() if whole(*key[1:])},
            {key: value for key, value in found.arguments.items() if whole(*key[0][1:]) and whole(*key[2:])},
            found.lost,
        )
