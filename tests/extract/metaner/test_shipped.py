"""The shipped checkpoint: its size, its card, and that three examples make an extractor."""

from __future__ import annotations

import pytest

from tests.extract.shipped import check_size_and_storage
from workbench.extract import load_engine
from workbench.extract.engines import CHECKPOINTS
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


def test_examples_make_an_extractor() -> None:
    """Types that two sentences show are found in a third, under whatever name."""
    shots = [
        marked("Marie Curie moved from Warsaw to Paris in 1891.", blue=("Marie Curie",), green=("Warsaw", "Paris")),
        marked("In Berlin, Albert Einstein taught until 1933.", blue=("Albert Einstein",), green=("Berlin",)),
    ]
    engine = load_engine("metaner", device="cpu")
    texts = ["Niels Bohr worked in Copenhagen and later in Princeton.", "Isaac Newton was born in Woolsthorpe."]
    found = engine.extract(texts, {"entities": ["blue", "green"]}, demonstrations=shots)
    named = [{(s.type, text[s.start : s.end]) for s in out.entities or ()} for text, out in zip(texts, found, strict=True)]  # fmt: skip
    assert {("blue", "Niels Bohr"), ("green", "Copenhagen")} <= named[0]
    assert {("blue", "Isaac Newton"), ("green", "Woolsthorpe")} <= named[1]
