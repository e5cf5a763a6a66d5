"""No mention crosses the end of a line, a cell, or a sentence that leaves no doubt; a wrapped line goes on."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from workbench.extract import load_engine
from workbench.extract.borders import NARROWEST, borders
from workbench.extract.uie.places import Places
from workbench.extract.usm.decode import LinkScores, mentions
from workbench.extract.usm.pieces import encode_texts

NAMES = ("Angela Merkel", "Barack Obama", "Emmanuel Macron", "Tim Cook")
SCHEMA = {"entities": ["person", "organization", "location"]}


def parts(text: str) -> list[str]:
    """The text cut at its borders."""
    cuts = [0, *(border.at for border in borders(text)), len(text)]
    return [text[a:b].strip() for a, b in pairwise(cuts)]


@pytest.mark.parametrize("between", ["\n", "\n\n", "\r\n", " \n\t ", "\t", "\n \n", "\u2028", "\x0b", "\x85"])
def test_lines_and_cells_end(between: str) -> None:
    text = between.join(NAMES)
    assert parts(text) == [*NAMES]
    assert [border.seen for border in borders(f"\n{text}.{between}X{between}")] == [False] * 3 + [True]


def test_a_wrapped_line_goes_on_and_a_short_one_does_not() -> None:
    text = "Yesterday in the city of Berlin the former chancellor of Germany, Angela\nMerkel, spoke\nBarack Obama"
    assert parts(text) == [text[: text.index("\nBarack")], "Barack Obama"]
    narrow = "Angela Merkel and\nBarack Obama met"
    assert len(narrow) < NARROWEST and parts(narrow) == narrow.split("\n")


@pytest.mark.parametrize(
    "text, cut",
    [
        ("Marie Curie. Pierre Curie.", ["Marie Curie.", "Pierre Curie."]),
        ('He met "Marie Curie." (Pierre was ill.)', ['He met "Marie Curie."', "(Pierre was ill.)"]),
        ("Dr. Smith of Warner Bros. Television and Capt. Cook", None),
        ("J. R. R. Tolkien of St. Louis, Acme Inc. Europe", None),
        ("the paper. it", None),
        ("Marie Curie.Pierre", None),
        ("", None),
        (" \n\t ", None),
    ],
)
def test_sentences_end_where_there_is_no_doubt(text: str, cut: list[str] | None) -> None:
    assert parts(text) == (cut or [text.strip()])


def test_the_encoder_is_told_and_offsets_stay(tokenizer: Any) -> None:
    text = "Marie Curie\nPierre\tParis\U0001f642\n\nParis."
    (pieces,) = encode_texts(tokenizer, [text])
    told = pieces.parts < 0
    assert told.sum() == 3 and (pieces.starts[told] == pieces.ends[told]).all()
    assert [text[a:b] for a, b in zip(pieces.starts[told] - 2, pieces.starts[told], strict=True)] == [
        "ie",
        "re",
        "s\U0001f642",
    ]
    assert (np.diff(pieces.starts) >= 0).all() and (np.diff(pieces.ends) >= 0).all()
    (alone,) = encode_texts(tokenizer, ["Marie Curie , Pierre , Paris \U0001f642 , Paris."])
    assert pieces.ids.tolist() == alone.ids.tolist()
    for name in ("Marie Curie", "Pierre", "Paris"):
        place = pieces.span(text.index(name), text.index(name) + len(name))
        assert place is not None and not told[place[0] : place[1] + 1].any()
    assert not pieces.unbroken(0, text.index("Pierre") + 6) and pieces.unbroken(0, 11)


def test_a_span_across_a_border_is_no_candidate_however_strong_its_links(tokenizer: Any) -> None:
    text = "Marie Curie\nPierre Curie"
    (pieces,) = encode_texts(tokenizer, [text])
    length = len(pieces)
    sure, sure_of_label = np.full((length, length), 9.0, np.float32), np.full((1, length), 9.0, np.float32)
    scores = LinkScores(sure, sure, sure, sure_of_label, sure_of_label, sure_of_label.T, sure_of_label.T)
    for mode in ("strict", "mean"):
        found = mentions(scores.between(pieces.parts), [0], mode, 0.0)
        spans = {text[pieces.starts[each.span[0]] : pieces.ends[each.span[1]]] for each in found}
        assert {"Marie Curie", "Pierre Curie"} <= spans and not any("\n" in span or not span for span in spans)


def test_a_written_name_is_not_found_across_a_border(tokenizer: Any) -> None:
    text = "Marie Curie\n\nPierre Curie and Curie Pierre"
    (pieces,) = encode_texts(tokenizer, [text])
    known = pieces.span(text.rindex("Curie"), len(text))
    assert known is not None
    span = pieces.ids[known[0] : known[1] + 1].tolist()
    assert Places(text, pieces, tokenizer, None).of(span) == [(text.rindex("Curie"), len(text))]  # type: ignore[arg-type]


@pytest.mark.parametrize("engine", ["usm", "uie", "metaner"])
def test_names_on_lines_of_their_own_are_mentions_of_their_own(engine: str) -> None:
    loaded = load_engine(engine)
    for between in ("\n", "\n\n", "\t"):
        text = between.join(NAMES)
        found = loaded.extract([text], SCHEMA)[0]
        spans = {text[span.start : span.end] for span in found.entities}
        assert spans & {*NAMES}, engine
        assert not any(between in span for span in spans)
