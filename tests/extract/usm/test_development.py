"""Texts of development parts that calibration and thresholds are learnt on."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from workbench.extract.records import Document, Relation, Span
from workbench.extract.schema import Schema
from workbench.extract.usm import tune
from workbench.extract.usm.passes import Found
from workbench.extract.usm.reading import Curve, Reading


def test_sets_whose_relations_have_ends_of_no_type_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "Ada met Ben"
    typed = Document(id="one", text=text, entities=[Span(type="person", start=0, end=3)])
    ends = (Span(type="", start=0, end=3), Span(type="", start=8, end=11))
    untyped = Document(id="one", text=text, relations=[Relation(type="met", head=ends[0], tail=ends[1])])
    monkeypatch.setattr(tune, "load_data", lambda name, root, part: [typed if name == "a" else untyped] * 9)
    told: list[str] = []
    found = list(tune.development_texts(["b", "a"], Path(), 4, 0, told.append))
    assert told == ["b", "a"] and [name for name, *_ in found] == ["a"]
    assert len(found[0][1]) == 4 and [label.name for label in found[0][2].entities] == ["person"]


def test_a_kind_takes_the_threshold_that_does_better_and_others_keep_the_common_one() -> None:
    """Right entities above .5 and wrong ones below; every relation of them, at .27, is right."""
    text = "Ada met Ben and Cem"
    spans = [Span(type="person", start=start, end=start + 3) for start in (0, 8, 16)]
    ends = [(0, 3), (8, 11), (16, 19)]
    gold = Document(
        id="one",
        text=text,
        entities=spans[:2],
        relations=[Relation(type="met", head=spans[0], tail=spans[1])],
        events=[],
    )
    schema = Schema.of("person", relations={"met": {}})
    found = Found(
        entities={("person", *ends[0]): 1.0, ("person", *ends[1]): 1.0, ("person", *ends[2]): -0.3},
        relations={("met", ends[0], ends[1]): -1.0, ("met", ends[0], ends[2]): -1.0},
    )
    part = tune.Part("made", [gold], schema, {mode: [found] for mode in ("strict", "mean")})
    reading = Reading("strict", 0.5)
    own = tune.own_thresholds([part], reading)
    assert set(own) == {"relation"} and own["relation"] <= Curve().probability(-1.0)
    before, after = tune.f1_by_part([part], reading), tune.f1_by_part([part], replace(reading, thresholds=own))
    assert before == {"made entity": 1.0, "made relation": 0.0} and after == {"made entity": 1.0, "made relation": 1.0}
    assert Reading.from_json(replace(reading, thresholds=own).to_json()).thresholds == own
    assert Reading.from_json({"mode": "mean", "threshold": 0.5, "curves": {}}).thresholds == {}


def test_entities_get_the_threshold_that_is_best_beside_those_of_other_kinds() -> None:
    """Right entities from .5, wrong ones below; relations at .27, all right: one threshold for both would let the wrong entities in."""
    text = "Ada met Ben and Cem"
    spans = [Span(type="person", start=start, end=start + 3) for start in (0, 8, 16)]
    ends = [(0, 3), (8, 11), (16, 19)]
    one = Document(
        id="one", text=text, entities=spans[:2], relations=[Relation(type="met", head=spans[0], tail=spans[1])]
    )
    schema = Schema.of("person", relations={"met": {}})
    found = Found(
        entities={("person", *ends[0]): 1.0, ("person", *ends[1]): 1.0, ("person", *ends[2]): -0.6},
        relations={("met", ends[0], ends[1]): -1.0},
    )
    part = tune.Part("made", [one], schema, {mode: [found] for mode in ("strict", "mean")})
    common = {
        t: sum(f1.values()) for t, f1 in tune.f1_by_threshold([part], Reading("strict", 0.5), tune.THRESHOLDS).items()
    }
    assert max(common.values()) < 2, "no single threshold is right for both"
    reading = tune.fit([part], calibrated=False)
    wrong, right, relation = (Curve().probability(each) for each in (-0.6, 1.0, -1.0))
    assert wrong < reading.threshold <= right and reading.thresholds["relation"] <= relation
    assert tune.f1_by_part([part], reading) == {"made entity": 1.0, "made relation": 1.0}


def test_no_threshold_lies_below_what_was_looked_at() -> None:
    """Candidates are kept down to links of -2.94; under a flat curve that is a probability of .32, and .05 was never tried in truth."""
    flat = {
        "entity": Curve(0.25, 0.0),
        "relation": Curve(0.7, -4.6),
        "trigger": Curve(0.25, 0.0),
        "argument": Curve(1.0, 0.0),
    }
    given = Reading("strict", 0.05, {"strict": flat}, {"relation": 0.45})
    least = 1 / (1 + math.exp(0.25 * math.log(0.95 / 0.05)))
    made = tune.as_seen(given)
    assert made.threshold == pytest.approx(least, abs=1e-4)
    # An argument at .05 was seen, and .05 no longer is the common threshold.
    assert made.thresholds == {"relation": 0.45, "argument": 0.05}
    high = replace(given, threshold=0.5, thresholds={"trigger": 0.4})
    assert tune.as_seen(high) == high
    # What was kept passes the lifted threshold as it passed the low one.
    text = "Ada met Ben and Cem"
    spans = [Span(type="person", start=start, end=start + 3) for start in (0, 8, 16)]
    document = Document(id="one", text=text, entities=spans[:2])
    found = Found(entities={("person", 0, 3): 5.0, ("person", 8, 11): -2.94, ("person", 16, 19): -2.9})
    part = tune.Part("made", [document], Schema.of("person"), {"strict": [found]})
    assert tune.f1_by_part([part], made) == tune.f1_by_part([part], given) == {"made entity": 0.8}
