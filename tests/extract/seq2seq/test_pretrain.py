"""Pre-training on open text: every task's answer stands in its source, at the place that is said, and follows from the text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workbench.extract.errors import ExtractError
from workbench.extract.seq2seq.pretrain import Tasks, read_open_texts, stretches
from workbench.extract.seq2seq.stream import Stream
from workbench.extract.seq2seq.tokens import SelTokens, sentinel
from workbench.extract.uie.sel import read

TEXT = (
    'Marie Curie was a great worker, and she met Pierre near a museum in Paris. "Good food, slow service", said Pierre, who was born in 1859. '
    "Warsaw is a city of the University, and her husband works for the company near the museum. But service was slow, negative, and great."
)


@pytest.fixture
def tasks(words: Any, tokens: SelTokens) -> Tasks:
    return Tasks(stretches([TEXT] * 3, words, tokens, 8, 80), words, tokens)


def test_texts_are_read_and_cut_between_sentences(tmp_path: Path, words: Any, tokens: SelTokens) -> None:
    (tmp_path / "a.txt").write_text(
        "One line that is long enough to count as a paragraph.\n\nshort\n\nAnother @-@ one, <unk> long enough as well, as it seems.",
        encoding="utf-8",
    )
    (tmp_path / "SOURCE.txt").write_text("where it is from, which is no text to learn from, at all", encoding="utf-8")
    found = read_open_texts([tmp_path])
    assert len(found) == 2 and found[1].startswith("Another-one, long")
    with pytest.raises(ExtractError, match="no open text"):
        read_open_texts([tmp_path / "SOURCE.txt"])
    with pytest.raises(ExtractError, match="cannot be read"):
        read_open_texts([tmp_path / "b.txt"])
    cut = stretches([TEXT], words, tokens, 8, 80)
    assert sum(len(each.pieces) for each in cut) <= 10**4 and all(8 <= len(each.pieces) <= 80 for each in cut)
    assert all(TEXT[each.pieces.ends[-1] - 1] in '.!?"' for each in cut[:-1])


def test_every_answer_stands_in_its_source(tasks: Tasks, tokens: SelTokens) -> None:
    rng = np.random.default_rng(0)
    for name, (_, maker) in tasks.makers().items():
        made = [example for example in (maker(rng) for _ in range(80)) if example is not None]
        assert made, name
        for example in made:
            assert example.source[-1] == example.target[-1] == tokens.eos
            assert len(example.shapes) <= len(example.source) and len(example.places) <= len(example.target)
            assert all(
                place < 0 or example.source[place] == number
                for place, number in zip(example.places, example.target, strict=False)
            )
            if name != "infill":
                sel = read(example.target, tokens)
                assert sel.grammatical
                text = example.source[example.source.index(tokens.text) + 1 : -1]
                for spot in sel.spots:
                    for node in (spot, *spot.asocs):
                        at = example.places[node.at] - (len(example.source) - 1 - len(text))
                        assert tuple(text[at : at + len(node.span)]) == node.span


def test_infill_puts_the_text_together_again(tasks: Tasks, words: Any, tokens: SelTokens) -> None:
    rng = np.random.default_rng(1)
    gaps = {words.convert_tokens_to_ids(sentinel(n)) for n in range(7, 15)}
    plain = words(TEXT, add_special_tokens=False)["input_ids"]
    for _ in range(40):
        example = tasks.infill(rng)
        if example is None:
            continue
        parts: dict[int, list[int]] = {}
        for number in example.target[:-1]:
            if number in gaps:
                last = parts[number] = []
            else:
                last.append(number)
        text = example.source[example.source.index(tokens.text) + 1 : -1]
        whole = [n for number in text for n in (parts[number] if number in gaps else [number])]
        assert any(plain[n : n + len(whole)] == whole for n in range(len(plain)))


def test_is_a_and_shape_say_what_the_text_says(tasks: Tasks, words: Any, tokens: SelTokens) -> None:
    rng = np.random.default_rng(2)
    found = set()
    for _ in range(40):
        example = tasks.is_a(rng)
        assert example is not None
        for spot in read(example.target, tokens).spots:
            found.add((words.decode(spot.span), words.decode(spot.label)))
    assert ("marie curie", "great worker") in found and ("warsaw", "city") in found
    shapes = set()
    for _ in range(80):
        example = tasks.shape(rng)
        for spot in read(example.target, tokens).spots if example is not None else ():
            shapes.add((words.decode(spot.label), words.decode(spot.span)))
    assert ("name", "marie curie") in {(label.replace(" ", ""), span) for label, span in shapes} | shapes
    assert any("museum in paris" not in span for _, span in shapes)


def test_batches_follow_from_seed_and_step(tasks: Tasks, tokens: SelTokens) -> None:
    one, other = (Stream(tasks.makers(), tokens, 4, 7) for _ in range(2))
    a, kinds = one.batch(30)
    b, _ = other.batch(30)
    assert a.source.equal(b.source) and a.labels.equal(b.labels) and sum(kinds.values()) == 4
    assert not one.batch(31)[0].source.equal(a.source)
    assert a.inputs[:, 0].eq(tokens.start).all() and a.tokens == a.source.numel() + a.inputs.numel()
