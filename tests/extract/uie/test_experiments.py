"""The protocols of little data, against counts by hand, and the table of runs."""

from __future__ import annotations

from collections import Counter

import pytest

from workbench.extract.errors import ExtractError
from workbench.extract.records import Document, Relation, Span
from workbench.extract.uie.experiments import as_table, part_of, ratio, shots


def span(start: int, type_: str) -> Span:
    return Span(start=start, end=start + 1, type=type_)


def documents() -> list[Document]:
    """Ten sentences: type a in nine of them, twice in the first; type b in two; none in the last."""
    made = []
    for n in range(10):
        spans = [span(0, "a")] if n < 9 else []
        spans += [span(1, "a")] if n == 0 else []
        spans += [span(2, "b")] if n in (3, 4) else []
        made.append(Document(id=str(n), text="abcdef", entities=tuple(spans)))
    return made


def test_shots_are_so_many_a_type() -> None:
    for seed in range(20):
        found = shots(documents(), 3, seed)
        assert len(found) == 5, "three of a; b has two sentences and gives both"
        assert {"3", "4"} <= {d.id for d in found} and "9" not in {d.id for d in found}
        assert [d.id for d in found] == [d.id for d in shots(documents(), 3, seed)]
    firsts = Counter(d.id for seed in range(400) for d in shots(documents(), 1, seed)[:1])
    assert firsts["0"] > 1.4 * firsts["1"], "the first sentence holds a twice and stands twice in its pool"


def test_shots_go_by_relations_where_there_are_any() -> None:
    head, tail = span(0, "a"), span(2, "b")
    own = Document(id="r", text="abcdef", entities=(head, tail), relations=(Relation(type="x", head=head, tail=tail),))
    assert [d.id for d in shots([*documents(), own], 5, 1)] == ["r"]


def test_ratios_are_rounded_up() -> None:
    assert (
        len(ratio(documents(), 1, 0)) == 1
        and len(ratio(documents(), 11, 0)) == 2
        and len(ratio(documents(), 100, 0)) == 10
    )
    assert len({d.id for d in ratio(documents(), 50, 3)}) == 5


def test_protocols_by_name() -> None:
    assert len(part_of(documents(), "full", 0)) == 10 and len(part_of(documents(), "ratio:10", 0)) == 1
    assert len(part_of(documents(), "shot:1", 0)) == 2
    for wrong in ("shots:1", "shot:0", "shot:x", "shot:1.5", "ratio:0", "ratio:101", "half"):
        with pytest.raises(ExtractError, match=r"shot:NUMBER or ratio:PERCENT"):
            part_of(documents(), wrong, 0)


def test_the_table_has_mean_and_deviation_over_seeds() -> None:
    def run(f1: float, well: int) -> dict[str, object]:
        way = {"f1": {"relation": f1}, "outputs": {"well-formed": well, "fixed": 10 - well}}
        return {"sentences": 5, "grammar": way, "free": way}

    rows = as_table({"14res, shot:1, all": [run(0.4, 10), run(0.5, 5)]}).splitlines()
    assert "| 14res, shot:1, all | grammar | 2 | 5 | - | 45.0 ± 5.0 | - | - | 75.0 % |" in rows
