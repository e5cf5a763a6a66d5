"""A text as pieces: emoji end a word, whatever the tokenizer does with them, and offsets stay those of the text as given."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import AutoTokenizer

from workbench.extract.engines import CHECKPOINTS
from workbench.extract.usm.pieces import EMOJI, encode_texts, foreign_note

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


def test_a_text_in_another_script_is_told_from_one_with_a_name_or_two() -> None:
    """With the vocabulary that ships: scripts that it spells out, or does not have, are told; loan words and accents are not."""
    tokenizer = AutoTokenizer.from_pretrained(CHECKPOINTS / "usm-mini")
    foreign = [
        "苹果公司首席执行官蒂姆·库克昨天在巴黎会见了法国总统马克龙。",
        "ראש הממשלה נפגש עם נשיא צרפת",
        "Тим Кук встретился с Макроном",
        "Ｔｉｍ Ｃｏｏｋ",
        "a" * 200,
    ]
    for text in foreign:
        (note,) = foreign_note(tokenizer, text)
        assert "vocabulary of these weights" in note and int(note.partition("%")[0]) > 70
    for text in (
        "Tim Cook met 苹果公司 in Paris yesterday",
        "Łukasz Żółć traf Günther in Straßburg",
        "C.E.O. of I.B.M.",
        "🙂 🙂",
        "",
        "7 %",
    ):
        assert not foreign_note(tokenizer, text)


def test_the_share_of_foreign_letters_by_hand(tokenizer: Any) -> None:
    text = "Marie 漢字 abcd 12"  # the tokenizer of the tests spells "abcd" out, and knows no Chinese
    (pieces,) = encode_texts(tokenizer, [text])
    assert pieces.foreign(text, tokenizer.unk_token_id) == pytest.approx((2 + 4) / (5 + 2 + 4))
    assert encode_texts(tokenizer, ["12 !"])[0].foreign("12 !", tokenizer.unk_token_id) == 0.0
