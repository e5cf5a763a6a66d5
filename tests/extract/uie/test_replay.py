"""What was written, as a whole: the raw structure as the reader takes it, and alternatives against a pass of one token at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.extract.uie.test_engine import SCHEMA, talkative
from tests.extract.uie.test_engine import t5 as t5_folder  # noqa: F401 - a fixture
from workbench.extract.uie.engine import UieEngine

TEXT = "Marie Curie worked in Paris for the University of Warsaw"


@pytest.mark.parametrize("name", ["copy", "t5"])
def test_options_hold_the_token_written_with_its_probability(words: Any, t5_folder: Path, name: str) -> None:  # noqa: F811
    engine = UieEngine(talkative(words), words) if name == "copy" else UieEngine.load(str(t5_folder), "cpu")
    made = engine.replay(TEXT, SCHEMA)
    assert len(made) == 1 and made[0].status == "well-formed" and (made[0].start, made[0].end) == (0, len(TEXT))
    assert len(made[0].moments) > 5
    for moment in made[0].moments:
        assert moment.allowed is not None and len(moment.options) == min(moment.allowed, 12)
        assert moment.options[0].piece == moment.piece, "greedy writes the likeliest"
        assert moment.options[0].probability == pytest.approx(moment.probability, abs=1e-4)
        if moment.allowed <= 12:
            assert sum(option.probability for option in moment.options) == pytest.approx(1, abs=1e-4)


def test_what_was_read_are_the_results(words: Any) -> None:
    engine = UieEngine(talkative(words), words)
    schema = {"entities": ["person", "city"]}
    found = engine.extract([TEXT], schema)[0]
    nodes = [n for n in engine.replay(TEXT, schema)[0].nodes if n.depth == 1 and not n.rejected]
    entities = {(s.type, s.start, s.end) for s in found.entities}
    assert entities and entities <= {(n.label, n.start, n.end) for n in nodes}
    assert all(n.words == TEXT[n.start : n.end] for n in nodes if n.start is not None and n.end is not None)


def test_free_decoding_has_no_states(words: Any) -> None:
    engine = UieEngine(talkative(words), words, constrained=False)
    torch.manual_seed(0)
    moments = engine.replay(TEXT, SCHEMA)[0].moments
    assert all(m.state == "" and m.allowed is None for m in moments)


def test_a_text_without_words_has_no_pass(words: Any) -> None:
    assert UieEngine(talkative(words), words).replay("  ", SCHEMA) == []
