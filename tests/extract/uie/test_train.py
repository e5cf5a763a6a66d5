"""Training: prompts and targets that agree, rejection, the three objectives, a run that is resumed, and what a tiny model learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.extract.seq2seq.conftest import tiny_copy
from tests.extract.uie.test_constraint import tiny_t5
from tests.extract.usm.test_train import documents
from workbench.extract.errors import EngineError, ExtractError
from workbench.extract.loop import Length
from workbench.extract.records import Document, Event, Span
from workbench.extract.schema import Schema
from workbench.extract.seq2seq.batch import make_batch
from workbench.extract.seq2seq.loop import Recipe, new_optimizer, token_losses, train
from workbench.extract.seq2seq.model import CopySeq2Seq
from workbench.extract.seq2seq.start import save_model, start_model
from workbench.extract.seq2seq.tokens import SelTokens
from workbench.extract.seq2seq.weights import load_copy_model
from workbench.extract.uie.engine import UieEngine
from workbench.extract.uie.reading import UieReading
from workbench.extract.uie.sel import read
from workbench.extract.uie.ssi import LabelIds
from workbench.extract.uie.train.objectives import OBJECTIVES, Objectives, corrupted, parse_objectives
from workbench.extract.uie.train.run import build_stream
from workbench.extract.uie.train.sampling import Sampler, Sampling
from workbench.extract.uie.tune import Part, curves_of, f1, fit, read_every_way
from workbench.extract.usm.train.sources import Plan, Source, make_source


@pytest.fixture
def source(words: Any) -> Source:
    return make_source("own", Plan(1.0, "general"), documents(40), words, 40)


def events(words: Any) -> Source:
    text = "pierre met marie in paris"
    place = {w: (text.index(w), text.index(w) + len(w)) for w in text.split()}
    event = Event(
        type="meeting", trigger=Span(start=7, end=10, type="meeting"),
        arguments=[{"role": "who", "start": place[w][0], "end": place[w][1]} for w in ("pierre", "marie")],
    )  # fmt: skip
    found = [Document(id=str(n), text=text, entities=(), events=(event,) if n else ()) for n in range(3)]
    return make_source("happenings", Plan(1.0, "other"), found, words, 40)


def sampler(words: Any, tokens: SelTokens, sources: list[Source], **choices: Any) -> Sampler:
    return Sampler(LabelIds(words, tokens), tokens, sources, Sampling(**choices))


def labels_of(source: list[int], tokens: SelTokens) -> list[tuple[int, tuple[int, ...]]]:
    """(marker, label) of each label in a source's prompt."""
    found: list[tuple[int, tuple[int, ...]]] = []
    for number in source[: source.index(tokens.text)]:
        if number in (tokens.spot, tokens.asoc):
            found.append((number, ()))
        else:
            found[-1] = (found[-1][0], (*found[-1][1], number))
    return found


def test_target_is_what_is_true_under_the_prompt(words: Any, tokens: SelTokens, source: Source) -> None:
    """Every label that is asked has exactly its spans; every target token stands where its place says."""
    draws = sampler(words, tokens, [source], reject=0.0, far=0.0, own_name=1.0)
    coder = LabelIds(words, tokens)
    rng = np.random.default_rng(0)
    seen: set[str] = set()
    for _ in range(200):
        chunk = source.chunks[int(rng.integers(len(source.chunks)))]
        example = draws.draw(source, chunk, rng)
        if example is None:  # every label was left out
            continue
        assert all(
            place < 0 or example.source[place] == number
            for place, number in zip(example.places, example.target, strict=False)
        )
        sel = read(example.target, tokens)
        assert sel.grammatical and example.target[-1] == example.source[-1] == tokens.eos
        asked = labels_of(example.source, tokens)
        for type_ in ("person", "city"):
            wanted = {tuple(chunk.pieces.ids[a : b + 1].tolist()) for t, (a, b) in chunk.entities if t == type_}
            got = {spot.span for spot in sel.spots if spot.label == coder(type_)}
            stands = (tokens.spot, coder(type_)) in asked
            assert got == (wanted if stands else set())
            seen.add(f"{type_} {stands}")
        for spot in sel.spots:
            for asoc in spot.asocs:
                heads = {tuple(chunk.pieces.ids[h[0][0] : h[0][1] + 1].tolist()) for _, h, _ in chunk.relations}
                assert asoc.label == coder("works in") and spot.span in heads
                seen.add("relation")
    assert seen == {"person True", "person False", "city True", "city False", "relation"}


def test_rejected_labels_have_a_null_span_and_are_not_there(words: Any, tokens: SelTokens, source: Source) -> None:
    draws = sampler(words, tokens, [source, events(words)], reject=1.0, far=1.0)
    rng = np.random.default_rng(1)
    rejected = 0
    for _ in range(150):
        chunk = source.chunks[int(rng.integers(len(source.chunks)))]
        example = draws.draw(source, chunk, rng)
        if example is None:
            continue
        spots = read(example.target, tokens).spots
        real = {spot.label for spot in spots if spot.span}
        nulls = [spot for spot in spots if not spot.span]
        rejected += len(nulls)
        assert not {spot.label for spot in nulls} & real
        if not real:
            assert not nulls, "a sentence without a spot has no rejected one (as in the original)"
        assert not spots or spots[-1].span, "nothing is rejected behind the last spot (as in the original)"
    assert rejected > 30


def test_events_and_partial_sets(words: Any, tokens: SelTokens) -> None:
    source = events(words)
    draws = sampler(words, tokens, [source], reject=0.0, drop=0.0)
    rng = np.random.default_rng(2)
    coder = LabelIds(words, tokens)
    full = 0
    for _ in range(30):
        example = draws.draw(source, source.chunks[1], rng)
        assert example is not None and not example.silent
        for spot in read(example.target, tokens).spots:
            assert spot.label == coder("meeting") and all(a.label == coder("who") for a in spot.asocs)
            full += len(spot.asocs) == 2
    assert full > 5
    partial = make_source("own", Plan(1.0, "general", complete=False), documents(6), words, 40)
    example = sampler(words, tokens, [partial]).draw(partial, partial.chunks[0], rng)
    assert example is not None and example.silent == {len(example.target) - 2, len(example.target) - 1}
    labels = make_batch([example], tokens).labels[0]
    assert labels[-1] == labels[-2] == -100 and labels[0] == tokens.open


def test_names_of_held_out_types_never_appear(words: Any, tokens: SelTokens, source: Source) -> None:
    draws = Sampler(LabelIds(words, tokens), tokens, [source], Sampling(), frozenset({"person"}))
    rng = np.random.default_rng(3)
    person = LabelIds(words, tokens)("person")
    for _ in range(100):
        example = draws.draw(source, source.chunks[0], rng)
        if example is not None:
            assert person not in [label for _, label in labels_of(example.source, tokens)]


def test_the_three_objectives(words: Any, tokens: SelTokens, source: Source) -> None:
    rng = np.random.default_rng(4)
    for copies in (True, False):
        makers = Objectives(sampler(words, tokens, [source]), [source], words, tokens, copies).makers(dict(OBJECTIVES))
        assert set(makers) == {"pair", "record", "text"}
        for name, (_, maker) in makers.items():
            made = [example for example in (maker(rng) for _ in range(60)) if example is not None]
            assert made or name == "text", name  # texts may be too short for gaps
            for example in made:
                assert example.target[-1] == tokens.eos
                if copies:
                    there = set(example.source) | {tokens.open, tokens.close, tokens.colon, tokens.null, tokens.eos}
                    assert set(example.target) <= there
                if name == "record" and not copies:
                    assert example.source == [tokens.eos] and read(example.target, tokens).grammatical


def test_span_corruption_puts_the_text_together_again(tokens: SelTokens) -> None:
    rng = np.random.default_rng(5)
    gaps = list(range(1000, 1020))
    for length in (4, 20, 90):
        ids = rng.integers(10, 60, length).tolist()
        made = corrupted(ids, gaps, tokens, rng)
        assert made is not None
        parts: dict[int, list[int]] = {}
        for number in made.target[:-1]:
            if number in gaps:
                parts[number] = last = []
            else:
                last.append(number)
        whole = [n for number in made.source[:-1] for n in (parts[number] if number in gaps else [number])]
        assert whole == ids


def test_objectives_as_options() -> None:
    assert parse_objectives(()) == OBJECTIVES and parse_objectives(["pair=1", "text=0.2"]) == {"pair": 1.0, "text": 0.2}
    for wrong in ("pairs=1", "pair", "pair=-1", "pair=x"):
        with pytest.raises(EngineError, match="NAME=SHARE"):
            parse_objectives([wrong])
    with pytest.raises(EngineError, match="share above 0"):
        parse_objectives(["pair=0"])


RECIPE = Recipe(
    what={"objectives": {"pair": 1.0}, "sampling": {"reject": 0.0, "drop": 0.0, "far": 0.0, "own_name": 1.0}}, batch=8, warmup=10,
    encoder_rate=3e-3, decoder_rate=5e-3, freeze_embeddings=False, bf16=False,
)  # fmt: skip


def run(words: Any, tokens: SelTokens, source: Source, out: Path, **options: Any) -> CopySeq2Seq:
    """A run of a fresh tiny model."""
    length = options.pop("length", Length(steps=6))
    model = tiny_copy(words)
    stream = build_stream(RECIPE, [source], words, tokens, True)
    train(
        model,
        stream,
        out,
        RECIPE,
        length,
        lambda folder: save_model(folder, model, words),
        family="uie",
        start="tiny",
        **options,
    )
    return model


def test_a_resumed_run_is_the_run_that_was_not_stopped(
    words: Any, tokens: SelTokens, source: Source, tmp_path: Path
) -> None:
    whole = run(words, tokens, source, tmp_path / "whole")
    run(words, tokens, source, tmp_path / "cut", length=Length(steps=6, stop_after=3))
    resumed = run(words, tokens, source, tmp_path / "cut", resume=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    with pytest.raises(ExtractError, match="add --resume"):
        run(words, tokens, source, tmp_path / "cut")
    with pytest.raises(ExtractError, match="no state to resume"):
        run(words, tokens, source, tmp_path / "new", resume=True)
    other = replace(RECIPE, batch=4)
    stream = build_stream(other, [source], words, tokens, True)
    with pytest.raises(ExtractError, match="batch differ"):
        train(
            tiny_copy(words),
            stream,
            tmp_path / "cut",
            other,
            Length(steps=6),
            lambda _: None,
            family="uie",
            start="",
            resume=True,
        )


def test_it_learns_what_follows_from_the_words(words: Any, tokens: SelTokens, source: Source, tmp_path: Path) -> None:
    """400 steps of a tiny model; it then finds people, places and where they work in sentences of the same kind, and what is learnt on them is
    stored with the model."""
    run(words, tokens, source, tmp_path, length=Length(steps=400))
    model, tokenizer = load_copy_model(tmp_path / "model")
    engine = UieEngine(model, tokenizer)
    new = documents(60)[40:]
    schema = {"entities": ["person", "city"], "relations": {"works in": {"head": ["person"], "tail": ["city"]}}}
    part = Part("own", new, Schema.read(schema), read_every_way(engine, new, Schema.read(schema)))
    scores = f1([part], UieReading("pointed"))
    assert scores["own entity"] > 0.8 and scores["own relation"] > 0.6
    reading = fit([part])
    assert reading.mode in ("pointed", "closest", "longer_first")
    assert curves_of([part], "pointed") == {} or reading.calibrated
    found = engine.extract([new[0].text], schema)[0]
    assert {s.key for s in found.select().entities or ()} <= {s.key for s in found.entities}


def test_t5_learns_by_the_same_loop(words: Any, tokens: SelTokens, source: Source, tmp_path: Path) -> None:
    """A model of the released checkpoints' class: the loss falls, and what is saved loads again."""
    model = tiny_t5(len(words))
    stream = build_stream(
        replace(RECIPE, what={"objectives": {"pair": 0.6, "record": 0.2, "text": 0.2}}), [source], words, tokens, False
    )
    first = [float(token_losses(model, stream.batch(n)[0]).detach().sum()) for n in range(4)]
    optimizer = new_optimizer(model, RECIPE)
    assert all(parameter.requires_grad for parameter in model.parameters()) and len(optimizer.param_groups) >= 1
    made = train(
        model,
        stream,
        tmp_path / "run",
        replace(RECIPE, decoder_rate=3e-3),
        Length(steps=30),
        lambda folder: save_model(folder, model, words),
        family="uie",
        start="t5",
    )
    last = [float(token_losses(model, stream.batch(n)[0]).detach().sum()) for n in range(4)]
    assert sum(last) < 0.8 * sum(first)
    again, tokenizer = start_model(str(made))
    assert type(again) is type(model) and SelTokens.of(tokenizer) == tokens
    assert len(UieEngine(again.eval(), tokenizer).extract(["marie in paris"], {"entities": ["person"]})) == 1
