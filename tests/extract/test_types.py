"""Schema, annotated text, extraction and engines: what they take, and the one sentence they refuse with."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.extract.made import document
from workbench.extract import EngineError, Extraction, RecordError, Schema, SchemaError, Span, engines, load_engine
from workbench.extract.engines import write_json_schemas
from workbench.extract.extraction import flat
from workbench.extract.records import Argument, Document, Event, Relation, read_documents, write_documents

WHOLE = {
    "entities": ["person", {"name": "gene", "description": "a stretch of DNA", "threshold": 0.6}],
    "relations": {"carries": {"head": ["person"], "tail": ["gene"]}},
    "events": {"mutation": ["site", "cause"]},
    "sentiment": {"polarities": ["good", "bad"]},
}


def test_schema_has_one_json_form() -> None:
    schema = Schema.read(WHOLE)
    assert schema.to_json() == WHOLE
    assert Schema.parse(schema.dumps()) == schema
    assert schema.size == 2 + 1 + 1 + 2 + 4


def test_sentiment_is_short_for_entities_and_relations() -> None:
    short = Schema.read({"sentiment": {}})
    ends = {"head": ["aspect"], "tail": ["opinion"]}
    long = Schema.read(
        {"entities": ["aspect", "opinion"], "relations": dict.fromkeys(("positive", "negative", "neutral"), ends)}
    )
    assert short.expanded() == long
    assert long.expanded() is long
    assert short.allows("positive", "aspect", "opinion")
    assert not short.allows("positive", "opinion", "aspect")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({}, "empty"),
        ({"entities": []}, "empty"),
        ([], "a list"),
        ({"entities": ["a", "a"]}, "'a' is declared twice"),
        ({"entities": ["a", {"name": "a"}]}, "'a' is declared twice"),
        ({"events": {"x": ["r", "r"]}}, "'r' is declared twice"),
        ({"entities": ["a"], "relations": {"r": {"head": ["b"], "tail": ["a"]}}}, "names 'b' as its head"),
        ({"relations": {"r": {"head": [], "tail": []}}, "events": {"e": []}}, "need entity types"),
        ({"entitys": ["a"]}, "entitys: this key is not known"),
        (
            {"entities": [{"name": "a", "threshold": 2}]},
            "threshold: a number of at most 1 was expected here, but 2 came",
        ),
        ({"entities": [{"name": "a", "threshold": "x"}]}, "threshold: a number was expected here, but 'x' came"),
        ({"entities": "person"}, "entities: a list was expected here, but 'person' came"),
        ({"relations": ["r"]}, "relations: an object with names as keys was expected here"),
        ({"entities": [5]}, "entities.0"),
        ({"sentiment": {"polarities": []}}, "sentiment.polarities: a list of at least 1 was expected here"),
        ({"events": {"attack": None}}, "events.attack: a list was expected here, but null came"),
        ({"entities": ["  "]}, "entities.0.name: a name with at least one visible character"),
        ({"entities": ["a" * 201]}, "at most 200 characters"),
        ({"entities": [f"t{n}" for n in range(20_001)]}, "20,001 labels"),
    ],
)
def test_schemas_refused_in_one_sentence(value: object, words: str) -> None:
    with pytest.raises(SchemaError) as fault:
        Schema.read(value)
    said = str(fault.value)
    assert words in said
    assert said.endswith(".")
    assert "\n" not in said


@pytest.mark.parametrize(
    "text",
    [
        '{"entities": [' + "9" * 5000 + "]}",
        "{",
        '{"entities": ["a"], "entities": ["b"]}',
        '{"events": {"e": [], "e": []}}',
        "[" * 100_000,
        "nothing",
    ],
)
def test_schema_texts_refused(text: str) -> None:
    with pytest.raises(SchemaError, match=r"\.$"):
        Schema.parse(text)


def test_a_blank_schema_text_is_said_to_be_empty() -> None:
    with pytest.raises(SchemaError, match="The schema is empty"):
        Schema.parse(" \n")


def test_five_hundred_labels_and_any_script() -> None:
    names = [f"type {n}" for n in range(500)] + ["人物", "<b>x</b>", "اسم", "👩‍🔬"]
    assert list(Schema.of(*names).labels()) == names


def test_offsets_are_code_points() -> None:
    text = "👩‍🔬 Ada 中"
    start = text.index("Ada")
    given = Document.read({"id": 1, "text": text, "entities": [{"start": start, "end": start + 3, "type": "p"}]})
    assert given.id == "1"
    assert start == 4  # 5 in UTF-16


@pytest.mark.parametrize(("start", "end"), [(0, 4), (2, 2), (2, 1), (-1, 2), (99, 100)])
def test_offsets_outside_are_refused(start: int, end: int) -> None:
    with pytest.raises(RecordError, match=r"\.$"):
        Document.read({"id": "1", "text": "abc", "entities": [{"start": start, "end": end, "type": "p"}]})


def test_documents_pass_unknown_fields_through(tmp_path: Path) -> None:
    row = {
        "id": "7",
        "text": "ab",
        "source": {"page": 3},
        "entities": [{"start": 0, "end": 1, "type": "x", "by": "me"}],
    }
    (tmp_path / "a.jsonl").write_text("\ufeff" + json.dumps(row) + "\n\n" + json.dumps({"text": "b"}))
    first, second = read_documents(tmp_path / "a.jsonl")
    assert json.loads(first.dumps()) == row
    assert (second.id, second.entities) == ("3", None)


def test_writing_is_whole_or_nothing(tmp_path: Path) -> None:
    write_documents(tmp_path / "a.jsonl", [document(1)])
    before = (tmp_path / "a.jsonl").read_bytes()

    def breaks() -> object:
        yield document(2)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_documents(tmp_path / "a.jsonl", breaks())  # type: ignore[arg-type]
    assert (tmp_path / "a.jsonl").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.jsonl"]


def span(start: int, end: int, type_: str, score: float) -> Span:
    return Span(start=start, end=end, type=type_, score=score)


def extraction() -> Extraction:
    york, new_york, ann = span(4, 8, "person", 0.5), span(0, 8, "city", 0.9), span(12, 15, "person", 0.7)
    return Extraction(
        text="New York by Ann burns",
        wanted=Schema.of(
            "city", {"name": "person", "threshold": 0.6}, events={"fire": ["who"]}, relations={"lives in": {}}
        ),  # type: ignore[arg-type]
        entities=(york, new_york, ann),
        relations=(
            Relation(type="lives in", head=ann, tail=new_york, score=0.4),
            Relation(type="lives in", head=york, tail=new_york, score=0.9),
        ),
        events=(
            Event(
                type="fire",
                trigger=span(16, 21, "fire", 0.8),
                score=0.8,
                arguments=(
                    Argument(role="who", start=12, end=15, score=0.3),
                    Argument(role="who", start=0, end=8, score=0.6),
                ),
            ),
        ),
    )


def test_selecting_needs_no_model() -> None:
    found = extraction().select()
    assert [s.key for s in found.entities or ()] == [
        (0, 8, "city"),
        (12, 15, "person"),
    ]  # person has a threshold of its own
    assert found.relations == ()  # one is below the threshold, and the head of the other did not stay
    assert [len(e.arguments) for e in found.events or ()] == [1]
    low = extraction().select(threshold=0.3)
    assert [r.head.key for r in low.relations or ()] == [(12, 15, "person")]
    assert [len(e.arguments) for e in low.events or ()] == [2]
    only = extraction().select(threshold=0.3, labels={"city"})
    assert ([s.type for s in only.entities or ()], only.relations, only.events) == (["city"], (), ())


def test_a_kind_may_have_a_least_score_of_its_own_until_one_is_chosen() -> None:
    whole = extraction().model_copy(update={"advised": {"relation": 0.35, "argument": 0.2, "trigger": 0.75}})
    found = whole.select()
    assert [s.key for s in found.entities or ()] == [(0, 8, "city"), (12, 15, "person")]  # as without
    assert [r.score for r in found.relations or ()] == [0.4]
    assert [len(e.arguments) for e in found.events or ()] == [2]
    assert whole.model_copy(update={"advised": {"trigger": 0.85}}).select().events == ()
    assert whole.select(threshold=0.5) == extraction().select(threshold=0.5)


def test_least_scores_of_kinds_move_along_and_a_lower_threshold_never_takes_away() -> None:
    whole = extraction().model_copy(update={"threshold": 0.5, "advised": {"relation": 0.2, "argument": 0.9}})
    assert whole.leasts() == whole.leasts(0.5, along=True)
    assert whole.leasts(0.25, along=True) == pytest.approx(
        {"entity": 0.25, "relation": 0.1, "trigger": 0.25, "argument": 0.45}
    )
    assert whole.leasts(0.75, along=True) == pytest.approx(
        {"entity": 0.75, "relation": 0.6, "trigger": 0.75, "argument": 0.95}
    )
    assert set(whole.leasts(0.4).values()) == {0.4}, "alone it holds for every kind"
    steps = [whole.leasts(n / 50, along=True) for n in range(51)]
    for before, after in itertools.pairwise(steps):
        assert all(before[kind] < after[kind] for kind in before)
    assert set(steps[0].values()) == {0.0} and list(steps[-1].values()) == pytest.approx([1.0] * 4)
    for edge in (0.0, 1.0):  # an engine that advises the end of the range
        assert whole.model_copy(update={"threshold": edge}).leasts(edge, along=True)["relation"] == 0.2


@pytest.mark.parametrize("seed", range(40))
def test_flat_is_the_greedy_choice(seed: int) -> None:
    import random

    draw = random.Random(seed)
    spans = []
    for _ in range(draw.randint(0, 14)):
        start, end = sorted(draw.sample(range(20), 2))
        spans.append(span(start, end, draw.choice("ab"), draw.choice((0.2, 0.5, 0.9))))
    chosen: list[Span] = []
    for each in sorted(spans, key=lambda s: (-(s.score or 0), s.start - s.end, s.start, s.type)):
        if not any(set(range(each.start, each.end)) & set(range(other.start, other.end)) for other in chosen):
            chosen.append(each)
    assert flat(spans) == sorted(chosen, key=lambda s: s.start)


def test_flat_keeps_the_best_of_overlapping() -> None:
    spans = [
        span(0, 4, "a", 0.6),
        span(2, 6, "b", 0.9),
        span(5, 9, "c", 0.7),
        span(9, 10, "d", 0.1),
        span(0, 4, "e", 0.6),
    ]
    assert [s.type for s in flat(spans)] == ["b", "d"]
    assert [s.type for s in flat([span(0, 2, "short", 0.5), span(0, 3, "long", 0.5)])] == ["long"]


def test_flat_gives_a_stretch_one_role_in_an_event() -> None:
    def attack(at: int, *arguments: Argument) -> Event:
        return Event(trigger=Span(start=at, end=at + 5, type="attack"), type="attack", score=0.9, arguments=arguments)

    attacker = Argument(role="attacker", start=0, end=7, score=0.8)
    victim, tail = (Argument(role="victim", start=at, end=7, score=score) for at, score in ((0, 0.6), (3, 0.7)))
    time = Argument(role="time", start=13, end=18, score=0.5)
    both = attack(8, victim, attacker, tail, time), attack(20, victim)
    whole = Extraction(
        text="Hackers stole today. Hacks", wanted=Schema.read({"events": {"attack": ["attacker", "victim", "time"]}}), events=both
    )  # fmt: skip
    first, second = whole.select(0.5, nested=False).events or ()
    assert first.arguments == (attacker, time)
    assert second.arguments == (victim,), "what another event says of the same words does not count"
    assert (whole.select(0.5).events or ())[0].arguments == both[0].arguments


def test_engines_are_listed_without_loading_them() -> None:
    code = "import sys; from workbench.extract import engines; print(sorted(engines()), 'torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "'usm'" in out.stdout
    assert out.stdout.strip().endswith("False")


def test_unknown_engine_names_those_there_are() -> None:
    with pytest.raises(EngineError, match=r"choose one of .*usm"):
        load_engine("none such")


def test_plug_ins_are_found(rule_engine: None) -> None:
    assert engines()["rules"].title == "Rules"
    found = load_engine("rules").extract(["Ada met Bo."], {"entities": ["name"]})
    assert [s.key for s in found[0].select().entities or ()] == [(0, 3, "name"), (8, 10, "name")]


def test_published_json_schemas_are_current(tmp_path: Path) -> None:
    published = Path(__file__).resolve().parents[2] / "docs" / "schemas"
    for path in write_json_schemas(tmp_path):
        assert path.read_text() == (published / path.name).read_text(), (
            "run workbench.extract.engines.write_json_schemas"
        )


def test_schemas_compare_after_they_were_written_out() -> None:
    one, other = Schema.read(WHOLE), Schema.read(WHOLE)
    assert one.expanded() != one and one == other
    plain, same = Schema.of("a"), Schema.of("a")
    assert plain.expanded() is plain
    assert plain == same and plain != Schema.of("b")
