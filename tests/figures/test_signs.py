"""Parts of pictures, clips and sounds as signs, and in context with their number."""

from __future__ import annotations

import re

import pytest

from pages.parts.context import contexts_html
from workbench.analysis.examples import Context, Examples, Piece
from workbench.figures.map_style import shown
from workbench.figures.signs import sign_of


@pytest.mark.parametrize(
    ("piece", "modality", "sign"),
    [
        ("<image>", "image", "▦"),
        ("<|video_pad|>", "video", "▤"),
        ("<|AUDIO|>", None, "♪"),
        ("[IMG]", "image", "▦"),
        ("<image_soft_token>", "image", "▦"),
        (None, "audio", "♪"),
        (None, "text", None),
        (None, None, None),
        ("<boi>", "image", None),
        ("<|vision_start|>", "text", None),
        ("image", "text", None),
        ("<b>", "text", None),
    ],
)
def test_sign_of_a_token(piece: str | None, modality: str | None, sign: str | None) -> None:
    assert sign_of(piece, modality) == sign


def test_legend_names_the_part() -> None:
    assert shown("<image>") == "▦ picture" and shown(" a\n") == "␣a↵"


def test_many_parts_in_a_row_are_one_sign_with_their_number() -> None:
    text = [Piece(word, 0.0, False, "text", "Text") for word in ("a ", "<b>")]
    image = [Piece("<image>", 0.25 * (4 <= at < 10), 4 <= at < 10, "image", "Image und.") for at in range(16)]
    context = Context("d", 5, "Image und.", "prefill", 0.25, (*text, *image, *text), 7, False, False)
    made = Examples("text_0_mlp", 3, None, None, (context,), 6, 20, 20, 20, 0.25, True)
    html = contexts_html(made, {})
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", html.split("</div>")[1]))
    # 4 not chosen, one chosen before the centre, the centre, 4 chosen behind it, 6 not chosen: 16 in all.
    assert words == "a &lt;b&gt; ▦×4 ▦▦ ▦×4 ▦×6 a &lt;b&gt;"
    assert html.count("mean gate weight 0.25") == 1 and "<image>" not in html and "tokens 6 to 9" in html
