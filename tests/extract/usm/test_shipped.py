"""The shipped checkpoint: its size, its card, and that it reads a plain sentence."""

from __future__ import annotations

import pytest

from tests.extract.shipped import check_size_and_storage
from workbench.extract import Schema, load_engine, read_documents
from workbench.extract.engines import CHECKPOINTS
from workbench.extract.usm.train.sources import PLANS

FOLDER = CHECKPOINTS / "usm-mini"
SCHEMAS = CHECKPOINTS.parent / "schemas"
EVENTS = {"databreach": ("attacker", "victim", "stolen data"), "phishing": ("attacker", "victim", "purpose"), "patch vulnerability": ("vulnerability", "releaser")}  # fmt: skip
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


def test_one_pass_reads_entities_and_relations_beside_events() -> None:
    """The ready texts under their own schemas, and under these with the events of cyber attacks beside: most results stay."""
    engine = load_engine("usm", device="cpu")
    alone: set[tuple[str, ...]] = set()
    beside: set[tuple[str, ...]] = set()
    for path in sorted(SCHEMAS.glob("*.json")):
        own = Schema.load(path)
        texts = [d.text for d in read_documents(path.with_name(f"{path.stem}.texts.jsonl"))]
        own = own.model_copy(update={"events": {}})
        both = own.model_copy(update={"events": EVENTS})
        for found, schema in ((alone, own), (beside, both)):
            for each in engine.extract(texts, schema):
                assert not any("passes" in note for note in each.notes)
                shown = each.select()
                found |= {(each.text, str(s.key)) for s in shown.entities or ()}
                found |= {(each.text, str(r.key)) for r in shown.relations or ()}
    assert len(alone) > 40
    assert 2 * len(alone & beside) / (len(alone) + len(beside)) > 0.75
