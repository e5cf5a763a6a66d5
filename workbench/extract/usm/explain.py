"""What stands behind one result of USM: its links, the attention of its pieces, and the experts where the encoder has some."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from probes import NoExpertsError, RoutingProbe
from probes.attention import attention_rows
from probes.calls import Call, Record
from probes.errors import ProbeError
from workbench.extract.errors import EngineError
from workbench.extract.extraction import Attention, Evidence, ExpertsUsed, Link, Place
from workbench.extract.records import Argument, Event, Relation, Span
from workbench.extract.schema import Schema
from workbench.extract.usm.batch import Batch, Sample, make_batch
from workbench.extract.usm.decode import LinkScores, mention_links, pair_links
from workbench.extract.usm.links import Pair
from workbench.extract.usm.passes import Window
from workbench.extract.usm.plan import Block

if TYPE_CHECKING:
    from workbench.extract.usm.engine import UsmEngine

LINE_END = "\u23ce"  # shown for the sign that stands for a border (`usm.pieces`)
_CAUTION = (
    "Links and attention show what the model computed, not why the statement is true; attention is no measure of importance, and a weak link "
    "alone does not make a result wrong."
)


def explain(
    engine: UsmEngine,
    text: str,
    schema: Schema,
    item: Span | Relation | Event,
    layer: int | None,
    heads: Sequence[int] | None,
) -> Evidence:
    """The evidence of one result; one more pass over the window and labels that hold it.

    An event whose arguments were found in several passes has the links of each; attention and experts are those of the pass that holds most of it.

    Raises:
        EngineError: the text or schema does not hold the item.
    """
    (part, window, block), *others = _passes(engine.plan(schema), engine.windows([text]), item)
    shown, batch = _run(engine, text, window, block)
    at = {span: _pieces(window, span) for span in _spans(part)}
    rows = sorted({piece for first, last in at.values() for piece in range(first, last + 1)})
    attention, refused = _attention(engine, batch, shown, rows, layer, heads)
    experts = _experts(engine, batch, shown, rows)
    links = _links(part, at, shown)
    for part, window, block in others:
        assert isinstance(part, Event)  # nothing else has more than one part
        at = {span: _pieces(window, span) for span in _spans(part)}
        shown, _ = _run(engine, text, window, block)
        links += [link for argument in part.arguments for link in _argument(shown, part, argument, at)]
    return Evidence(
        item=item, links=tuple(links), attention=attention, attention_refused=refused, experts=experts, caution=_CAUTION
    )


def _run(engine: UsmEngine, text: str, window: Window, block: Block) -> tuple[_Shown, Batch]:
    """One pass, run again."""
    sample = engine.passes.sample(window.pieces, block)
    batch = make_batch([sample], *engine.passes.special).to(engine.usm.device)
    with torch.inference_mode():
        scores = LinkScores.of(engine.usm(batch).of(0), len(window.pieces), len(sample.labels))
    return _Shown(text, window, block, scores, sample), batch


class _Shown:
    """Names for the places of one pass."""

    def __init__(self, text: str, window: Window, block: Block, scores: LinkScores, sample: Sample) -> None:
        self.text, self.window, self.block, self.scores, self.sample = text, window, block, scores, sample

    def piece(self, number: int) -> Place:
        start, end = int(self.window.pieces.starts[number]), int(self.window.pieces.ends[number])
        return Place(kind="text", piece=self.text[start:end] or LINE_END, start=start, end=end)

    def label(self, number: int) -> Place:
        return Place(kind="label", piece=self.block.prompt.labels[number].name)

    def link(self, name: str, source: Place, target: Place, score: float) -> Link:
        return Link(type=name, source=source, target=target, score=round(score, 4))


def _spans(item: Span | Relation | Event) -> list[tuple[int, int]]:
    if isinstance(item, Relation):
        return [(item.head.start, item.head.end), (item.tail.start, item.tail.end)]
    if isinstance(item, Event):
        return [(item.trigger.start, item.trigger.end), *((a.start, a.end) for a in item.arguments)]
    return [(item.start, item.end)]


def _passes(
    plan: list[Block], windows: Sequence[Window], item: Span | Relation | Event
) -> list[tuple[Span | Relation | Event, Window, Block]]:
    """The passes that hold an item, with the part of it that each explains: one pass, but for an event whose arguments no single one has."""
    if not isinstance(item, Event) or not item.arguments:
        return [(item, _window(windows, _spans(item)), _block(plan, item))]
    found: list[tuple[Span | Relation | Event, Window, Block]] = []
    left = item.arguments
    while left:
        parts = [
            (tuple(a for a in left if a.role in block.roles and window.pieces.span(a.start, a.end) is not None), window, block)
            for block in plan
            if item.type in block.events
            for window in windows
            if window.pieces.span(item.trigger.start, item.trigger.end) is not None
        ]  # fmt: skip
        most = max((len(part) for part, _, _ in parts), default=0)
        if not most:
            _block(plan, item)  # both say what is amiss, where it is the event or the text
            _window(windows, _spans(item.model_copy(update={"arguments": left})))
            raise EngineError(
                f"The schema's event '{item.type}' has no role '{left[0].role}', so the result cannot be explained by it: give the schema that it was found with."
            )
        part, block = next((part, block) for part, _, block in parts if len(part) == most)
        event = item.model_copy(update={"arguments": part})
        found.append((event, _window(windows, _spans(event)), block))
        left = tuple(a for a in left if a not in part)
    return found


def _block(plan: list[Block], item: Span | Relation | Event) -> Block:
    """The first pass that asks for everything the item needs, else for its own label."""
    if isinstance(item, Relation):
        fitting = [block for block in plan if item.type in block.relations]
        best = [block for block in fitting if {item.head.type, item.tail.type} <= set(block.entities)]
    elif isinstance(item, Event):
        fitting = [block for block in plan if item.type in block.events]
        best = [block for block in fitting if {a.role for a in item.arguments} <= set(block.roles)]
    else:
        fitting = best = [block for block in plan if item.type in block.entities or item.type in block.events]
    if not fitting:
        raise EngineError(
            f"The schema has no '{item.type}', so the result cannot be explained by it: give the schema that it was found with."
        )
    return (best or fitting)[0]


def _window(found: Sequence[Window], spans: list[tuple[int, int]]) -> Window:
    """The window that holds every span, as far from its borders as can be."""
    start, end = min(s for s, _ in spans), max(e for _, e in spans)
    holding = [w for w in found if len(w.pieces) and all(w.pieces.span(*span) is not None for span in spans)]
    if not holding:
        raise EngineError(
            "The text does not hold the spans of this result within one window, or they do not begin and end at its pieces: "
            "explain a result that was found in this text."
        )
    return max(holding, key=lambda w: min(start - int(w.pieces.starts[0]), int(w.pieces.ends[-1]) - end))


def _pieces(window: Window, span: tuple[int, int]) -> Pair:
    found = window.pieces.span(*span)
    assert found is not None  # `_window` saw to it
    return found


def _links(item: Span | Relation | Event, at: dict[tuple[int, int], Pair], shown: _Shown) -> list[Link]:
    if isinstance(item, Event):
        found = _mention(shown, shown.block.events[item.type], at[item.trigger.start, item.trigger.end])
        for argument in item.arguments:
            found += _argument(shown, item, argument, at)
        return found
    if isinstance(item, Relation):
        head, tail = at[item.head.start, item.head.end], at[item.tail.start, item.tail.end]
        found = _pair(shown, shown.block.relations[item.type], head, tail)
        for end, span in ((item.head, head), (item.tail, tail)):
            if end.type in shown.block.entities:
                found += [link for link in _mention(shown, shown.block.entities[end.type], span) if link.type != "H2T"]
        return found
    names = shown.block.entities if item.type in shown.block.entities else shown.block.events
    return _mention(shown, names[item.type], at[item.start, item.end])


def _argument(shown: _Shown, item: Event, argument: Argument, at: dict[tuple[int, int], Pair]) -> list[Link]:
    subject, object_ = at[item.trigger.start, item.trigger.end], at[argument.start, argument.end]
    links = _pair(shown, shown.block.roles[argument.role], subject, object_)
    return links[1:]  # the trigger's own H2T stands already


def _mention(shown: _Shown, label: int, span: Pair) -> list[Link]:
    values = mention_links(shown.scores, label, span)
    head, tail = shown.piece(span[0]), shown.piece(span[1])
    ends = {"H2T": (head, tail), "L2H": (shown.label(label), head), "L2T": (shown.label(label), tail)}
    return [shown.link(name, *ends[name], value) for name, value in values.items()]


def _pair(shown: _Shown, label: int, subject: Pair, object_: Pair) -> list[Link]:
    values = pair_links(shown.scores, label, subject, object_)
    sh, st, oh, ot = (shown.piece(number) for number in (*subject, *object_))
    name = shown.label(label)
    ends = {
        ("H2T", "subject"): (sh, st), ("H2T", "object"): (oh, ot), ("H2H", "pair"): (sh, oh), ("T2T", "pair"): (st, ot),
        ("L2H", "object"): (name, oh), ("L2T", "object"): (name, ot), ("H2L", "subject"): (sh, name), ("T2L", "subject"): (st, name),
    }  # fmt: skip
    return [shown.link(key[0], *ends[key], value) for key, value in values.items()]


def _attention(
    engine: UsmEngine, batch: Batch, shown: _Shown, pieces: list[int], layer: int | None, heads: Sequence[int] | None
) -> tuple[Attention | None, str]:
    """Attention of some pieces over labels and text, or the sentence why there is none."""
    positions = [int(batch.text[0, piece]) for piece in pieces]
    length = batch.ids.shape[1]
    try:
        found = attention_rows(
            engine.usm.encoder, lambda: engine.usm.encode(batch), positions, length=length, layer=layer, heads=heads
        )
    except ProbeError as fault:
        return None, str(fault)
    return (
        Attention(
            layer=found.layer,
            heads=found.heads,
            rows=tuple(shown.piece(piece) for piece in pieces),
            columns=tuple(_columns(engine, batch, shown)),
            weights=tuple(tuple(tuple(round(float(w), 5) for w in row) for row in head) for head in found.weights),
            layers=found.layers,
            heads_in_all=found.heads_in_all,
        ),
        "",
    )


def _experts(engine: UsmEngine, batch: Batch, shown: _Shown, pieces: list[int]) -> tuple[ExpertsUsed, ...]:
    """Experts of some pieces at every site; empty where the encoder is no mixture of experts."""
    records: list[Record] = []

    def keep(calls: Sequence[Call]) -> None:
        records.extend(record for call in calls for record in call.records)  # the probe lets them go after the pass

    try:
        probe = RoutingProbe(engine.usm.encoder, coactivation=False, on_pass=keep)
    except NoExpertsError:
        return ()
    with probe, torch.no_grad():
        engine.usm.encode(batch)
    found = []
    for record in records:
        seen = record.seen
        for piece in pieces:
            position = int(batch.text[0, piece])
            if seen is not None:
                if not bool(seen[position]):
                    continue
                position = int(seen[:position].sum())
            found.append(
                ExpertsUsed(
                    token=shown.piece(piece),
                    site=probe.found[record.site].site.id,
                    experts=tuple(int(expert) for expert in record.routing.ids[position]),
                    weights=tuple(round(float(weight), 5) for weight in record.routing.weights[position]),
                )
            )
    return tuple(found)


def _columns(engine: UsmEngine, batch: Batch, shown: _Shown) -> list[Place]:
    """What stands at each position of the pass; the position that opens a label has the label's whole name."""
    tokens = engine.tokenizer.convert_ids_to_tokens(batch.ids[0].tolist())
    places = [Place(kind="text", piece=str(token)) for token in tokens]
    for position, segment in enumerate(batch.segments[0].tolist()):
        if segment > 0:
            opens = int(batch.anchors[0, segment - 1]) == position
            places[position] = shown.label(segment - 1) if opens else Place(kind="label", piece=str(tokens[position]))
    for number, position in enumerate(batch.text[0].tolist()[: len(shown.window.pieces)]):
        places[position] = shown.piece(number)
    return places
