"""The engine: offsets, windows, blocks, faults, evidence; a copying model and T5 with UIE's special tokens alike."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.extract.seq2seq.conftest import tiny_copy
from tests.extract.uie.test_constraint import tiny_t5
from workbench.convert import convert
from workbench.extract import load_engine
from workbench.extract.engines import Engine
from workbench.extract.errors import EngineError
from workbench.extract.schema import Schema
from workbench.extract.seq2seq.decode import Written
from workbench.extract.seq2seq.tokens import SelTokens, encode_plain
from workbench.extract.seq2seq.weights import save_copy_model
from workbench.extract.uie.engine import UieEngine
from workbench.extract.uie.passes import Job, Passes
from workbench.extract.uie.reading import UieReading, values_of
from workbench.extract.uie.records import Found
from workbench.extract.uie.sel import Asoc, Spot, write
from workbench.extract.usm.reading import Curve

SCHEMA = {
    "entities": ["person", "city"],
    "relations": {"works for": {"head": ["person"], "tail": ["city"]}},
    "events": {"attack": ["victim"]},
}
HOSTILE = {
    "plain": "Marie Curie worked in Paris for the University of Warsaw",
    "emoji": "👩‍🔬 Marie 🇫🇷 met Pierre in Paris 😀",
    "scripts": "שלום Marie 中文 Paris مرحبا",
    "zero width": "Ma\u200brie in\u00a0Paris\u200d",
    "special tokens": "<extra_id_0> Marie <extra_id_5> [SEP] Paris <extra_id_1>",
}


def talkative(words: Any, **sizes: Any) -> Any:
    """Untrained, but it opens brackets rather than end."""
    model = tiny_copy(words, **sizes)
    torch.manual_seed(2)
    with torch.no_grad():
        for part in (model.query, model.key):
            part.weight.normal_(std=0.6)
        fixed = model.config.fixed
        tokens = SelTokens.of(words)
        model.write.bias[fixed.index(tokens.open)] = 2.0
        model.write.bias[fixed.index(tokens.close)] = 1.0
        model.write.bias[fixed.index(tokens.null)] = -6.0
    return model


@pytest.fixture
def engine(words: Any) -> UieEngine:
    return UieEngine(talkative(words), words, "tiny")


@pytest.fixture
def t5(words: Any, tmp_path: Path) -> Path:
    """A tiny model of the released checkpoints' class, with their special tokens."""
    folder = tmp_path / "uie-t5"
    model = tiny_t5(len(words))
    with torch.no_grad():
        model.lm_head.weight.normal_(std=2.0)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


# ---------------------------------------------------------------------- results
@pytest.mark.parametrize("what", HOSTILE)
def test_offsets_are_code_points_of_the_text_as_given(engine: UieEngine, what: str) -> None:
    text = HOSTILE[what]
    found = engine.extract([text], SCHEMA)[0]
    assert found.text == text and (found.entities or found.events)
    stretches = [(s.start, s.end) for s in found.entities] + [(e.trigger.start, e.trigger.end) for e in found.events]
    stretches += [(a.start, a.end) for e in found.events for a in e.arguments]
    stretches += [(s.start, s.end) for r in found.relations for s in (r.head, r.tail)]
    for start, end in stretches:
        assert text[start:end] and text[start:end] == text[start:end].strip()
    assert engine.counts["well-formed"] == sum(engine.counts.values()) > 0
    assert found.select(0.0).entities is not None


@pytest.mark.parametrize("text", ["", "   ", "\n\t"])
def test_texts_without_a_word_give_nothing(engine: UieEngine, text: str) -> None:
    found = engine.extract([text, "Marie"], SCHEMA)
    assert len(found) == 2 and not found[0].entities and found[0].text == text


def test_long_texts_have_global_offsets(words: Any) -> None:
    engine = UieEngine(talkative(words, max_source=48), words)
    text = "Marie met Pierre . " * 40
    found = engine.extract([text], {"entities": ["person"]})[0]
    assert any("windows" in note for note in found.notes)
    assert found.entities and max(s.end for s in found.entities) > 400
    assert all(text[s.start : s.end].strip() == text[s.start : s.end] for s in found.entities)


def write_all_of_marie(passes: Passes, group: Sequence[Job], _: Any) -> list[Written]:
    """Stands in for a model that finds every Marie, as far as the tokens reach."""
    label, tokens = next(iter(passes.prompts[0].spots)), passes.tokens
    marie = passes.tokenizer("marie", add_special_tokens=False)["input_ids"][0]
    made = []
    for job in group:
        spots = [Spot(label, (marie,), place=n) for n, number in enumerate(job.pieces.ids.tolist()) if number == marie]
        ids = [*write(spots, tokens), tokens.eos]
        while len(ids) > passes.choices.max_target:
            spots.pop()
            ids = [*write(spots, tokens), tokens.eos]
        places = [-1] * len(ids)
        for spot in spots:
            places[spot.at] = job.begin + int(spot.place or 0)
        made.append(Written(ids, [0.0] * len(ids), [1] * len(ids), [0] * len(ids), places, 0.0))
    return made


def test_a_window_that_says_more_than_a_structure_holds_is_read_in_halves(
    words: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Passes, "_write", write_all_of_marie)
    engine = UieEngine(tiny_copy(words), words)
    text = "Marie met Pierre . " * 40
    starts = [n for n in range(len(text)) if text.startswith("Marie", n)]
    engine.choices = replace(engine.choices, max_target=72)  # 13 spots, of 32 in a window
    found = engine.extract([text, "Marie met Pierre"], {"entities": ["person"]})
    assert sorted(s.start for s in found[0].entities) == starts
    assert any("halves of larger ones" in note for note in found[0].notes)
    assert not any("may have been cut" in note for note in found[0].notes)
    assert [s.start for s in found[1].entities] == [0] and not any("halves" in note for note in found[1].notes)
    engine.choices = replace(engine.choices, halve=False)
    once = engine.extract([text], {"entities": ["person"]})[0]
    assert len(once.entities) < len(starts) and any("may have been cut" in note for note in once.notes)
    assert not UieEngine(tiny_copy(words), words, original=True).choices.halve


def test_halving_ends_and_the_parts_cover_the_text(words: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Passes, "_write", write_all_of_marie)
    engine = UieEngine(tiny_copy(words), words)
    text = "Marie met Pierre in Paris . " * 40
    engine.choices = replace(engine.choices, max_target=30)  # 5 spots, of 20 in a window
    passes = engine.passes(Schema.read({"entities": ["person", "city"]}))
    done = list(passes.run([text], passes.jobs([text]), 4))
    assert any(each.job.halves > 1 for each in done) and all(each.sel.status == "well-formed" for each in done)
    assert all(not passes.is_full(each) or len(each.job.pieces) < 48 for each in done)
    covered = {n for each in done for n in each.job.pieces.starts.tolist()}
    assert covered == set(encode_plain(words, engine.tokens, [text])[0].starts.tolist())
    assert all(len(each.written.ids) <= 30 for each in done)


def test_many_labels_are_asked_in_blocks_and_one_too_long_is_a_sentence(words: Any) -> None:
    engine = UieEngine(talkative(words, max_source=64), words)
    found = engine.extract(["Marie in Paris"], {"entities": [f"type {n}" for n in range(60)]})[0]
    assert any("passes" in note for note in found.notes)
    with pytest.raises(EngineError, match="leaves no room for the text"):
        engine.extract(["Marie in Paris"], {"entities": ["q" * 100]})


def test_batch_size_and_order_change_nothing(engine: UieEngine) -> None:
    texts = [HOSTILE["emoji"], "Marie", HOSTILE["plain"], ""]
    one, many = engine.extract(texts, SCHEMA, batch_size=1), engine.extract(texts, SCHEMA, batch_size=4)
    for a, b in zip(one, many, strict=True):
        assert {s.key for s in a.entities} == {s.key for s in b.entities}
        assert {r.key for r in a.relations} == {r.key for r in b.relations}


def test_stopping_keeps_whole_texts(engine: UieEngine) -> None:
    done: list[int] = []
    found = engine.extract(
        ["Marie"] * 20, SCHEMA, batch_size=2, progress=done.append, stopped=lambda: bool(done) and done[-1] >= 16
    )
    assert done == [8, 16] and len(found) == 16


def test_a_long_text_says_how_many_of_its_passes_are_done(engine: UieEngine) -> None:
    text, said = "Marie met Pierre in Paris . " * 60, []
    engine.extract([text], SCHEMA, passes=lambda done, total: said.append((done, total)))
    assert len(said) > 3 and [done for done, _ in said] == list(range(1, len(said) + 1))
    assert said[-1][0] == said[-1][1] and all(done <= total for done, total in said)


def test_free_decoding_is_counted(words: Any) -> None:
    engine = UieEngine(talkative(words), words, constrained=False)
    found = engine.extract(list(HOSTILE.values()), SCHEMA)
    assert sum(engine.counts.values()) == len(HOSTILE) and len(found) == len(HOSTILE)
    strange = engine.counts["fixed"] + engine.counts["ill-formed"]
    assert strange == sum(any("ill-formed" in note for note in each.notes) for each in found)


def test_ties_hold_and_the_original_has_none(words: Any) -> None:
    ours, theirs = (UieEngine(talkative(words), words, original=o) for o in (False, True))
    for extraction in ours.extract(list(HOSTILE.values()), SCHEMA):
        assert all(r.head.type == "person" for r in extraction.relations)
    assert theirs.choices.switches.tied_roles is False
    theirs.extract([HOSTILE["plain"]], SCHEMA)


def test_the_floor_is_what_was_written(engine: UieEngine) -> None:
    engine.reading = UieReading(
        "pointed", 0.3, {kind: Curve(1.0, 1.0) for kind in ("entity", "relation", "trigger", "argument")}
    )
    found = engine.extract([HOSTILE["plain"]], SCHEMA)[0]
    scores = [s.score or 0 for s in found.entities] + [e.score or 0 for e in found.events]
    assert found.calibrated and found.threshold == 0.3 and found.floor <= min([*scores, 0.3]) + 1e-3
    assert "writes one structure" in found.notes[0]


def test_values_are_sums_of_log_probabilities(tokens: SelTokens) -> None:
    spot = Spot((70, 71), (80,), asocs=[Asoc((72,), (81, 82))])
    ids = write([spot], tokens)
    chances = [0.5 + n / 100 for n in range(len(ids))]
    values = values_of([spot], chances)
    own = sum(math.log(chances[n]) for n in range(2, 7))  # label, label, colon, span, what stands behind it
    assert ids[2:4] == [70, 71] and ids[5] == 80 and values[id(spot)] == pytest.approx(own)
    inner = sum(math.log(chances[n]) for n in range(7, 12))
    assert ids[7] == 72 and ids[9:11] == [81, 82] and values[id(spot.asocs[0])] == pytest.approx(own + inner)
    assert UieReading().scored(Found(entities={("x", 0, 1): math.log(0.25)})).entities == {
        ("x", 0, 1): pytest.approx(0.25)
    }


# ---------------------------------------------------------------------- evidence
def test_evidence_has_steps_raw_output_and_attention(engine: UieEngine) -> None:
    text = HOSTILE["plain"]
    found = engine.extract([text], SCHEMA)[0]
    items = [*found.entities[:1], *found.relations[:1], *found.events[:1]]
    assert items
    for item in items:
        evidence = engine.explain(text, SCHEMA, item, layer=0, heads=[1])
        assert evidence.item == item and "<extra_id_0>" in evidence.raw
        assert all(0 < step.probability <= 1 and step.state and step.allowed for step in evidence.steps)
        assert evidence.steps[0].piece == "<extra_id_0>" and evidence.steps[0].state == "start"
        attention = evidence.attention
        assert attention is not None and attention.heads == (1,) and attention.layer == 0
        assert len(attention.weights[0]) == len(attention.rows) and len(attention.weights[0][0]) == len(
            attention.columns
        )
        assert all(sum(row) == pytest.approx(1, abs=1e-3) for row in attention.weights[0])
        places = [c for c in attention.columns if c.kind == "text" and c.start is not None]
        assert [text[c.start : c.end].lower() for c in places][:2] == ["marie", "curie"]
    with pytest.raises(EngineError, match="layers 0 to 1"):
        engine.explain(text, SCHEMA, items[0], layer=7)
    moved = items[0].model_copy(update={"type": "nothing"})
    with pytest.raises(EngineError, match="did not write such a result"):
        engine.explain(text, SCHEMA, moved)


# ---------------------------------------------------------------------- loading
def test_load_a_copying_model(words: Any, tmp_path: Path) -> None:
    save_copy_model(tmp_path / "uie-tiny", talkative(words), words, "int8")
    loaded = load_engine("uie", str(tmp_path / "uie-tiny"), device="cpu")
    assert isinstance(loaded, Engine) and loaded.name == "uie" and loaded.model == "uie-tiny"
    assert len(loaded.extract(["Marie in Paris"], SCHEMA)) == 1


def test_a_released_checkpoint_s_classes_load_and_run(t5: Path) -> None:
    engine = load_engine("uie", str(t5), device="cpu")
    found = engine.extract(list(HOSTILE.values()), SCHEMA)
    assert len(found) == len(HOSTILE) and engine.counts["well-formed"] == len(HOSTILE)
    texts = list(HOSTILE.values())
    assert any(each.entities or each.events for each in found)
    for text, each in zip(texts, found, strict=True):
        assert all(text[s.start : s.end].strip() for s in each.entities)
    index, spans = next((n, each.entities) for n, each in enumerate(found) if each.entities)
    evidence = engine.explain(texts[index], SCHEMA, spans[0])
    assert evidence.attention is not None and evidence.steps


def test_a_pickled_checkpoint_is_converted_first(t5: Path, tmp_path: Path) -> None:
    """As the released ones come: pytorch_model.bin; refused, converted in a process of its own, loaded with the same results."""
    from safetensors.torch import load_file

    before = UieEngine.load(str(t5), device="cpu").extract([HOSTILE["plain"]], SCHEMA)[0]
    tensors = load_file(t5 / "model.safetensors")
    (t5 / "model.safetensors").unlink()
    torch.save(tensors, t5 / "pytorch_model.bin")
    (t5 / "README.md").write_text("---\nlicense: cc-by-nc-sa-4.0\n---\n", encoding="utf-8")
    with pytest.raises(EngineError, match="workbench convert"):
        UieEngine.load(str(t5), device="cpu")
    done = convert(t5, tmp_path / "converted")
    assert "cc-by-nc-sa" in done.licence
    after = UieEngine.load(str(tmp_path / "converted"), device="cpu").extract([HOSTILE["plain"]], SCHEMA)[0]
    assert after.entities == before.entities


def test_faults_are_one_sentence(words: Any, plain_tokenizer: Any, t5: Path, tmp_path: Path, engine: UieEngine) -> None:
    plain = tmp_path / "plain"
    tiny_t5(len(plain_tokenizer)).save_pretrained(plain)
    plain_tokenizer.save_pretrained(plain)
    with pytest.raises(EngineError, match="lacks <spot>, <asoc>"):
        UieEngine.load(str(plain), device="cpu")
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text(json.dumps({"model_type": "bert"}), encoding="utf-8")
    with pytest.raises(EngineError, match="needs an encoder-decoder"):
        UieEngine.load(str(tmp_path / "bert"), device="cpu")
    with pytest.raises(EngineError, match="There is no UIE model"):
        UieEngine.load(str(tmp_path / "nothing"), device="cpu")
    with pytest.raises(EngineError, match="Name the UIE model"):
        UieEngine.load(None)
    with pytest.raises(EngineError, match="choose one of them"):
        UieEngine(engine.net, words, places="somewhere")
    with pytest.raises(EngineError, match="At least one beam"):
        UieEngine(engine.net, words, beams=0)
    with pytest.raises(EngineError, match="does not learn from examples"):
        engine.extract(["a"], SCHEMA, demonstrations=[engine.extract(["Marie"], SCHEMA)[0].select(0.0)])
