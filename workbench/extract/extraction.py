"""What an engine returns: scored candidates that are filtered without another run of the model, and the evidence behind one.

`Extraction.select` applies threshold, nesting and label filter; it needs no model. Engines keep candidates down to `FLOOR`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from workbench.extract.records import Argument, Document, Event, Relation, Span
from workbench.extract.schema import Schema

FLOOR = 0.05  # least score of a stored candidate
THRESHOLD = 0.5
Stretch = TypeVar("Stretch", Span, Argument)


class Extraction(BaseModel):
    """Every candidate of one text.

    Attributes:
        text: the text as given; offsets count its code points.
        wanted: the schema that was looked for, with sentiment written out (`Schema.expanded`) and without what the engine cannot find.
        entities, relations, events: candidates with scores in [floor, 1], nested and overlapping ones included.
        floor: least score that was kept. An engine that cannot look below its own cut gives that cut.
        threshold: the score that the engine advises as the least one, chosen on development data.
        advised: the same for a kind ("relation", "trigger", "argument") that has a least score of its own.
        calibrated: whether a score is meant as a probability (fitted on development data).
        notes: what a reader should know of this run, a sentence each: a cut text, a floor that is the engine's own cut.
    """

    model_config = ConfigDict(frozen=True)

    text: str
    wanted: Schema
    entities: tuple[Span, ...] = ()
    relations: tuple[Relation, ...] = ()
    events: tuple[Event, ...] = ()
    floor: float = FLOOR
    threshold: float = THRESHOLD
    advised: dict[str, float] = Field(default_factory=dict)
    calibrated: bool = False
    notes: tuple[str, ...] = ()

    def leasts(self, threshold: float | None = None, along: bool = False) -> dict[str, float]:
        """The least score of entities, relations, triggers and arguments, by kind in this order.

        Args:
            threshold, along: as in `select`. Moved along, a kind's own least score keeps its share of the way to 0, or to 1, so a lower threshold
                never takes a result away.
        """
        at = self.threshold if threshold is None else threshold

        def of(kind: str) -> float:
            own = self.advised.get(kind)
            if own is None or (threshold is not None and not along):
                return at
            if at == self.threshold:
                return own
            return own * at / self.threshold if at < self.threshold else 1 - (1 - own) * (1 - at) / (1 - self.threshold)

        return {"entity": at, **{kind: of(kind) for kind in ("relation", "trigger", "argument")}}

    def select(
        self,
        threshold: float | None = None,
        nested: bool = True,
        labels: Collection[str] | None = None,
        document_id: str = "",
        along: bool = False,
    ) -> Document:
        """The results at a threshold, as an annotated text with scores.

        Args:
            threshold: least score of every kind, in [0, 1]; None: what the engine advises. A label with a threshold of its own in the schema keeps it.
            along: kinds for which the engine advises a least score of their own move along with the threshold, as `leasts` says.
            nested: False: of entities that overlap only the best scored stays (ties: the longer, then the earlier); the same
                for triggers, and for the arguments of one event, whatever their roles.
            labels: names of entity types, relations and event types to show; None: all.
            document_id: id of the document returned.

        Returns:
            Entities in text order. A relation stays if its score passes and both its ends stay; an end whose type is no
            entity type of the schema only has to be there. Arguments that do not pass are left out of their event. A part that the
            schema does not ask for is None, "not annotated".
        """
        least, relation_least, trigger_least, argument_least = self.leasts(threshold, along).values()

        def wanted(label: str) -> bool:
            return labels is None or label in labels

        own = {label.name: label.threshold for label in self.wanted.entities if label.threshold is not None}
        entities = [span for span in self.entities if score_of(span) >= own.get(span.type, least)]
        if not nested:
            entities = flat(entities)
        kept, typed = {span.key for span in entities}, {label.name for label in self.wanted.entities}

        def stands(end: Span) -> bool:
            return end.key in kept or end.type not in typed

        events = [event for event in self.events if score_of(event) >= trigger_least]
        if not nested:
            best = {
                span.key for span in flat(event.trigger.model_copy(update={"score": event.score}) for event in events)
            }
            events = [event for event in events if event.trigger.key in best]

        def arguments_of(event: Event) -> tuple[Argument, ...]:
            passing = tuple(a for a in event.arguments if score_of(a) >= argument_least)
            if nested:
                return passing
            best = {argument.key for argument in flat(passing)}
            return tuple(argument for argument in passing if argument.key in best)

        return Document(
            id=document_id,
            text=self.text,
            entities=None
            if not self.wanted.entities
            else tuple(sorted((s for s in entities if wanted(s.type)), key=lambda s: (s.start, -s.end, s.type))),
            relations=None
            if not self.wanted.relations
            else tuple(
                relation
                for relation in sorted(self.relations, key=lambda r: (r.head.start, r.tail.start, r.type))
                if score_of(relation) >= relation_least
                and wanted(relation.type)
                and stands(relation.head)
                and stands(relation.tail)
            ),
            events=None
            if not self.wanted.events
            else tuple(
                event.model_copy(update={"arguments": arguments_of(event)})
                for event in sorted(events, key=lambda e: (e.trigger.start, e.trigger.end, e.type))
                if wanted(event.type)
            ),
        )


def entities_only(engine: str, asked: Schema) -> tuple[Schema, list[str]]:
    """What an engine that finds entities alone looks for of a schema (sentiment written out), and the note that says so."""
    if not (asked.relations or asked.events):
        return asked, []
    return Schema(entities=asked.entities), [
        f"{engine} finds entities only: relations and events of the schema were not looked for."
    ]


def score_of(item: Any) -> float:
    """The score of a span, relation, event or argument; what has none, for instance gold, counts as certain."""
    return 1.0 if item.score is None else float(item.score)


def flat(spans: Iterable[Stretch]) -> list[Stretch]:
    """The best scored of overlapping spans or arguments, greedily, in text order; ties go to the longer, then to the earlier one."""
    starts: list[int] = []  # of the chosen ones, ascending; they do not overlap, so their ends ascend too
    chosen: list[Stretch] = []
    for span in sorted(spans, key=lambda s: (-score_of(s), s.start - s.end, s.start, s.key)):
        at = bisect_right(starts, span.start)
        free_before = at == 0 or chosen[at - 1].end <= span.start
        if free_before and (at == len(starts) or span.end <= starts[at]):
            starts.insert(at, span.start)
            chosen.insert(at, span)
    return chosen


class Place(BaseModel):
    """One end of a link, or one token: a piece of the text, a label of the schema, or a piece of a demonstration.

    Attributes:
        kind: "text", "label" or "demonstration".
        piece: what stands there, to be shown; it is text of a user or a model, so escape it.
        start, end: code points of the text, or of the demonstration's text; None for a label, and for what an engine wrote of its own
            into a demonstration (its spans and types).
        document: number of the demonstration, from 0 in the order in which they were given; None for all else.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["text", "label", "demonstration"]
    piece: str
    start: int | None = None
    end: int | None = None
    document: int | None = None


class Link(BaseModel):
    """One directed link behind a result.

    Attributes:
        type: H2T, H2H, T2T, L2H, L2T, H2L or T2L.
        source, target: where it leads from and to.
        score: the model's number before any squashing; above 0 it is accepted.
        needed: whether the result would fall without it.
    """

    model_config = ConfigDict(frozen=True)

    type: str
    source: Place
    target: Place
    score: float
    needed: bool = True


class Attention(BaseModel):
    """Attention of the result's tokens, for those rows only.

    Attributes:
        layer: which layer, from 0.
        heads: which heads, in the order of the first axis of `weights`.
        rows: the tokens that look (the result's). columns: the tokens looked at, labels and text.
        weights: [heads][rows][columns], each row of a head sums to 1.
        layers, heads_in_all: how many layers and heads the encoder has to choose from.
    """

    model_config = ConfigDict(frozen=True)

    layer: int
    heads: tuple[int, ...]
    rows: tuple[Place, ...]
    columns: tuple[Place, ...]
    weights: tuple[tuple[tuple[float, ...], ...], ...]
    layers: int
    heads_in_all: int


class Step(BaseModel):
    """One decoding step of a generating engine.

    Attributes:
        piece: the token written. probability: of it among the allowed ones. allowed: how many tokens were allowed.
        state: name of the state of the constrained decoder, or "" where decoding is free.
    """

    model_config = ConfigDict(frozen=True)

    piece: str
    probability: float
    allowed: int | None = None
    state: str = ""


class ExpertsUsed(BaseModel):
    """Experts of one token at one site, with gate weights, where the encoder is a mixture of experts."""

    model_config = ConfigDict(frozen=True)

    token: Place
    site: str
    experts: tuple[int, ...]
    weights: tuple[float, ...]


class Evidence(BaseModel):
    """Why an engine returned one result. Empty parts are what that engine does not have.

    Attributes:
        item: the result that it is about.
        links: link scores, those needed first.
        attention: of the result's tokens, or None; `attention_refused` says in a sentence why there is none.
        steps: decoding steps. experts: experts of the result's tokens.
        raw: the string that a generating engine wrote, before it was read.
        caution: one sentence on what this does not prove.
    """

    model_config = ConfigDict(frozen=True)

    item: Span | Relation | Event
    links: tuple[Link, ...] = ()
    attention: Attention | None = None
    attention_refused: str = ""
    steps: tuple[Step, ...] = ()
    experts: tuple[ExpertsUsed, ...] = ()
    raw: str = ""
    caution: str = "Links and attention show what the model computed, not why the statement is true; attention is no measure of importance."


class _Published(BaseModel):
    extraction: Extraction
    evidence: Evidence


def json_schema() -> dict[str, Any]:
    """The JSON Schema of an extraction and of evidence; docs/schemas/extraction.json is this."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_Published.model_json_schema()}
