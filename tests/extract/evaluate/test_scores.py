"""The scorer against a brute-force count that knows nothing of it, and its intervals and error categories against hand counts."""

from __future__ import annotations

import random
from itertools import product

import numpy as np
import pytest

from tests.extract.made import document
from workbench.extract import ExtractError, Schema, load_engine
from workbench.extract.evaluate import METRICS, MODES, SPANS, Count, evaluate, score, within
from workbench.extract.extraction import Extraction
from workbench.extract.formats import schema_of
from workbench.extract.records import Argument, Document, Event, Relation, Span


def brute(
    golds: list[Document], preds: list[Document], metric: tuple[str, ...], by: str, mode: str
) -> tuple[int, int, int]:
    """UIE's scorer, rewritten as loops over lists: tuples as dictionaries, matching by removal."""
    right = gold_count = pred_count = 0

    def rows(d: Document) -> list[dict[str, object]]:
        def where(start: int, end: int) -> object:
            return [start, end] if by == "offset" else d.text[start:end]

        made: list[dict[str, object]] = []
        if metric[0] == "entity":
            for s in d.entities or ():
                made.append({"t": s.type, "at": where(s.start, s.end)})
        elif metric[0] == "relation":
            for r in d.relations or ():
                row: dict[str, object] = {
                    "t": r.type,
                    "h": where(r.head.start, r.head.end),
                    "d": where(r.tail.start, r.tail.end),
                }
                if metric[1] == "strict":
                    row |= {"ht": r.head.type, "dt": r.tail.type}
                made.append(row)
        else:
            for e in d.events or ():
                if metric[1] == "trigger":
                    made.append({"t": e.type, "at": where(e.trigger.start, e.trigger.end)})
                else:
                    made += [{"t": e.type, "role": a.role, "at": where(a.start, a.end)} for a in e.arguments]
        return made

    part = {"entity": "entities", "relation": "relations", "event": "events"}[metric[0]]
    for gold, pred in zip(golds, preds, strict=True):
        if getattr(gold, part) is None:
            continue
        wanted, found = rows(gold), rows(pred)
        if mode == "set":
            wanted = [row for n, row in enumerate(wanted) if row not in wanted[:n]]
            found = [row for n, row in enumerate(found) if row not in found[:n]]
        gold_count += len(wanted)
        pred_count += len(found)
        left = list(wanted)
        for row in found:
            if row in left:
                right += 1
                if mode != "multimatch":
                    left.remove(row)
    return right, gold_count, pred_count


def spoil(gold: Document, draw: random.Random) -> Document:
    """A prediction near gold: items lost, types and borders changed, things doubled."""

    def bent(s: Span) -> Span:
        end = min(s.end + draw.choice((0, 0, 0, 1)), len(gold.text))
        return Span(start=s.start, end=end, type=draw.choice((s.type, s.type, "person")))

    def some(items: tuple[object, ...]) -> list[object]:
        kept = [item for item in items if draw.random() > 0.25]
        return kept + ([draw.choice(kept)] if kept and draw.random() > 0.6 else [])

    entities = tuple(bent(s) for s in some(gold.entities or ()))  # type: ignore[arg-type]
    relations = tuple(
        Relation(type=draw.choice((r.type, "kin")), head=bent(r.head), tail=bent(r.tail))  # type: ignore[attr-defined]
        for r in some(gold.relations or ())
    )
    events = tuple(
        Event(type=e.type, trigger=bent(e.trigger), arguments=e.arguments * draw.choice((1, 2)))  # type: ignore[attr-defined]
        for e in some(gold.events or ())
    )
    return gold.model_copy(update={"entities": entities, "relations": relations, "events": events})


def corpus() -> tuple[list[Document], list[Document]]:
    draw = random.Random(1)
    gold = [document(seed, alphabet="ab a b", relations=seed % 5 != 0, events=seed % 7 != 0) for seed in range(120)]
    doubled = [
        d.model_copy(update={"entities": (*d.entities, *d.entities[:1])}) if n % 9 == 0 and d.entities else d
        for n, d in enumerate(gold)
    ]
    return doubled, [spoil(d, draw) for d in doubled]


@pytest.mark.parametrize("mode", MODES)
def test_scores_are_those_of_a_brute_force_count(mode: str) -> None:
    gold, predicted = corpus()
    found = score(gold, predicted, mode, resamples=0)
    for metric in METRICS:
        for spans in SPANS:
            expected = brute(gold, predicted, metric, spans, mode)
            assert expected[0] > 5
            assert found.scores[metric, spans].count[:3] == expected
            summed = np.sum([list(c) for c in found.scores[metric, spans].by_type.values()], axis=0)
            assert tuple(summed) == tuple(found.scores[metric, spans].count)


def test_modes_differ_where_items_are_doubled() -> None:
    text = "a a"
    gold = Document(id="1", text=text, entities=(Span(start=0, end=1, type="t"), Span(start=2, end=3, type="t")))
    once = gold.model_copy(update={"entities": (gold.entities or ())[:1] * 3})
    counts = {mode: score([gold], [once], mode, 0).scores[("entity",), "string"].count for mode in MODES}
    assert counts == {"normal": Count(2, 2, 3), "set": Count(1, 1, 1), "multimatch": Count(3, 2, 3, again=1)}


def test_what_is_found_twice_gives_no_recall_above_one() -> None:
    """Recall and precision of their own: gold that is matched by one find, and finds that match some gold."""
    text = "Paris, Paris"
    gold = Document(id="1", text=text, entities=(Span(start=0, end=5, type="city"),))
    twice = gold.model_copy(update={"entities": (*(gold.entities or ()), Span(start=7, end=12, type="city"))})
    leaf = score([gold], [twice], "multimatch").to_json()["entity"]["string"]
    assert {name: leaf[name] for name in ("right", "gold", "predicted", "precision", "recall", "f1")} == {
        "right": 2, "gold": 1, "predicted": 2, "precision": 1.0, "recall": 1.0, "f1": 1.0,
    }  # fmt: skip
    golds, predicted = corpus()
    found = score(golds, predicted, "multimatch", resamples=50)
    repeated = 0
    for metric, spans in product(METRICS, SPANS):
        right, wanted, said = brute(golds, predicted, metric, spans, "multimatch")
        matched = brute(golds, predicted, metric, spans, "normal")[0]
        one = found.scores[metric, spans]
        precision, recall = right / said, matched / wanted
        assert (one.count.precision, one.count.recall) == (precision, recall)
        assert one.count.f1 == pytest.approx(2 / (1 / precision + 1 / recall))
        for count in one.by_type.values():
            assert (
                0 <= min(count.precision, count.recall, count.f1) <= max(count.precision, count.recall, count.f1) <= 1
            )
        assert one.interval is not None and 0 <= one.interval[0] <= one.count.f1 <= one.interval[1] <= 1
        repeated += right > matched
    assert repeated > 4, "finds that match again have to be among them"
    every = [Document(id=str(n), text=text, entities=gold.entities) for n in range(3)]
    interval = score(every, [twice] * 3, "multimatch").scores[("entity",), "string"].interval
    assert interval == (1.0, 1.0)


def test_fractions_by_hand() -> None:
    count = Count(right=3, gold=4, predicted=6)
    assert (count.precision, count.recall, count.f1) == (0.5, 0.75, pytest.approx(0.6))
    assert Count(0, 0, 0).f1 == Count(0, 5, 0).f1 == 0.0


def test_what_is_not_annotated_is_not_counted() -> None:
    gold = [Document(id="1", text="ab"), Document(id="2", text="ab", entities=())]
    predicted = [d.model_copy(update={"entities": (Span(start=0, end=1, type="t"),)}) for d in gold]
    found = score(gold, predicted)
    assert found.scores[("entity",), "offset"].count == Count(0, 0, 1)
    form = found.to_json()
    assert form["entity"]["offset"]["precision"] == 0.0
    assert form["relation"]["strict"]["offset"]["f1"] is None
    assert form["event"]["argument"]["string"]["texts"] == 0


def test_interval_is_that_of_resampled_texts() -> None:
    """A plain loop over redrawn lists of texts gives the same percentiles, up to the draws."""
    gold, predicted = corpus()
    low, high = score(gold, predicted, resamples=2000).scores[("entity",), "offset"].interval or (0, 0)
    draw = random.Random(5)
    each = [brute([g], [p], ("entity",), "offset", "normal") for g, p in zip(gold, predicted, strict=True)]
    f1s = sorted(
        (lambda right, wanted, found: 2 * right / (wanted + found))(
            *map(sum, zip(*draw.choices(each, k=len(each)), strict=True))
        )
        for _ in range(2000)
    )
    assert low == pytest.approx(f1s[50], abs=0.012)
    assert high == pytest.approx(f1s[1950], abs=0.012)
    assert score(gold[:1], predicted[:1]).scores[("entity",), "offset"].interval is None


def test_error_categories() -> None:
    text = "Ann lives in New York City now"

    def spans(*rows: tuple[int, int, str]) -> tuple[Span, ...]:
        return tuple(Span(start=s, end=e, type=t) for s, e, t in rows)

    gold = Document(id="1", text=text, entities=spans((0, 3, "person"), (13, 26, "city"), (27, 30, "time")))
    predicted = gold.model_copy(update={"entities": spans((0, 3, "city"), (13, 21, "city"), (4, 9, "person"))})
    found = score([gold], [predicted], resamples=0)
    assert sorted((m.category, (m.gold or m.predicted).places[0]) for m in found.mistakes) == [  # type: ignore[union-attr]
        ("boundary", (13, 26)),
        ("missed", (27, 30)),
        ("spurious", (4, 9)),
        ("type", (0, 3)),
    ]


def test_mistakes_add_up_to_what_is_lost() -> None:
    gold, predicted = corpus()
    found = score(gold, predicted, "set", resamples=0)
    for kind, metric in (("entity", ("entity",)), ("relation", ("relation", "strict")), ("trigger", ("event", "trigger")), ("argument", ("event", "argument"))):  # fmt: skip
        count = found.scores[metric, "offset"].count
        mine = [m for m in found.mistakes if m.kind == kind]
        assert sum(m.gold is not None for m in mine) == count.gold - count.right
        assert sum(m.predicted is not None for m in mine) == count.predicted - count.right


def test_an_engine_is_scored(rule_engine: None) -> None:
    schema = Schema.of("name", "number")
    gold = [
        Document.read({"id": 1, "text": "Ada met Bo", "entities": [{"start": 0, "end": 3, "type": "name"}]}),
        Document.read({"id": 2, "text": "no", "entities": [{"start": 0, "end": 2, "type": "other"}], "relations": []}),
    ]
    steps: list[int] = []
    found = evaluate(load_engine("rules"), gold, schema, batch_size=1, progress=steps.append)
    assert found.scores[("entity",), "offset"].count == Count(1, 1, 2)
    assert (found.outside, found.texts, steps) == (1, 2, [1, 2])
    stopped = evaluate(
        load_engine("rules"), gold, schema, batch_size=1, stopped=lambda: len(steps) > 2, progress=steps.append
    )
    assert stopped.texts == 1
    assert within(gold[1], schema)[0].relations is None, "the schema asks for none"


def test_what_an_engine_does_not_look_for_has_no_score() -> None:
    """MetaNER finds entities alone: relations and events are null, not 0, no error is counted for them, and a note says why."""
    text = "Ada met Bo"
    ada, bo = Span(start=0, end=3, type="person"), Span(start=8, end=10, type="person")
    event = Event(type="meeting", trigger=Span(start=4, end=7, type="meeting"))
    gold = [
        Document(
            id="1",
            text=text,
            entities=(ada, bo),
            relations=(Relation(type="knows", head=ada, tail=bo),),
            events=(event,),
        )
    ]
    schema = schema_of(gold)
    found = evaluate(load_engine("metaner"), gold, schema, resamples=0)
    form = found.to_json()
    assert form["entity"]["offset"]["f1"] is not None
    for part in (
        form["relation"]["strict"],
        form["relation"]["boundary"],
        form["event"]["trigger"],
        form["event"]["argument"],
    ):
        assert part["offset"]["f1"] is None and part["offset"]["gold"] == 0
    assert not any(mistake.kind != "entity" for mistake in found.mistakes)
    assert any("finds entities only" in note for note in form["notes"])
    assert found.predicted[0].relations is None and found.predicted[0].events is None


def askable(schema: Schema) -> tuple[set[str], set[tuple[str, str, str]], set[tuple[str, str]]]:
    """Every entity type, relation with the types of its ends, and event type with a role, that a prediction can have."""
    whole = schema.expanded()
    types = {label.name for label in whole.entities}
    return (
        types,
        {(name, head, tail) for name in whole.relations for head, tail in product(types, types) if schema.allows(name, head, tail)},
        {(name, role) for name, roles in whole.events.items() for role in roles},
    )  # fmt: skip


SCHEMAS: tuple[dict[str, object], ...] = (
    {"entities": ["person", "x-y"], "relations": {"works for": {}, "kin": {"head": ["person"], "tail": []}}},
    {"entities": ["person", "creative work", "x-y"], "relations": {"kin": {"head": ["x-y"], "tail": ["person", "x-y"]}}},
    {"events": {"attack": ["victim"], "birth": ["place"]}},
    {"events": {"birth": []}},
    {"entities": ["creative work"], "events": {"attack": ["place", "victim"]}},
    {"entities": ["person"], "sentiment": {"polarities": ["kin"]}},
)  # fmt: skip


@pytest.mark.parametrize("form", SCHEMAS)
def test_gold_that_no_prediction_can_match_is_left_out_and_counted(form: dict[str, object]) -> None:
    schema = Schema.read(form)
    types, triples, roles = askable(schema)
    left_out = 0
    for seed in range(150):
        gold = document(seed, alphabet="ab a b", relations=seed % 5 != 0, events=seed % 7 != 0)
        kept, outside = within(gold, schema)
        entities = [s for s in gold.entities or () if s.type in types]
        relations = [r for r in gold.relations or () if (r.type, r.head.type, r.tail.type) in triples]
        events = [e for e in gold.events or () if e.type in schema.events]
        arguments = [(e.key, a.key) for e in events for a in e.arguments if (e.type, a.role) in roles]
        assert list(kept.entities or ()) == entities and list(kept.relations or ()) == relations
        assert [e.key for e in kept.events or ()] == [e.key for e in events]
        assert [(e.key, a.key) for e in kept.events or () for a in e.arguments] == arguments
        every = len(gold.entities or ()) + len(gold.relations or ()) + len(gold.events or ())
        roles_lost = sum(len(e.arguments) for e in events) - len(arguments)
        assert outside == every - len(entities) - len(relations) - len(events) + roles_lost
        asked = (bool(types), bool(triples or schema.relations), bool(schema.events))
        parts = (("entities", asked[0]), ("relations", asked[1]), ("events", asked[2]))
        for part, there in parts:
            assert (getattr(kept, part) is not None) == (there and getattr(gold, part) is not None)
        left_out += outside
    assert left_out > 0


def bombing() -> Document:
    """A relation between a person and an organisation, an attack with two roles."""
    text = "Ann of Acme saw the raid on Rome"
    ann, acme = Span(start=0, end=3, type="person"), Span(start=7, end=11, type="org")
    arguments = (Argument(role="target", start=28, end=32), Argument(role="place", start=28, end=32))
    raid = Event(type="attack", trigger=Span(start=20, end=24, type="attack"), arguments=arguments)
    return Document(id="1", text=text, entities=(ann, acme), relations=(Relation(type="works", head=ann, tail=acme),), events=(raid,))  # fmt: skip


class Knowing:
    """An engine that finds everything in gold that a schema can ask for."""

    name, model, device = "knowing", None, "cpu"

    def __init__(self, gold: list[Document], silent: bool = False) -> None:
        self.gold, self.silent, self.calls = {d.text: d for d in gold}, silent, 0

    def extract(self, texts: list[str], schema: Schema, *_: object, **__: object) -> list[Extraction]:
        self.calls += 1
        types, triples, roles = askable(schema)
        made = []
        for text in texts:
            gold = Document(id="", text=text) if self.silent else self.gold[text]
            events = [
                e.model_copy(update={"arguments": tuple(a for a in e.arguments if (e.type, a.role) in roles)})
                for e in gold.events or ()
                if e.type in schema.events
            ]
            made.append(
                Extraction(
                    text=text,
                    wanted=schema.expanded(),
                    entities=tuple(s for s in gold.entities or () if s.type in types),
                    relations=tuple(r for r in gold.relations or () if (r.type, r.head.type, r.tail.type) in triples),
                    events=tuple(events),
                )
            )
        return made


@pytest.mark.parametrize(
    ("form", "outside", "golds"),
    [
        ({"events": {"attack": ["target"]}}, 4, {"trigger": 1, "argument": 1}),
        ({"events": {"attack": []}}, 5, {"trigger": 1}),
        ({"entities": ["person"], "relations": {"works": {}}}, 3, {"entity": 1, "strict": 0, "boundary": 0}),
        ({"entities": ["person", "org"], "relations": {"works": {"head": ["org"]}}}, 2, {"entity": 2, "strict": 0, "boundary": 0}),
        ({"entities": ["person", "org"], "relations": {"works": {}}}, 1, {"entity": 2, "strict": 1, "boundary": 1}),
        (None, 0, {"entity": 2, "strict": 1, "boundary": 1, "trigger": 1, "argument": 2}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("silent", [False, True])
def test_parts_that_are_not_asked_for_are_null(
    form: dict[str, object] | None, outside: int, golds: dict[str, int], silent: bool
) -> None:
    """Hand counts: who finds all that can be asked has no error, and a figure stands for just what is asked."""
    gold = [bombing()]
    engine = Knowing(gold, silent)
    found = evaluate(engine, gold, schema_of(gold) if form is None else Schema.read(form), resamples=0)  # type: ignore[arg-type]
    assert found.to_json()["gold_outside_schema"] == outside
    for metric, spans in product(METRICS, SPANS):
        score_, leaf = found.scores[metric, spans], found.scores[metric, spans].to_json()
        if metric[-1] in golds:
            count = golds[metric[-1]]
            assert (score_.texts, leaf["gold"], leaf["f1"]) == (1, count, 1.0 if count and not silent else 0.0)
        else:
            assert (score_.texts, leaf["precision"], leaf["recall"], leaf["f1"]) == (0, None, None, None)
    assert silent or not found.mistakes


def test_an_end_without_a_type_is_taken_anywhere() -> None:
    text = "Ann of Acme"
    ends = [Span(start=0, end=3, type=""), Span(start=7, end=11, type="org")]
    gold = Document(id="1", text=text, relations=(Relation(type="works", head=ends[0], tail=ends[1]),))
    schema = Schema.of("person", "org", relations={"works": {"head": ["person"], "tail": ["org"]}})
    assert within(gold, schema) == (gold, 0)
    assert within(gold, Schema.of("org", relations={"works": {}})) == (gold, 0)
    assert within(gold, Schema.of("person", relations={"works": {}}))[1] == 1


def test_what_the_schema_of_texts_asks_for_is_all_of_them() -> None:
    documents = [document(seed, alphabet="ab a b") for seed in range(60)]
    schema = schema_of(documents)
    assert all(within(each, schema) == (each, 0) for each in documents)


def test_sentiment_is_asked_for_by_its_entities_and_relations() -> None:
    aspect, opinion = Span(start=0, end=4, type="aspect"), Span(start=8, end=12, type="opinion")
    triplet = Relation(type="positive", head=aspect, tail=opinion)
    turned = Relation(type="positive", head=opinion, tail=aspect)
    gold = Document(id="1", text="soup is fine", entities=(aspect, opinion), relations=(triplet, turned))
    assert within(gold, Schema.read({"sentiment": {}})) == (gold.model_copy(update={"relations": (triplet,)}), 1)
    kept, outside = within(gold, Schema.read({"sentiment": {"polarities": ["negative"]}}))
    assert (kept.relations, outside) == ((), 2)


@pytest.mark.parametrize("options", [{"mode": "odd"}, {"seed": -1}])
def test_wrong_options_are_found_before_the_engine_runs(options: dict[str, object]) -> None:
    engine = Knowing([bombing()])
    with pytest.raises(ExtractError, match=r"(odd|-1).*: choose .*\.$"):
        evaluate(engine, [bombing()], Schema.of("person"), **options)  # type: ignore[arg-type]
    assert engine.calls == 0


def test_faults_in_one_sentence() -> None:
    one = Document(id="1", text="a")
    for gold, predicted, mode in (([one], [], "normal"), ([one], [one.model_copy(update={"text": "b"})], "normal"), ([one.model_copy(update={"entities": ()})], [one], "odd")):  # fmt: skip
        with pytest.raises(ExtractError, match=r"\.$"):
            score(gold, predicted, mode)
    with pytest.raises(ExtractError, match="empty"):
        evaluate(None, [], Schema.of("a"))  # type: ignore[arg-type]
