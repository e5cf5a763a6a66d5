"""The shipped checkpoint: its size, its card, and that three examples make an extractor."""

from __future__ import annotations

import pytest

from tests.extract.shipped import check_size_and_storage
from workbench.extract import load_engine
from workbench.extract.engines import CHECKPOINTS
from workbench.extract.metaner.engine import MetaNerEngine
from workbench.extract.metaner.naming import DEVELOPMENT, WAYS, best_way
from workbench.extract.metaner.train.sets import usable
from workbench.extract.records import Document, Span

FOLDER = CHECKPOINTS / "metaner-mini"
MOST_BYTES = 20_000_000
pytestmark = pytest.mark.skipif(
    not (FOLDER / "model.safetensors").is_file(), reason="no checkpoint of MetaNER is shipped here"
)


def marked(text: str, **types: tuple[str, ...]) -> Document:
    spans = [
        Span(type=type_, start=text.index(word), end=text.index(word) + len(word))
        for type_, words in types.items()
        for word in words
    ]
    return Document(id=text[:8], text=text, entities=spans)


def test_size_and_storage() -> None:
    check_size_and_storage(FOLDER, MOST_BYTES)


def test_the_card_names_every_set_and_what_was_kept_away() -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert not [name for name in usable(()) if f"| {name} |" not in card]
    for name in ("wnut17", "ncbi_disease", "sec_filings", "bc5cdr"):
        assert f"| {name} |" not in card.partition("## Data")[2] and name in card
    assert "research" in (FOLDER / "LICENSE").read_text(encoding="utf-8")


@pytest.mark.parametrize(("person", "place", "anonymous"), [("person", "city", False), ("blue", "green", True)])
def test_examples_make_an_extractor(person: str, place: str, anonymous: bool) -> None:
    """Types that two sentences show are found in a third: by their names, or where names say nothing."""
    shots = [
        marked("Marie Curie moved from Warsaw to Paris in 1891.", **{person: ("Marie Curie",), place: ("Warsaw", "Paris")}),
        marked("In Berlin, Albert Einstein taught until 1933.", **{person: ("Albert Einstein",), place: ("Berlin",)}),
    ]  # fmt: skip
    engine = load_engine("metaner", device="cpu", anonymous=anonymous)
    texts = ["Niels Bohr worked in Copenhagen and later in Princeton.", "Isaac Newton was born in Woolsthorpe."]
    found = engine.extract(texts, {"entities": [person, place]}, demonstrations=shots)
    named = [{(s.type, text[s.start : s.end]) for s in out.entities or ()} for text, out in zip(texts, found, strict=True)]  # fmt: skip
    assert {(person, "Niels Bohr"), (place, "Copenhagen")} <= named[0]
    assert {(person, "Isaac Newton"), (place, "Woolsthorpe")} <= named[1]


def test_it_names_types_as_did_better_on_development_parts() -> None:
    """The way that its configuration measured best is the one it takes."""
    engine = MetaNerEngine.load(str(FOLDER), "cpu")
    assert set(engine.learnt["naming"]) == set(DEVELOPMENT)
    assert engine.shape.anonymous == WAYS[best_way(engine.learnt["naming"])]
