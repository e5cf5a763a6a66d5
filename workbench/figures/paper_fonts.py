"""Fonts for characters that matplotlib's own font lacks: the names of groups and tokens may be in any script.

matplotlib's DejaVu Sans holds Latin, Greek, Cyrillic, Arabic and more, but no Chinese, Japanese, Korean or Indic script. Where a
text needs one, the fonts of this machine that are known to hold it are put behind DejaVu Sans; where there is none, one
sentence says which characters are drawn as boxes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import lru_cache

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.text import Text

FIRST = "DejaVu Sans"  # ships with matplotlib
# What Linux, macOS and Windows usually bring, in order of preference.
FALLBACKS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Noto Sans CJK TC", "Noto Sans SC", "Noto Sans JP", "Noto Sans KR",
    "Source Han Sans SC", "Source Han Sans CN", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback", "IPAGothic",
    "PingFang SC", "Hiragino Sans", "Hiragino Sans GB", "Apple SD Gothic Neo", "Arial Unicode MS",
    "Microsoft YaHei", "SimHei", "Yu Gothic", "Meiryo", "Malgun Gothic",
    "Noto Sans Devanagari", "Noto Sans Bengali", "Noto Sans Tamil", "Noto Sans Telugu", "Noto Sans Thai", "Noto Sans Hebrew",
    "Nirmala UI", "Leelawadee UI", "Noto Emoji", "Noto Sans Symbols 2", "Segoe UI Symbol",
)  # fmt: skip
_LOG = logging.getLogger(__name__)
_TOLD: set[str] = set()  # characters that were told of: once is enough for a report of forty figures


def use_fallbacks(figure: Figure, fallbacks: Sequence[str] = FALLBACKS) -> str:
    """Give the texts of a figure the fonts that they need; returns the characters that no font here holds, sorted.

    Texts that DejaVu Sans can draw are left alone, so that a figure looks the same on every machine.
    """
    texts = [text for text in figure.findobj(Text) if text.get_text()]  # type: ignore[attr-defined, unused-ignore]
    lacking = {id(text): _lacking(text.get_text(), FIRST) for text in texts}
    wanted = "".join(sorted(set().union(*lacking.values()))) if lacking else ""
    if not wanted:
        return ""
    families, rest = [FIRST], set(wanted)
    for name in fallbacks:
        if rest and name in _installed() and (found := rest - _lacking(wanted, name)):
            families.append(name)
            rest -= found
    for text in texts:
        if lacking[id(text)]:
            text.set_fontfamily(families)
    return "".join(sorted(rest))


def say_missing(characters: str) -> None:
    """One line in the log about characters that are drawn as boxes, the first time that they come."""
    new = set(characters) - _TOLD
    if not new:
        return
    _TOLD.update(new)
    shown = "".join(sorted(new)[:12]) + (f" and {len(new) - 12} others" if len(new) > 12 else "")
    _LOG.warning(
        "No font of this machine holds %s, so the figure shows boxes there: install one that does, for example Noto Sans CJK, and draw again.",
        shown,
    )


def _lacking(text: str, family: str) -> set[str]:
    known = _characters(family)
    return {one for one in text if one.isprintable() and not one.isspace() and ord(one) not in known}


@lru_cache(maxsize=64)
def _characters(family: str) -> frozenset[int]:
    return frozenset(get_font(findfont(FontProperties(family=[family]))).get_charmap())


@lru_cache(maxsize=1)
def _installed() -> frozenset[str]:
    return frozenset(fontManager.get_font_names())
