"""Long texts, many labels, and a model that accepts everything: every mention is found where it stands, and memory stays bounded."""

from __future__ import annotations

import re
import resource
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from workbench.extract.usm import passes as module
from workbench.extract.usm.decode import LinkScores
from workbench.extract.usm.engine import UsmEngine
from workbench.extract.usm.model import UsmModel
from workbench.extract.usm.passes import MOST_MENTIONS, MOST_PAIRS, Window, best_of
from workbench.extract.usm.plan import Block
from workbench.extract.usm.reading import Reading

LINE = "Marie 👩‍🔬 met שלום Pierre in \u200bParis. <b>مرحبا</b> "
LABELS = [f"type {n}" for n in range(499)]


@pytest.fixture
def engine(model: UsmModel, tokenizer: Any) -> UsmEngine:
    return UsmEngine(model, tokenizer, "tiny")


def oracle(words: dict[str, str]) -> Any:
    """Link scores of a perfect model: word -> its type."""

    def link_scores(windows: Sequence[Window], plan: Sequence[Block], *_: Any) -> Iterable[tuple[int, int, LinkScores]]:
        for w, window in enumerate(windows):
            size = len(window.pieces)
            for b, block in enumerate(plan):
                count = len(block.prompt.labels)
                tokens = np.full((3, size, size), -9, np.float32)
                start, end = np.full((2, count, size), -9, np.float32), np.full((2, size, count), -9, np.float32)
                for head in range(size):
                    tail = head
                    while tail + 1 < size and window.pieces.words[tail + 1] == window.pieces.words[head]:
                        tail += 1
                    word = TEXT[window.pieces.starts[head] : window.pieces.ends[tail]]
                    first = head == 0 or window.pieces.words[head - 1] != window.pieces.words[head]
                    if first and words.get(word) in block.entities:
                        label = block.entities[words[word]]
                        tokens[0, head, tail] = start[0, label, head] = start[1, label, tail] = 9
                yield w, b, LinkScores(*tokens, *start, *end)

    return link_scores


TEXT = (LINE * (100_000 // len(LINE) + 1))[:100_000]


def test_every_mention_of_a_text_of_100_000_characters_is_found_where_it_stands(engine: UsmEngine) -> None:
    engine.passes.link_scores = oracle({"Marie": "person", "Pierre": "person", "Paris": "type 7"})  # type: ignore[method-assign]
    engine.reading = Reading("strict", 0.5)
    (found,) = engine.extract([TEXT], {"entities": ["person", *LABELS[:20]]})
    wanted = {(m.start(), m.end(), "type 7" if m.group() == "Paris" else "person") for m in re.finditer("Marie|Pierre|Paris", TEXT)}  # fmt: skip
    assert {span.key for span in found.select(0.5).entities or ()} == wanted and len(wanted) > 5000


def accepting(engine: UsmEngine) -> None:
    """Make every link of the model pass."""
    with torch.no_grad():
        engine.usm.bias += 40


SCHEMA = {
    "entities": ["person", "city"],
    "relations": {"works for": {"head": ["person"], "tail": []}, "born": {"head": [], "tail": []}},
    "events": {"attack": ["victim", "place"], "birth": ["place"]},
}


def test_a_model_that_accepts_everything_keeps_the_best_of_a_window(
    engine: UsmEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepting(engine)
    text = "Marie met Pierre in Paris near the museum of Warsaw " * 12
    cut = engine.windows([text])
    monkeypatch.setattr(module, "MOST_MENTIONS", 10**9)
    monkeypatch.setattr(module, "MOST_PAIRS", 10**9)
    (whole,) = engine.extract([text], SCHEMA)
    monkeypatch.setattr(module, "MOST_MENTIONS", 40)
    monkeypatch.setattr(module, "MOST_PAIRS", 30)
    (kept,) = engine.extract([text], SCHEMA)
    mentions = len(kept.entities) + len(kept.events)
    assert 40 < mentions <= 40 * len(cut) < len(whole.entities)
    arguments = sum(len(event.arguments) for event in kept.events)
    assert len(kept.relations) <= 30 * 4 * len(cut) and arguments <= 30 * len(cut)
    assert {span.key for span in kept.entities} <= {span.key for span in whole.entities}


@pytest.mark.parametrize("seed", range(5))
def test_the_best_are_those_of_a_sort(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = {n: float(v) for n, v in enumerate(rng.normal(size=rng.integers(1, 60)))}
    for most in (0, 1, 7, 1000):
        assert sorted(best_of(values, most).values()) == sorted(sorted(values.values(), reverse=True)[:most])


def test_500_labels_of_an_accepting_model_are_bounded(engine: UsmEngine) -> None:
    accepting(engine)
    text = "Marie met Pierre in Paris near the museum of Warsaw " * 9
    (found,) = engine.extract([text], {"entities": ["person", *LABELS]})
    windows = len(engine.windows([text]))
    assert MOST_MENTIONS < len(found.entities) <= MOST_MENTIONS * windows
    assert len({span.key for span in found.entities}) == len(found.entities)


@pytest.mark.full
@pytest.mark.timeout(1800)  # minutes of a free core
def test_500_labels_over_100_000_characters_in_bounded_memory(engine: UsmEngine) -> None:
    """Peak memory of the process grows by less than 1.5 GiB, though every link passes."""
    accepting(engine)
    engine.usm.config.window, engine.usm.config.overlap, engine.usm.config.max_labels = 128, 32, 32
    text = ("Marie met university positive negative " * 3000)[:100_000]  # words of one piece
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    schema = {"entities": ["person", *LABELS[:489]], "relations": {f"relation {n}": {"head": [], "tail": []} for n in range(10)}}  # fmt: skip
    (found,) = engine.extract([text], schema)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    windows = len(engine.windows([text]))
    assert 0 < len(found.entities) <= MOST_MENTIONS * windows
    assert len(found.relations) <= 4 * MOST_PAIRS * windows
    assert max(span.end for span in found.entities) > 99_500
    assert grown < 1.5, f"{grown:.2f} GiB"
