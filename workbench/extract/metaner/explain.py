"""The evidence behind one span: the steps that wrote it, the raw output, and attention from its tokens to labels, demonstrations and text.

Of the prompts that said it, the one is shown that was surest. The columns are labels, tokens of demonstrations with the number of each, and the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from workbench.extract.errors import EngineError
from workbench.extract.extraction import Attention, Evidence, Place, Step
from workbench.extract.metaner.constraint import NAMES, State
from workbench.extract.metaner.prompts import Prompts
from workbench.extract.records import Document, Event, Relation, Span
from workbench.extract.schema import Schema
from workbench.extract.seq2seq.model import CopySeq2Seq

if TYPE_CHECKING:
    from workbench.extract.metaner.engine import Answer, MetaNerEngine

CAUTION = (
    "Steps show what the model wrote and what it might have written instead; attention shows where it looked, not why the statement is true. Leaving a demonstration out "
    "tells what it was needed for."
)
MOST_BYTES = 256 * 2**20  # of an attention map


def explain(
    engine: MetaNerEngine,
    text: str,
    schema: Schema,
    item: Span | Relation | Event,
    demonstrations: Sequence[Document] = (),
    layer: int | None = None,
    heads: Sequence[int] | None = None,
) -> Evidence:
    """See `workbench.extract.engines.Engine.explain`.

    Raises:
        EngineError: the model did not write such a result, or layer or heads are not there.
    """
    if not isinstance(item, Span):
        raise EngineError("MetaNER finds entities only: pick a span.")
    prompts = engine.prompts(schema, demonstrations)
    best: tuple[float, Answer] | None = None
    for answer in engine.answers(prompts, [text])[0]:
        for hit in answer.hits:
            if (hit.type, hit.start, hit.end) == (item.type, item.start, item.end) and (
                best is None or hit.probability > best[0]
            ):
                best = hit.probability, answer
    if best is None:
        raise EngineError(
            "MetaNER did not write such a span about this text, schema and demonstrations: pick one of those that `extract` gives for them."
        )
    answer = best[1]
    rows = _rows(engine, prompts, answer, item)
    attention, refused = _attention(engine, prompts, answer, rows, layer, heads)
    written = answer.written
    pieces = engine.tokenizer.convert_ids_to_tokens(written.ids)
    steps = tuple(
        Step(
            piece=str(piece), probability=chance, allowed=None if allowed < 0 else allowed, state="" if state < 0 else NAMES[State(state)]
        )
        for piece, chance, allowed, state in zip(pieces, written.chances, written.allowed, written.states, strict=True)
    )  # fmt: skip
    raw = " ".join(engine.tokenizer.decode([number]) for number in written.ids)
    return Evidence(item=item, attention=attention, attention_refused=refused, steps=steps, raw=raw, caution=CAUTION)


def _rows(engine: MetaNerEngine, prompts: Prompts, answer: Answer, item: Span) -> list[int]:
    """Places of the output that wrote a span: those of the entry whose words and type they are."""
    ids = answer.written.ids
    wanted = "".join(answer.prompt.query.text[item.start : item.end].lower().split())
    name = prompts.wire.name(prompts.names[item.type])
    begin = 0
    for at, number in enumerate(ids):
        if engine.copies:
            if number != engine.tokens.stop:
                continue
            entry = ids[begin:at]
            cut = entry.index(engine.tokens.is_) if engine.tokens.is_ in entry else 0
            said = engine._words(answer.prompt, answer.written, begin, cut)
            if _has(entry[cut:], name) and "".join(said.lower().split()) == wanted:
                return list(range(begin, begin + cut))
        elif "." in str(engine.tokenizer.convert_ids_to_tokens(number)):
            said = "".join(engine.tokenizer.decode(ids[begin : at + 1]).lower().split())
            if said.startswith(wanted):
                length = next(
                    (n for n in range(begin + 1, at + 1) if "".join(engine.tokenizer.decode(ids[begin:n]).lower().split()) == wanted), at
                )  # fmt: skip
                return list(range(begin, length))
        else:
            continue
        begin = at + 1
    return []


def _has(row: Sequence[int], part: Sequence[int]) -> bool:
    return any(tuple(row[n : n + len(part)]) == tuple(part) for n in range(len(row)))


@torch.inference_mode()
def _attention(
    engine: MetaNerEngine,
    prompts: Prompts,
    answer: Answer,
    rows: Sequence[int],
    layer: int | None,
    heads: Sequence[int] | None,
) -> tuple[Attention | None, str]:
    """Cross-attention of the steps that wrote the span, [heads][span tokens][source tokens]."""
    if not rows:
        return None, "The span's tokens could not be found again in the output."
    source, ids = answer.prompt.source, answer.written.ids
    read = torch.tensor([[engine.tokens.out, *ids[: max(rows)]]], device=engine.device)
    given = {"input_ids": torch.tensor([source.ids], device=engine.device)}
    given["attention_mask"] = torch.ones_like(given["input_ids"])
    if isinstance(engine.net, CopySeq2Seq):
        given["shape_ids"] = torch.tensor([source.shapes], device=engine.device)
    shape = engine.net.config
    layers = int(getattr(shape, "decoder_layers", None) or getattr(shape, "num_decoder_layers", None) or 1)
    many = int(getattr(shape, "decoder_heads", None) or getattr(shape, "num_heads", None) or 1)
    size = 4 * layers * many * len(source.ids) * read.shape[1]
    if size > MOST_BYTES:
        return (
            None,
            f"The attention map would take {size / 2**20:.0f} MB: choose fewer demonstrations or a shorter text.",
        )
    maps = engine.net(**given, decoder_input_ids=read, output_attentions=True).cross_attentions
    if not maps or maps[0] is None:
        return None, "This model does not show its attention."
    chosen = len(maps) - 1 if layer is None else layer
    every = maps[0].shape[1]
    wanted = list(range(every)) if heads is None else list(heads)
    if not 0 <= chosen < len(maps) or not all(0 <= head < every for head in wanted):
        raise EngineError(
            f"The decoder has the layers 0 to {len(maps) - 1} and the heads 0 to {every - 1}: choose among them."
        )
    weights = maps[chosen][0, wanted][:, list(rows)].float()
    return Attention(
        layer=chosen,
        heads=tuple(wanted),
        rows=tuple(Place(kind="text", piece=_piece(engine, ids[row])) for row in rows),
        columns=_columns(engine, prompts, answer),
        weights=tuple(tuple(tuple(map(float, row)) for row in head) for head in weights.tolist()),
        layers=len(maps),
        heads_in_all=every,
    ), ""


def _piece(engine: MetaNerEngine, number: int) -> str:
    return str(engine.tokenizer.convert_ids_to_tokens(number))


def _columns(engine: MetaNerEngine, prompts: Prompts, answer: Answer) -> tuple[Place, ...]:
    """What stands at each place of the source."""
    prompt = answer.prompt
    found = [Place(kind="label", piece=_piece(engine, number)) for number in prompt.source.ids]
    for what, number, first, stop in prompt.source.parts:
        shown = prompt.shown[number] if what in ("text", "output") else None
        pieces = prompt.query.pieces if what == "query" else None if shown is None else prompts.shots[shown].pieces
        exact = pieces is not None and what != "output" and stop - first == len(pieces)
        for n in range(first, stop):
            start, end = (
                (int(pieces.starts[n - first]), int(pieces.ends[n - first]))
                if exact and pieces is not None
                else (None, None)
            )
            if what != "label":
                kind = "text" if what == "query" else "demonstration"
                found[n] = Place.model_validate(
                    {"kind": kind, "piece": found[n].piece, "start": start, "end": end, "document": shown}
                )
    return tuple(found)
