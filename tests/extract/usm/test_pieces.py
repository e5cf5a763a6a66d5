"""A text as pieces: emoji end a word, whatever the tokenizer does with them, and offsets stay those of the text as given."""

from __future__ import annotations

from typing import Any

import pytest

from workbench.extract.usm.pieces import EMOJI, encode_texts

GLUED = ["🙂", "👍🏽", "👩‍🔬", "🇫🇷", "❤️", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "😀😀😀"]


@pytest.mark.parametrize("emoji", GLUED)
def test_an_emoji_that_touches_words_is_no_part_of_them(tokenizer: Any, emoji: str) -> None:
    """The pieces are those of the same text with spaces round the emoji, and the words lie where they stand."""
    assert EMOJI.fullmatch(emoji)
    glued, apart = encode_texts(
        tokenizer, [f"Marie{emoji}Curie in Paris{emoji}.", f"Marie {emoji} Curie in Paris {emoji} ."]
    )
    assert glued.ids.tolist() == apart.ids.tolist() and glued.shapes.tolist() == apart.shapes.tolist()
    text = f"Marie{emoji}Curie in Paris{emoji}."
    for word in ("Marie", "Curie", "in", "Paris", "."):
        assert glued.span(text.index(word), text.index(word) + len(word)) is not None, word


@pytest.mark.parametrize(
    "text", [f"{e}{e}" for e in GLUED] + [f" {e} Marie {e}" for e in GLUED] + ["♟Marie♟", "a\u200db", ""]
)
def test_every_piece_covers_code_points_of_the_text_in_order(tokenizer: Any, text: str) -> None:
    pieces = encode_texts(tokenizer, [text])[0]
    assert all(0 <= a < b <= len(text) for a, b in zip(pieces.starts, pieces.ends, strict=True))
    assert sorted(pieces.starts) == pieces.starts.tolist() and sorted(pieces.ends) == pieces.ends.tolist()
    assert all(text[a:b] == text[a:b].strip() for a, b in zip(pieces.starts, pieces.ends, strict=True))


def test_what_is_no_emoji_is_left_to_the_tokenizer(tokenizer: Any) -> None:
    for sign in "€°™©±→≥∀㈱A1 .\u200b":
        assert EMOJI.search(sign) is None


def test_a_special_token_that_is_spelt_out_is_text(tokenizer: Any) -> None:
    text = "Marie [PAD] in [SEP] Paris"
    pieces = encode_texts(tokenizer, [text])[0]
    assert not set(pieces.ids.tolist()) & {tokenizer.pad_token_id, tokenizer.sep_token_id}
    assert pieces.span(text.index("Paris"), len(text)) is not None
