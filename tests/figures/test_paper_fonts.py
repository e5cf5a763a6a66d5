"""Characters that matplotlib's own font lacks: drawn with another font where there is one, told of where there is none."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.image import imread
from matplotlib.text import Text

from workbench.export import figure_bytes
from workbench.figures import paper_fonts
from workbench.figures.paper_fonts import FIRST, use_fallbacks
from workbench.figures.paper_frame import new_figure

OTHER = "STIXGeneral"  # ships with matplotlib too


def with_title(text: str):  # type: ignore[no-untyped-def]
    figure = new_figure(2, 1, "caption")
    figure.subplots().set_title(text)
    return figure


def only_in_other() -> str:
    """A character that STIXGeneral holds and DejaVu Sans does not."""
    charmaps = [set(get_font(findfont(FontProperties(family=[name]))).get_charmap()) for name in (FIRST, OTHER)]
    return next(chr(code) for code in sorted(charmaps[1] - charmaps[0]) if chr(code).isprintable())


@pytest.mark.filterwarnings("ignore:Glyph")
def test_a_font_that_holds_the_character_is_taken() -> None:
    char = only_in_other()
    figure = with_title(f"a {char} b")
    assert use_fallbacks(figure, ["No Such Font", OTHER]) == ""
    families = {tuple(text.get_fontfamily()) for text in figure.findobj(Text) if char in text.get_text()}
    assert families == {(FIRST, OTHER)}
    boxed = with_title(f"a {char} b")
    assert use_fallbacks(boxed, []) == char
    assert pixels(figure) != pixels(boxed), "a glyph, and a box"


def test_texts_that_need_none_are_left_alone() -> None:
    figure = with_title("German, Ελληνικά, русский, ≤ 1")
    before = [text.get_fontfamily() for text in figure.findobj(Text)]
    assert use_fallbacks(figure, [OTHER]) == ""
    assert [text.get_fontfamily() for text in figure.findobj(Text)] == before


def test_what_no_font_holds_is_said_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(paper_fonts, "_installed", lambda: frozenset({FIRST}))
    monkeypatch.setattr(paper_fonts, "_TOLD", set())
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert imread_size(figure_bytes(with_title("群组 \U00050000"), "png")) > 0
    (said,) = [record.getMessage() for record in caplog.records]
    assert "群" in said and "组" in said and "Noto Sans CJK" in said and "\U00050000" not in said


def pixels(figure) -> bytes:  # type: ignore[no-untyped-def]
    figure.canvas.draw()
    return bytes(figure.canvas.buffer_rgba())


def imread_size(data: bytes) -> int:
    from io import BytesIO

    return int(np.asarray(imread(BytesIO(data))).size)
