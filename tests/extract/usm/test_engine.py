"""The engine from the outside: offsets in any text, many labels, long texts, faults in one sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.extract.usm.made_sets import SCHEMA
from workbench.extract import EngineError, SchemaError, load_engine
from workbench.extract.engines import Engine
from workbench.extract.records import Relation
from workbench.extract.schema import Schema
from workbench.extract.usm.decode import LinkScores, linked, mentions
from workbench.extract.usm.engine import UsmEngine
from workbench.extract.usm.links import Gold
from workbench.extract.usm.model import UsmModel
from workbench.extract.usm.passes import Found, Window
from workbench.extract.usm.pieces import encode_texts
from workbench.extract.usm.plan import Block, blocks, windows
from workbench.extract.usm.reading import KINDS, Curve, Reading
from workbench.extract.usm.roundtrip import perfect
from workbench.extract.usm.weights import CONFIG, WEIGHTS

HOSTILE = {
    "right to left": "שלום Marie Curie مرحبا بكم في Paris",
    "emoji": "Marie 👩‍🔬🇫🇷 met Pierre 😀😀 in Paris",
    "glued emoji": "Marie🙂Curie met Pierre👍🏽 in Paris🇫🇷.",
    "zero width": "Ma\u200brie\u200d Curie\ufeff in \u2060Paris",
    "combining": "Cafe\u0301 de Marie e\u0301\u0301\u0301 Curie",
    "html": "<script>alert('Marie')</script> & <b>Paris</b>",
    "astral": "𝔐𝔞𝔯𝔦𝔢 in 𝕻aris",
    "chinese": "居里夫人 Marie 出生在华沙。",
    "white": " \t\n Marie \u00a0\u3000 Paris \r\n ",
    "controls": "Marie\x00\x01 Curie\x7f",
    "one long word": "x" * 3000 + " Marie",
}


def test_it_is_an_engine_and_loads_by_name(folder: Path) -> None:
    loaded = load_engine("usm", str(folder), device="cpu")
    assert isinstance(loaded, Engine) and loaded.name == "usm" and loaded.model == folder.name
    assert len(loaded.extract(["Marie in Paris"], SCHEMA)) == 1


@pytest.mark.parametrize("what", HOSTILE)
def test_offsets_are_code_points_of_the_text_as_given(engine: UsmEngine, what: str) -> None:
    text = HOSTILE[what]
    found = engine.extract([text], SCHEMA)[0]
    assert found.text == text and found.entities
    for span in found.entities:
        mention = text[span.start : span.end]
        assert mention and mention == mention.strip(), "no mention is empty or begins or ends in white space"
    for relation in found.relations:
        assert (
            text[relation.head.start : relation.head.end].strip()
            and text[relation.tail.start : relation.tail.end].strip()
        )
    found.select(0.0)


def test_a_word_is_found_where_it_stands_behind_emoji(engine: UsmEngine) -> None:
    """Every span of pieces is a candidate at the floor of an untrained model, so that of the word must be among them, exactly."""
    engine.reading = Reading("mean", 0.5, {"mean": {"entity": Curve(0.01, 0.0)}})
    text = "👩‍🔬🇫🇷😀 Marie שלום Paris"
    found = engine.extract([text], {"entities": ["person"]})[0]
    for word in ("Marie", "Paris"):
        assert (text.index(word), text.index(word) + len(word)) in {(s.start, s.end) for s in found.entities}


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "\u200b\u200b"])
def test_texts_without_a_word_give_nothing(engine: UsmEngine, text: str) -> None:
    found = engine.extract([text, "Marie"], SCHEMA)
    assert len(found) == 2 and not found[0].entities and found[0].text == text


def test_a_text_of_100_000_characters_has_global_offsets(engine: UsmEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that links each "Pierre" to the label and nothing else: every one is found, at its own place of the whole text."""
    text = ("Marie met Pierre . " * 5300)[:100_000]

    def sure(windows: Sequence[Window], plan: Sequence[Block], *_: Any) -> Iterator[tuple[int, int, LinkScores]]:
        for w, window in enumerate(windows):
            pieces = window.pieces
            starts = [n for n, start in enumerate(pieces.starts) if text.startswith("Pierre", int(start))]
            gold = Gold()
            for first in starts:
                if (span := pieces.span(int(pieces.starts[first]), int(pieces.starts[first]) + 6)) is not None:
                    gold.typed.add((0, span))
            yield w, 0, perfect(gold, len(pieces), plan[0])

    monkeypatch.setattr(engine.passes, "link_scores", sure)
    engine.reading = Reading("strict", 0.5)
    found = engine.extract([text], {"entities": ["person"]})[0]
    assert "windows" in found.notes[0]
    assert [s.start for s in found.entities] == [m.start() for m in re.finditer("Pierre", text)]
    assert {text[s.start : s.end] for s in found.entities} == {"Pierre"}


def test_windows_cover_every_piece_overlap_and_cut_between_words(tokenizer: Any) -> None:
    pieces = encode_texts(tokenizer, ["Marie Curie zzyzx worked in Paris qqq " * 20])[0]
    cut = windows(pieces, 20, 6)
    assert cut[0][0] == 0 and cut[-1][1] == len(pieces)
    for (a, b), (c, d) in pairwise(cut):
        assert b - a <= 20 and a < c < b < d, "each goes on before the one before it ends"
        assert pieces.words[b] != pieces.words[b - 1] and pieces.words[c] != pieces.words[c - 1]


def test_short_text_gives_the_same_alone_and_inside_windows(engine: UsmEngine) -> None:
    assert len(engine.windows(["Marie met Pierre"])) == 1


def test_500_labels_are_asked_in_blocks(engine: UsmEngine) -> None:
    found = engine.extract(["Marie in Paris"], {"entities": [f"type {n}" for n in range(500)]})[0]
    assert "passes" in found.notes[-1]
    plan = blocks(Schema.of(*(f"type {n}" for n in range(500))), 8)
    assert sorted(name for block in plan for name in block.entities) == sorted(f"type {n}" for n in range(500))
    assert all(len(block.prompt.labels) <= 8 for block in plan)


def test_what_is_not_read_of_the_schema_is_said(engine: UsmEngine) -> None:
    engine.usm.config.max_labels = 100
    plain = {"entities": [{"name": "person", "description": "pierre and her husband"}, "city"], "events": {"city": []}}
    assert not engine.extract(["Marie"], plain)[0].notes
    long = {"name": "company", "description": "museum " * 30}
    notes = engine.extract(["Marie"], {"entities": ["Person", "person", "CITY", long]})[0].notes
    assert [("24 pieces" in n and "company" in n, "alike" in n and "Person, person" in n) for n in notes] == [
        (True, False),
        (False, True),
    ]


def test_events_can_be_asked_apart(model: UsmModel, tokenizer: Any) -> None:
    """Every result has its links in one pass; a schema of one kind stays one pass."""
    schema = Schema.read(SCHEMA).expanded()
    assert schema.events and schema.relations
    rest, events = blocks(schema, 100, events_apart=True)
    assert rest.entities and rest.relations and not rest.events and not rest.roles
    assert events.events and events.roles and not events.entities and not events.relations
    assert len(blocks(schema.model_copy(update={"events": {}}), 100, events_apart=True)) == 1
    assert len(blocks(schema.model_copy(update={"entities": (), "relations": {}}), 100, events_apart=True)) == 1
    model.config.max_labels, model.config.events_apart = 100, True
    together, apart = (UsmEngine(model, tokenizer) for _ in range(2))
    found = apart.extract(["marie curie worked in paris"], SCHEMA)[0]
    assert "2 passes" in found.notes[-1] and "events apart" in found.notes[-1]
    model.config.events_apart = False
    assert not any("passes" in note for note in together.extract(["marie curie worked in paris"], SCHEMA)[0].notes)


def test_blocks_keep_what_belongs_together() -> None:
    schema = Schema.read(
        {
            "entities": [f"e{n}" for n in range(10)],
            "relations": {f"r{n}": {"head": [f"e{n}"], "tail": [f"e{9 - n}"]} for n in range(10)},
            "events": {f"v{n}": [f"a{n}", "shared"] for n in range(5)},
        }
    )
    plan = blocks(schema, 6)
    assert all(len(block.prompt.labels) <= 6 for block in plan)
    for name, rule in schema.relations.items():
        assert any(name in b.relations and {*rule.head, *rule.tail} <= set(b.entities) for b in plan)
    for name, roles in schema.events.items():
        assert any(name in b.events and set(roles) <= set(b.roles) for b in plan)
    assert {name for b in plan for name in b.entities} == {label.name for label in schema.entities}
    for block in plan:
        numbers = [*block.entities.values(), *block.events.values(), *block.relations.values(), *block.roles.values()]
        assert numbers == list(range(len(block.prompt.labels)))


def test_faults_are_one_sentence(engine: UsmEngine, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="declared twice"):
        engine.extract(["a"], {"entities": ["person", "person"]})
    with pytest.raises(SchemaError, match="no entity type of that name"):
        engine.extract(["a"], {"entities": ["person"], "relations": {"r": {"head": ["ghost"], "tail": []}}})
    with pytest.raises(SchemaError, match="empty"):
        engine.extract(["a"], {})
    with pytest.raises(EngineError, match="holds no USM model"):
        UsmEngine.load(str(tmp_path))
    (folder / CONFIG).write_text('{"model_type": "bert"}', encoding="utf-8")
    with pytest.raises(EngineError, match="not usm"):
        UsmEngine.load(str(folder))
    with pytest.raises(EngineError, match="choose one of them"):
        UsmEngine(engine.usm, engine.tokenizer, decoding="best")


def test_a_damaged_file_is_one_sentence(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: len(data) // 2])
    with pytest.raises(EngineError, match="cannot be read"):
        UsmEngine.load(str(folder))


@pytest.mark.parametrize(
    "change",
    [
        {"window": 0}, {"overlap": 48}, {"max_labels": "8"}, {"head_size": True}, {"encoder": {}}, {"decoding": {"foo": 1}}, {"decoding": [1]},
        {"decoding": {"mode": "best", "threshold": 0.5, "curves": {}}}, {"decoding": {"mode": "mean", "threshold": 1.5, "curves": {}}},
        {"decoding": {"mode": "mean", "threshold": 0.5, "curves": {"mean": {"entity": {"slope": 0.0, "offset": 1.0}}}}},
        {"decoding": {"mode": "mean", "threshold": 0.5, "curves": {"mean": {"entity": 3}}}}, None,
    ],
    ids=str,
)  # fmt: skip
def test_a_configuration_that_cannot_be_is_one_sentence(folder: Path, change: dict[str, Any] | None) -> None:
    values = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    UsmEngine.load(str(folder), device="cpu")
    (folder / CONFIG).write_text(json.dumps([1] if change is None else values | change), encoding="utf-8")
    with pytest.raises(EngineError, match=r"cannot be read \(.+\): get the whole folder again") as fault:
        UsmEngine.load(str(folder), device="cpu")
    assert "\n" not in str(fault.value)


def test_a_stored_configuration_names_the_model(folder: Path) -> None:
    values = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    assert values["model_type"] == "usm" and values["architectures"] == ["UsmModel"]


def test_stopping_keeps_whole_texts(engine: UsmEngine) -> None:
    done: list[int] = []
    found = engine.extract(
        ["Marie"] * 10, SCHEMA, batch_size=2, progress=done.append, stopped=lambda: bool(done) and done[-1] >= 4
    )
    assert done == [2, 4] and len(found) == 4


def test_a_long_text_says_how_many_of_its_passes_are_done_and_stops_between_them(engine: UsmEngine) -> None:
    text, said = "Marie Curie worked in Paris . " * 40, []
    whole = engine.extract([text], SCHEMA, passes=lambda done, total: said.append((done, total)))
    windows = len(engine.windows([text]))
    assert windows > 3 and {total for _, total in said} == {said[-1][0]} and said[-1][0] % windows == 0
    assert [done for done, _ in said] == list(range(1, len(said) + 1)) and whole[0].text == text
    counted = len(said)
    assert (
        engine.extract(
            [text], SCHEMA, batch_size=1, passes=lambda *at: said.append(at), stopped=lambda: len(said) > counted
        )
        == []
    )
    assert len(said) < 2 * counted


def test_batch_size_changes_nothing(engine: UsmEngine) -> None:
    texts = [HOSTILE["emoji"], "Marie", "Marie Curie worked in Paris", ""]
    one, many = engine.extract(texts, SCHEMA, batch_size=1), engine.extract(texts, SCHEMA, batch_size=4)
    for a, b in zip(one, many, strict=True):
        values = {s.key: s.score for s in a.entities}
        for span in b.entities:
            assert span.key in values or abs((span.score or 0) - b.floor) < 1e-3
            if span.key in values:
                assert span.score == pytest.approx(values[span.key], abs=2e-3)


# ---------------------------------------------------------------------- decoding against plain loops
def random_links(length: int, labels: int, seed: int) -> LinkScores:
    draw = np.random.default_rng(seed)

    def made(*shape: int) -> Any:
        return draw.normal(0, 2, shape).astype(np.float32)

    return LinkScores(
        made(length, length), made(length, length), made(length, length), made(labels, length), made(labels, length), made(length, labels),
        made(length, labels),
    )  # fmt: skip


@pytest.mark.parametrize("mode", ["strict", "mean"])
def test_mentions_and_pairs_against_plain_loops(mode: str) -> None:
    sum_up = min if mode == "strict" else (lambda values: sum(values) / len(values))
    scores = random_links(6, 3, 5)
    expected = {
        (label, (h, t))
        for label in range(3)
        for h in range(6)
        for t in range(h, 6)
        if sum_up([scores.H2T[h, t], scores.L2H[label, h], scores.L2T[label, t]]) > 0
    }
    assert {(m.label, m.span) for m in mentions(scores, [0, 1, 2], mode, 0.0)} == expected
    subjects, objects = [(0, 1), (2, 2), (3, 5)], [(1, 1), (0, 4), (3, 5)]
    pairs = {
        (s, o)
        for s in subjects
        for o in objects
        if sum_up(
            [
                scores.H2T[s], scores.H2T[o], scores.H2H[s[0], o[0]], scores.T2T[s[1], o[1]], scores.L2H[2, o[0]], scores.L2T[2, o[1]],
                scores.H2L[s[0], 2], scores.T2L[s[1], 2],
            ]
        )
        > -1.0
    }  # fmt: skip
    got = linked(scores, 2, subjects, objects, mode, -1.0, 0.0)
    assert {(p.subject, p.object) for p in got} == pairs


def test_a_curve_is_its_own_inverse() -> None:
    curve = Curve(1.7, -0.4)
    assert curve.probability(curve.value(0.05)) == pytest.approx(0.05)
    reading = Reading("mean", 0.45, {"strict": {"entity": curve}, "mean": {"entity": Curve(2.0, 0.1)}})
    assert Reading.from_json(reading.to_json()) == reading


def test_a_threshold_of_0_keeps_every_candidate(engine: UsmEngine) -> None:
    """It is a threshold that a configuration may state."""
    engine.reading = Reading.from_json({"mode": "mean", "threshold": 0.0, "curves": {}})
    found = engine.extract(["Marie in Paris"], {"entities": ["person"]})[0]
    assert {(s.start, s.end) for s in found.select().entities or ()} >= {(0, 5), (0, 8), (0, 14), (6, 8), (9, 14)}


@pytest.mark.parametrize("offset", [-5.0, -0.7, 0.9])
def test_strict_takes_what_has_its_weakest_link_above_0_whatever_the_curves(engine: UsmEngine, offset: float) -> None:
    """The paper's rule for every kind: curves name probabilities and decide nothing, though 0 means another one for each kind."""
    slopes = dict(zip(KINDS, (0.6, 0.9, 1.3, 1.7), strict=True))
    curves = {kind: Curve(slope, offset * slope) for kind, slope in slopes.items()}
    learnt = Reading("mean", 0.4, {"strict": curves, "mean": curves}, {"relation": 0.2})
    text, schema = "a b c d e f", Schema.read(SCHEMA).expanded()
    weakest = dict(zip([(n, n + 1) for n in range(0, 11, 2)], (0.2, -0.2, 3.0, -3.0, 0.5, -0.5), strict=True))
    people = {("person", *at): 9.0 for at in weakest} | {("company", *at): 9.0 for at in weakest}
    found = Found(
        entities=people | {("city", *at): value for at, value in weakest.items()},
        triggers={("attack", *at): value for at, value in weakest.items()},
        relations={("works for", (0, 1), at): value for at, value in weakest.items()},
        arguments={(("attack", 0, 1), "victim", at): value for at, value in weakest.items()},
    )
    engine.reading = learnt.of("strict")
    accepted = [at for at, value in weakest.items() if value > 0]
    reach = {kind: engine.reading.least(kind) for kind in KINDS}
    assert max(reach.values()) <= 0.2, "what is accepted is a candidate"
    made = engine._extraction(text, schema, found, 1, 1).select()
    assert [(s.start, s.end) for s in made.entities or () if s.type == "city"] == accepted
    assert [(e.trigger.start, e.trigger.end) for e in made.events or ()] == accepted
    assert [(r.tail.start, r.tail.end) for r in made.relations or ()] == accepted
    assert [(a.start, a.end) for e in made.events or () for a in e.arguments] == accepted


def test_relations_keep_to_their_types(engine: UsmEngine) -> None:
    found = engine.extract(["Marie Curie worked in Paris for the museum"], SCHEMA)[0]
    works = [r for r in found.relations if r.type == "works for"]
    assert all(isinstance(r, Relation) and r.head.type == "person" and r.tail.type == "company" for r in works)
    polarity = [r for r in found.relations if r.type == "positive"]
    assert polarity and all(r.head.type == "aspect" and r.tail.type == "opinion" for r in polarity)
    for event in found.events:
        assert event.type == "attack" and {a.role for a in event.arguments} <= {"victim", "place"}
