"""The scorer against a brute-force count that knows nothing of it, and its intervals and error categories against hand counts."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.extract.made import document
from workbench.extract import ExtractError, Schema, load_engine
from workbench.extract.evaluate import METRICS, MODES, SPANS, Count, evaluate, score, within
from workbench.extract.records import Document, Event, Relation, Span


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
            assert tuple(found.scores[metric, spans].count) == expected
            summed = np.sum([list(c) for c in found.scores[metric, spans].by_type.values()], axis=0)
            assert tuple(summed) == expected


def test_modes_differ_where_items_are_doubled() -> None:
    text = "a a"
    gold = Document(id="1", text=text, entities=(Span(start=0, end=1, type="t"), Span(start=2, end=3, type="t")))
    once = gold.model_copy(update={"entities": (gold.entities or ())[:1] * 3})
    counts = {mode: score([gold], [once], mode, 0).scores[("entity",), "string"].count for mode in MODES}
    assert counts == {"normal": Count(2, 2, 3), "set": Count(1, 1, 1), "multimatch": Count(3, 2, 3)}


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
    assert within(gold[1], schema)[0].relations == ()


def test_faults_in_one_sentence() -> None:
    one = Document(id="1", text="a")
    for gold, predicted, mode in (([one], [], "normal"), ([one], [one.model_copy(update={"text": "b"})], "normal"), ([one.model_copy(update={"entities": ()})], [one], "odd")):  # fmt: skip
        with pytest.raises(ExtractError, match=r"\.$"):
            score(gold, predicted, mode)
    with pytest.raises(ExtractError, match="empty"):
        evaluate(None, [], Schema.of("a"))  # type: ignore[arg-type]
