"""The shipped checkpoint: its size, its card, and what it reads in plain sentences."""

from __future__ import annotations

import pytest

from tests.extract.shipped import check_size_and_storage
from workbench.extract import load_engine
from workbench.extract.engines import CHECKPOINTS
from workbench.extract.uie.card import MOST_BYTES
from workbench.extract.usm.train.sources import PLANS

FOLDER = CHECKPOINTS / "uie-mini"
pytestmark = pytest.mark.skipif(
    not (FOLDER / "model.safetensors").is_file(), reason="no checkpoint of UIE is shipped here"
)


def test_size_and_storage() -> None:
    check_size_and_storage(FOLDER, MOST_BYTES)


def test_the_card_names_every_set_and_the_licence() -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert not [name for name in PLANS if f"| {name} |" not in card]
    assert "Apache-2.0" in card and "research" in (FOLDER / "LICENSE").read_text(encoding="utf-8")


def test_it_finds_what_a_review_praises() -> None:
    text = "The food was delicious but the service was slow ."
    found = load_engine("uie", device="cpu").extract([text], {"sentiment": {}})[0]
    assert found.calibrated
    result = found.select()
    pairs = {(text[r.head.start : r.head.end], text[r.tail.start : r.tail.end], r.type) for r in result.relations or ()}
    assert {("food", "delicious", "positive"), ("service", "slow", "negative")} <= pairs


def test_it_tells_types_apart() -> None:
    """A label that is mistaken for its neighbour was the fault of the model before it."""
    text = "Marie Curie worked in Paris ."
    result = load_engine("uie", device="cpu").extract([text], {"entities": ["person", "location"]})[0].select()
    named = {(s.type, text[s.start : s.end]) for s in result.entities or ()}
    assert {("person", "Marie Curie"), ("location", "Paris")} == named
