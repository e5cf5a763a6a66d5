"""Running a schema over texts: windows and blocks in batches, results merged to candidates with offsets of the whole text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import nlargest
from typing import Any, TypeVar

import torch

from workbench.extract.records import Argument, Event, Relation, Span
from workbench.extract.schema import Schema
from workbench.extract.usm.batch import Sample, make_batch, special_tokens
from workbench.extract.usm.decode import LinkScores, linked, mentions
from workbench.extract.usm.links import Pair
from workbench.extract.usm.model import UsmModel
from workbench.extract.usm.pieces import Pieces
from workbench.extract.usm.plan import Block
from workbench.extract.usm.prompt import LabelCoder
from workbench.extract.usm.reading import Reading

POSITIONS = 4096  # of all sequences of a batch, padding included
Spans = dict[tuple[str, str], dict[Pair, float]]  # (entity or trigger, label) -> span -> value
# Candidates of a window that are kept, the best ones of all labels: a model that accepts nearly everything would fill the memory.
MOST_MENTIONS, MOST_PAIRS = 1000, 500
_SLACK = 4  # times as many are gathered before the worst are let go
TYPES_OF_AN_END = 2  # entity types under which one span may be the end of a relation


@dataclass
class Window:
    """A window of a text: its number, its pieces, and where it may not be trusted.

    Attributes:
        text: number of the text.
        pieces: offsets are those of the whole text.
        before, after: whether the text goes on there.
    """

    text: int
    pieces: Pieces
    before: bool = False
    after: bool = False


@dataclass
class Found:
    """Candidates of one text with the values their links come to, before they are probabilities.

    Keys are code points: entities and triggers (label, start, end); relations (label, head, tail); arguments (event key, role, span).
    """

    entities: dict[tuple[str, int, int], float] = field(default_factory=dict)
    triggers: dict[tuple[str, int, int], float] = field(default_factory=dict)
    relations: dict[tuple[str, tuple[int, int], tuple[int, int]], float] = field(default_factory=dict)
    arguments: dict[tuple[tuple[str, int, int], str, tuple[int, int]], float] = field(default_factory=dict)


class Passes:
    """A model with what it needs to run.

    Args:
        model, tokenizer: as `weights.load_model` gives them.
    """

    def __init__(self, model: UsmModel, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.coder = LabelCoder(tokenizer, model.config.max_label)
        self.special = special_tokens(tokenizer)

    def sample(self, pieces: Pieces, block: Block) -> Sample:
        """One pass: a window under a block."""
        labels = tuple(self.coder.ids(label) for label in block.prompt.labels)
        return Sample(pieces, labels, len(block.prompt.mentions))

    def link_scores(
        self,
        windows: Sequence[Window],
        plan: Sequence[Block],
        batch_size: int,
        stopped: Callable[[], bool] | None = None,
    ) -> Iterable[tuple[int, int, LinkScores]]:
        """(number of the window, number of the block, scores) of every pass, in any order; ends early once stopped."""
        jobs = [
            (w, b, self.sample(window.pieces, block))
            for w, window in enumerate(windows)
            for b, block in enumerate(plan)
        ]
        jobs = [job for job in jobs if len(job[2].pieces)]
        jobs.sort(key=lambda job: job[2].length)
        at = 0
        while at < len(jobs):
            stop = at + 1
            while stop < len(jobs) and stop - at < batch_size and (stop + 1 - at) * jobs[stop][2].length <= POSITIONS:
                stop += 1
            if stopped is not None and stopped():
                return
            batch = make_batch([job[2] for job in jobs[at:stop]], *self.special).to(self.model.device)
            with torch.inference_mode():
                scores = self.model(batch)
            for n, (w, b, sample) in enumerate(jobs[at:stop]):
                yield w, b, LinkScores.of(scores.of(n), len(sample.pieces), len(sample.labels))
            at = stop

    def run(
        self,
        windows: Sequence[Window],
        plan: Sequence[Block],
        schema: Schema,
        reading: Reading,
        batch_size: int = 8,
        stopped: Callable[[], bool] | None = None,
        counted: Callable[[], None] | None = None,
    ) -> dict[int, Found]:
        """Candidates of each text that the windows belong to; see `collect`. `counted` is called for each pass that is done."""
        found = self.link_scores(windows, plan, batch_size, stopped)
        return collect(windows, plan, schema, reading, found if counted is None else _counting(found, counted))


def _counting(
    passes: Iterable[tuple[int, int, LinkScores]], counted: Callable[[], None]
) -> Iterator[tuple[int, int, LinkScores]]:
    for each in passes:
        yield each
        counted()


def collect(
    windows: Sequence[Window],
    plan: Sequence[Block],
    schema: Schema,
    reading: Reading,
    passes: Iterable[tuple[int, int, LinkScores]],
) -> dict[int, Found]:
    """Candidates of each text, from the link scores of its passes.

    Args:
        windows, plan, schema: what was asked; sentiment written out.
        reading: how links are summed up, and how far down candidates are kept.
        passes: (number of the window, number of the block, scores), in any order.
    """
    spans: dict[int, Spans] = defaultdict(lambda: defaultdict(dict))
    kept: dict[int, list[tuple[int, LinkScores]]] = defaultdict(list)
    for w, b, raw in passes:
        scores = raw.between(windows[w].pieces.parts)
        for kind, names in (("entity", plan[b].entities), ("trigger", plan[b].events)):
            by_number = {number: name for name, number in names.items()}
            for each in mentions(scores, list(by_number), reading.mode, reading.least(kind)):
                best = spans[w][kind, by_number[each.label]]
                best[each.span] = max(each.value, best.get(each.span, each.value))
        if sum(map(len, spans[w].values())) > _SLACK * MOST_MENTIONS:
            spans[w] = _best_mentions(spans[w])
        if plan[b].relations or plan[b].roles:
            kept[w].append((b, scores))
    found: dict[int, Found] = {}
    for w, window in enumerate(windows):
        into = found.setdefault(window.text, Found())
        spans[w] = _best_mentions(spans[w])
        _mentions(into, window, spans[w])
        here = Found()
        for b, scores in kept[w]:
            _relations(here, window, plan[b], scores, schema, spans[w], reading)
            _arguments(here, window, plan[b], scores, schema, spans[w], reading)
        for key, value in best_of(here.relations, MOST_PAIRS).items():
            _best(into.relations, key, value)
        for argument, value in best_of(here.arguments, MOST_PAIRS).items():
            _best(into.arguments, argument, value)
    return found


Key = TypeVar("Key", bound=Hashable)


def best_of(values: dict[Key, float], most: int) -> dict[Key, float]:
    """The entries with the highest values; all of them where there are no more than `most`."""
    if len(values) <= most:
        return values
    return {key: values[key] for key in nlargest(most, values, key=values.__getitem__)}


def _best_mentions(spans: Spans) -> Spans:
    """The best mentions of a window over all its labels."""
    every = {(of, span): value for of, values in spans.items() for span, value in values.items()}
    if len(every) <= MOST_MENTIONS:
        return spans
    kept: Spans = defaultdict(dict)
    for (of, span), value in best_of(every, MOST_MENTIONS).items():
        kept[of][span] = value
    return kept


def _place(window: Window, span: Pair) -> tuple[int, int] | None:
    """Code points of a span; None where it touches a border behind which the text goes on (the next window has it whole)."""
    head, tail = span
    if (window.before and head == 0) or (window.after and tail == len(window.pieces) - 1):
        return None
    return int(window.pieces.starts[head]), int(window.pieces.ends[tail])


def _best(table: dict[Any, float], key: Any, value: float) -> None:
    table[key] = max(value, table.get(key, value))


def _mentions(into: Found, window: Window, spans: Spans) -> None:
    for (kind, name), values in spans.items():
        for span, value in values.items():
            if (at := _place(window, span)) is not None:
                _best(into.entities if kind == "entity" else into.triggers, (name, *at), value)


def _of(spans: Spans, kind: str, names: Iterable[str]) -> list[Pair]:
    """Spans of some types, the best first."""
    values: dict[Pair, float] = {}
    for name in names:
        for span, value in spans.get((kind, name), {}).items():
            values[span] = max(value, values.get(span, value))
    return sorted(values, key=lambda span: -values[span])


def _relations(
    into: Found,
    window: Window,
    block: Block,
    scores: LinkScores,
    schema: Schema,
    spans: Spans,
    reading: Reading,
) -> None:
    every = [label.name for label in schema.entities]
    for name, number in block.relations.items():
        rule = schema.relations[name]
        heads, tails = _of(spans, "entity", rule.head or every), _of(spans, "entity", rule.tail or every)
        for each in linked(scores, number, heads, tails, reading.mode, reading.least("relation"), 0.0):
            head, tail = _place(window, each.subject), _place(window, each.object)
            if head is not None and tail is not None:
                _best(into.relations, (name, head, tail), each.value)
        if len(into.relations) > _SLACK * MOST_PAIRS:
            into.relations = best_of(into.relations, MOST_PAIRS)


def _arguments(
    into: Found,
    window: Window,
    block: Block,
    scores: LinkScores,
    schema: Schema,
    spans: Spans,
    reading: Reading,
) -> None:
    for role, number in block.roles.items():
        events = [name for name in block.events if role in schema.events[name]]
        triggers = _of(spans, "trigger", events)
        least = reading.least("argument")
        for each in linked(scores, number, triggers, None, reading.mode, least, least):
            trigger, argument = _place(window, each.subject), _place(window, each.object)
            if trigger is None or argument is None:
                continue
            for name in events:
                if each.subject in spans.get(("trigger", name), {}):
                    _best(into.arguments, ((name, *trigger), role, argument), each.value)
        if len(into.arguments) > _SLACK * MOST_PAIRS:
            into.arguments = best_of(into.arguments, MOST_PAIRS)


# ---------------------------------------------------------------------- results
def results(found: Found, schema: Schema, reading: Reading) -> dict[str, Any]:
    """Candidates as the parts of an `Extraction`, with probabilities, in text order."""
    entity, relation = reading.curve("entity"), reading.curve("relation")
    trigger, argument = reading.curve("trigger"), reading.curve("argument")
    entities = {key: _score(entity.probability(value)) for key, value in found.entities.items()}
    by_place: dict[tuple[int, int], list[tuple[float, str]]] = defaultdict(list)
    for (name, start, end), score in entities.items():
        by_place[start, end].append((score, name))
    events = []
    arguments: dict[tuple[str, int, int], list[Argument]] = defaultdict(list)
    for (event, role, (start, end)), value in found.arguments.items():
        arguments[event].append(Argument(role=role, start=start, end=end, score=_score(argument.probability(value))))
    for (name, start, end), value in found.triggers.items():
        score = _score(trigger.probability(value))
        own = sorted(arguments.get((name, start, end), ()), key=lambda a: (a.start, a.end, a.role))
        events.append(
            Event(
                type=name, trigger=Span(start=start, end=end, type=name, score=score), arguments=tuple(own), score=score
            )
        )
    relations = []
    for (name, head, tail), value in found.relations.items():
        rule = schema.relations[name]
        score = _score(relation.probability(value))
        for head_type in _types(by_place[head], rule.head):
            for tail_type in _types(by_place[tail], rule.tail):
                relations.append(
                    Relation(
                        type=name,
                        head=Span(start=head[0], end=head[1], type=head_type),
                        tail=Span(start=tail[0], end=tail[1], type=tail_type),
                        score=score,
                    )
                )
    return {
        "entities": tuple(
            Span(start=start, end=end, type=name, score=score)
            for (name, start, end), score in sorted(
                entities.items(), key=lambda item: (item[0][1], -item[0][2], item[0][0])
            )
        ),
        "relations": tuple(
            sorted(relations, key=lambda r: (r.head.start, r.tail.start, r.type, r.head.type, r.tail.type))
        ),
        "events": tuple(sorted(events, key=lambda e: (e.trigger.start, e.trigger.end, e.type))),
    }


def _types(candidates: list[tuple[float, str]], allowed: Sequence[str]) -> list[str]:
    """The likeliest types of a span that a relation takes."""
    return [name for _, name in sorted(candidates, reverse=True) if not allowed or name in allowed][:TYPES_OF_AN_END]


def _score(probability: float) -> float:
    return min(1.0, max(0.0, round(probability, 4)))
