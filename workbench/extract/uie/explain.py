"""The evidence behind one result of UIE: the decoding steps, the raw output, and attention from its tokens to schema and text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from workbench.extract.errors import EngineError
from workbench.extract.extraction import Attention, Evidence, Place, Step
from workbench.extract.records import Event, Relation, Span
from workbench.extract.schema import Schema
from workbench.extract.seq2seq.model import CopySeq2Seq
from workbench.extract.uie.constraint import NAMES, State
from workbench.extract.uie.passes import Pass
from workbench.extract.uie.sel import Asoc, Spot

if TYPE_CHECKING:
    from workbench.extract.uie.engine import UieEngine

MOST_BYTES = 256 * 2**20  # of an attention map

CAUTION = "Steps show what the model wrote and what it might have written instead; attention shows where it looked, not why the statement is true."


def explain(
    engine: UieEngine,
    text: str,
    schema: Schema,
    item: Span | Relation | Event,
    layer: int | None = None,
    heads: Sequence[int] | None = None,
) -> Evidence:
    """See `workbench.extract.engines.Engine.explain`.

    Raises:
        EngineError: the model did not write such a result, or layer or heads are not there.
    """
    passes = engine.passes(schema)
    for each in passes.run([text], passes.jobs([text]), 8):
        found = passes.records(each, engine.reading.mode)
        if _key(item) in (*found.entities, *found.relations, *found.triggers):
            steps, raw = _steps(engine, each)
            nodes = _nodes(each, item)
            attention, refused = _attention(engine, each, nodes, layer, heads)
            return Evidence(
                item=item, attention=attention, attention_refused=refused, steps=steps, raw=raw, caution=CAUTION
            )
    raise EngineError(
        "UIE did not write such a result about this text and schema: pick one of those that `extract` gives for them."
    )


def _key(item: Span | Relation | Event) -> tuple[Any, ...]:
    if isinstance(item, Span):
        return item.type, item.start, item.end
    if isinstance(item, Event):
        return item.type, item.trigger.start, item.trigger.end
    head, tail = item.head, item.tail
    return item.type, (head.type, head.start, head.end), (tail.type, tail.start, tail.end)


def _nodes(each: Pass, item: Span | Relation | Event) -> list[Asoc]:
    """The spots and associations of an output that a result was read from, by their words."""
    start, end = (
        (item.start, item.end) if isinstance(item, Span)
        else (item.trigger.start, item.trigger.end) if isinstance(item, Event) else (item.head.start, item.head.end)
    )  # fmt: skip
    found: list[Asoc] = []
    for spot in each.sel.spots:
        if not spot.span or (start, end) not in each.places.of(spot.span):
            continue
        if isinstance(item, Relation):
            ends = (item.tail.start, item.tail.end)
            tails = [asoc for asoc in spot.asocs if asoc.span and ends in each.places.of(asoc.span)]
            found += [spot, *tails] if tails else []
        else:
            found += _whole(spot) if isinstance(item, Event) else [spot]
    return found


def _whole(spot: Spot) -> list[Asoc]:
    return [spot, *spot.asocs]


def _steps(engine: UieEngine, each: Pass) -> tuple[tuple[Step, ...], str]:
    """Every token written, and the output as a string."""
    pieces = engine.tokenizer.convert_ids_to_tokens(each.written.ids)
    written = each.written
    steps = tuple(
        Step(
            piece=str(piece),
            probability=chance,
            allowed=None if allowed < 0 else allowed,
            state="" if state < 0 else NAMES[State(state)],
        )
        for piece, chance, allowed, state in zip(pieces, written.chances, written.allowed, written.states, strict=True)
    )
    return steps, " ".join(engine.tokenizer.decode([number]) for number in written.ids)


def _attention(
    engine: UieEngine, each: Pass, nodes: Sequence[Asoc], layer: int | None, heads: Sequence[int] | None
) -> tuple[Attention | None, str]:
    """Cross-attention of the steps that wrote the result's spans, [heads][span tokens][source tokens]."""
    ids = torch.tensor([each.job.source], device=engine.device)
    rows = [at + n for node in nodes for at, n in ((node.at, k) for k in range(len(node.span)))]
    if not rows:
        return None, "The result's tokens could not be found again in the output."
    written = each.written.ids
    config = engine.net.config
    layers = int(getattr(config, "decoder_layers", None) or getattr(config, "num_decoder_layers", None) or 1)
    every_head = int(getattr(config, "decoder_heads", None) or getattr(config, "num_heads", None) or 1)
    if len(written) * ids.shape[1] * layers * every_head * 4 > MOST_BYTES:
        return None, "The attention map of this text would be too large: take a shorter text."
    prefix = torch.tensor([[engine.tokens.start, *written[:-1]]], device=engine.device)
    options: dict[str, Any] = {}
    if isinstance(engine.net, CopySeq2Seq):
        shapes = torch.zeros_like(ids)
        row = torch.as_tensor(each.job.pieces.shapes.astype("int64"), device=ids.device)
        shapes[0, each.job.begin : each.job.begin + len(row)] = row
        options["shape_ids"] = shapes
    with torch.inference_mode():
        out = engine.net(
            input_ids=ids, attention_mask=torch.ones_like(ids), decoder_input_ids=prefix, output_attentions=True, **options
        )  # fmt: skip
    maps = out.cross_attentions
    if not maps or maps[0] is None:
        return None, "This model does not show its attention."
    chosen = len(maps) - 1 if layer is None else layer
    every = maps[0].shape[1]
    wanted = list(range(every)) if heads is None else list(heads)
    if not 0 <= chosen < len(maps) or not all(0 <= head < every for head in wanted):
        raise EngineError(
            f"The decoder has the layers 0 to {len(maps) - 1} and the heads 0 to {every - 1}: choose among them."
        )
    weights = maps[chosen][0, wanted][:, rows].float()
    return Attention(
        layer=chosen,
        heads=tuple(wanted),
        rows=tuple(_place(engine, each, written[at], None) for at in rows),
        columns=tuple(_place(engine, each, number, n) for n, number in enumerate(each.job.source)),
        weights=tuple(tuple(tuple(map(float, row)) for row in head) for head in weights.tolist()),
        layers=len(maps),
        heads_in_all=every,
    ), ""


def _place(engine: UieEngine, each: Pass, number: int, at: int | None) -> Place:
    """A token of the output, or of the source with its place."""
    piece = str(engine.tokenizer.convert_ids_to_tokens(number))
    if at is None:
        return Place(kind="text", piece=piece)
    n = at - each.job.begin
    if 0 <= n < len(each.job.pieces):
        return Place(kind="text", piece=piece, start=int(each.job.pieces.starts[n]), end=int(each.job.pieces.ends[n]))
    return Place(kind="label", piece=piece)
