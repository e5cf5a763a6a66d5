"""What UIE wrote about a text, as a whole: the raw structure, how it was read, and at each step what else might have been written.

The alternatives come from one more pass of the model over what it wrote, under the same grammar.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from workbench.extract.schema import Schema
from workbench.extract.seq2seq.model import CopySeq2Seq
from workbench.extract.uie.constraint import NAMES, Machine, State, make_sources
from workbench.extract.uie.passes import Pass, Passes
from workbench.extract.uie.sel import Asoc

if TYPE_CHECKING:
    from workbench.extract.uie.engine import UieEngine

MOST_OPTIONS = 12  # alternatives of a step that are kept


@dataclass(frozen=True)
class Option:
    """A token that might have come, and its probability among those allowed."""

    piece: str
    probability: float


@dataclass(frozen=True)
class Moment:
    """One step.

    Attributes:
        piece, probability: of the token written. state: of the grammar before it, "" where decoding is free.
        allowed: how many tokens were; None where decoding is free. options: the likeliest ones, the best first.
    """

    piece: str
    probability: float
    state: str
    allowed: int | None
    options: tuple[Option, ...]


@dataclass(frozen=True)
class Node:
    """A spot or association as it was read: its label, its words in the text, where they stand (None: rejected, or not found), its depth."""

    label: str
    words: str
    start: int | None
    end: int | None
    rejected: bool
    depth: int


@dataclass(frozen=True)
class Replay:
    """One pass: a window of the text under a block of labels.

    Attributes:
        start, end: of the window, code points. raw: as written. status: well-formed, fixed or ill-formed.
    """

    start: int
    end: int
    raw: str
    status: str
    nodes: tuple[Node, ...]
    moments: tuple[Moment, ...]


def replay(engine: UieEngine, text: str, schema: Schema) -> list[Replay]:
    """Every pass over a text, in order.

    Args:
        schema: sentiment written out.
    """
    passes = engine.passes(schema)
    made = sorted(passes.run([text], passes.jobs([text]), 8), key=lambda p: (int(p.job.pieces.starts[0]), p.job.block))
    return [_one(engine, passes, each, text) for each in made]


def _one(engine: UieEngine, passes: Passes, each: Pass, text: str) -> Replay:
    tokenizer, written = engine.tokenizer, each.written

    def node(found: Asoc, depth: int) -> Node:
        label = tokenizer.decode(list(found.label))
        if not found.span:
            return Node(label, "", None, None, True, depth)
        places = each.places.of(found.span)
        place = each.places.at(found.span, found.place) if found.place is not None else places[0] if places else None
        start, end = place or (None, None)
        words = tokenizer.decode(list(found.span)) if place is None else text[place[0] : place[1]]
        return Node(label, words, start, end, False, depth)

    nodes = [n for spot in each.sel.spots for n in (node(spot, 1), *(node(asoc, 2) for asoc in spot.asocs))]
    pieces = tokenizer.convert_ids_to_tokens(written.ids)
    moments = [
        Moment(str(piece), chance, "" if state < 0 else NAMES[State(state)], None if allowed < 0 else allowed, options)
        for piece, chance, state, allowed, options in zip(
            pieces, written.chances, written.states, written.allowed, _options(engine, passes, each), strict=True
        )
    ]
    return Replay(
        int(each.job.pieces.starts[0]),
        int(each.job.pieces.ends[-1]),
        " ".join(tokenizer.decode([number]) for number in written.ids),
        each.sel.status,
        tuple(nodes),
        tuple(moments),
    )


@torch.inference_mode()
def _options(engine: UieEngine, passes: Passes, each: Pass) -> list[tuple[Option, ...]]:
    """The likeliest tokens at each step, from one pass over the whole output."""
    ids, job = each.written.ids, each.job
    source = torch.tensor([job.source], device=engine.device)
    inputs = torch.tensor([[engine.tokens.start, *ids[:-1]]], device=engine.device)
    more = {}
    if isinstance(engine.net, CopySeq2Seq):
        shapes = torch.zeros_like(source)
        row = torch.as_tensor(job.pieces.shapes.astype("int64"), device=source.device)
        shapes[0, job.begin : job.begin + len(row)] = row
        more["shape_ids"] = shapes
    logits = engine.net(
        input_ids=source, attention_mask=torch.ones_like(source), decoder_input_ids=inputs, **more
    ).logits[0].float()  # fmt: skip
    machine = None
    if passes.grammar is not None:
        sources = make_sources(source, [job.begin], [job.pieces], [job.block], passes.choices.switches)
        machine = Machine(passes.grammar, sources)
        machine.begin(torch.zeros(1, dtype=torch.long, device=source.device))
    found = []
    most = passes.choices.max_target
    for step, number in enumerate(ids):
        scores = logits[step]
        if machine is not None:
            may = machine.allowed(most - step)[0, : len(scores)]
            scores = scores.masked_fill(~may, -torch.inf)
            if bool(torch.isneginf(scores).all()):
                scores = torch.where(may, 0.0, scores)  # as `Decoder` has it
            machine.advance(torch.tensor([number], device=source.device))
        best, which = scores.softmax(-1).topk(min(MOST_OPTIONS, len(scores)))
        kept = [(p, n) for p, n in zip(best.tolist(), which.tolist(), strict=True) if p > 0]
        names = engine.tokenizer.convert_ids_to_tokens([n for _, n in kept])
        found.append(tuple(Option(str(name), p) for name, (p, _) in zip(names, kept, strict=True)))
    return found
