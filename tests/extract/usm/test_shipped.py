"""The shipped checkpoint: its size, its card, and that it reads a plain sentence."""

from __future__ import annotations

import pytest

from tests.extract.shipped import check_size_and_storage
from workbench.extract import load_engine
from workbench.extract.engines import CHECKPOINTS
from workbench.extract.usm.train.sources import PLANS

FOLDER = CHECKPOINTS / "usm-mini"
pytestmark = pytest.mark.skipif(
    not (FOLDER / "model.safetensors").is_file(), reason="no checkpoint of USM is shipped here"
)


def test_size_and_storage() -> None:
    check_size_and_storage(FOLDER, 24_000_000)


def test_the_card_names_every_set_and_the_licence() -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert not [name for name in PLANS if f"| {name} |" not in card]
    assert "Apache-2.0" in card and "research" in (FOLDER / "LICENSE").read_text(encoding="utf-8")
    assert "@" not in card, "no place of the template was left empty"


def test_it_finds_what_a_review_praises() -> None:
    text = "The food was delicious but the service was slow ."
    engine = load_engine("usm", device="cpu")
    found = engine.extract([text], {"sentiment": {}})[0]
    assert found.calibrated
    result = found.select()
    assert {"food", "service"} <= {text[s.start : s.end] for s in result.entities or () if s.type == "aspect"}
    assert {"delicious", "slow"} <= {text[s.start : s.end] for s in result.entities or () if s.type == "opinion"}
