"""Texts of development parts that calibration and thresholds are learnt on."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.extract.records import Document, Relation, Span
from workbench.extract.usm import tune


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
