"""Between what the browser counts and what Python counts; lines of a table; marks on a text, escaped."""

from __future__ import annotations

import random
from html.parser import HTMLParser

import pytest

from tests.extract.made import document
from workbench.extract.marks import COLUMNS, Mark, Units, item_of, lines_of, marks_of
from workbench.figures.interactive_arcs import Arc, arcs
from workbench.figures.marked import DEEPEST, colours, document_html, drawn_layers, layers, marked_html, segments

HARD = "<script>alert(1)</script> & 👩‍🔬 \u202eאבג\u202c a\u200bb é"


@pytest.mark.parametrize("text", ["", "abc", "👩‍🔬", "a👩b👩‍🔬c", HARD, "中\U0001d518\U0001d519x"])
def test_units_are_those_of_utf_16(text: str) -> None:
    units = Units(text)
    for at in range(len(text) + 1):
        expected = len(text[:at].encode("utf-16-le")) // 2
        assert units.to_units(at) == expected
        assert units.to_points(expected) == at


def test_lines_hold_every_item() -> None:
    for seed in range(40):
        made = document(seed)
        lines = list(lines_of(made))
        assert all(tuple(line) == COLUMNS for line in lines)
        kinds = [line["kind"] for line in lines]
        assert kinds.count("entity") == len(made.entities or ())
        assert kinds.count("relation") == len(made.relations or ())
        assert kinds.count("trigger") == len(made.events or ())
        for line in lines:
            for words, start, end in (("text", "start", "end"), ("head", "head_start", "head_end")):
                if line[words] is not None:
                    assert made.text[line[start] : line[end]] == line[words]
        for mark in marks_of(made):
            item = item_of(made, "entity" if mark.kind == "entity" else "event", mark.number)
            assert item is not None


def random_marks(seed: int, length: int) -> list[Mark]:
    draw = random.Random(seed)
    pairs = [sorted(draw.sample(range(length + 1), 2)) for _ in range(draw.randint(0, 12))]
    return [Mark(start, end, f"t{n % 3}", None, "entity", n) for n, (start, end) in enumerate(pairs)]


@pytest.mark.parametrize("seed", range(30))
def test_segments_are_the_text_and_know_their_marks(seed: int) -> None:
    marks = random_marks(seed, 40)
    pieces = segments(40, marks)
    assert "".join("x" * (p.end - p.start) for p in pieces) == "x" * 40
    for piece in pieces:
        for at in range(piece.start, piece.end):
            assert set(piece.covered) == {n for n, m in enumerate(marks) if m.start <= at < m.end}
    layer = layers(marks)
    for a in range(len(marks)):
        for b in range(a):
            if marks[a].start < marks[b].end and marks[b].start < marks[a].end:
                assert layer[a] != layer[b]


def test_deep_nesting_is_drawn_within_bounds() -> None:
    marks = [Mark(n, 100 - n, "t", None, "entity", n) for n in range(40)]
    assert max(layers(marks)) == 39
    assert max(drawn_layers(marks)) == DEEPEST - 1
    seen = Seen()
    seen.feed(marked_html("x" * 100, marks, {}))
    assert seen.text == "x" * 100


class Seen(HTMLParser):
    """Text outside chips, and every tag."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.chip = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        style = dict(attrs).get("style") or ""
        if self.chip or "font-size:.68em" in style:
            self.chip += 1
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_endtag(self, tag: str) -> None:
        if self.chip:
            self.chip -= 1

    def handle_data(self, data: str) -> None:
        if not self.chip:
            self.text += data


def test_nothing_of_a_text_or_a_label_is_markup() -> None:
    evil = '"><img src=x onerror=alert(1)>'
    marks = [Mark(0, len(HARD), evil, 0.5, "entity", 0), Mark(3, 9, "b", None, "entity", 1)]
    seen = Seen()
    seen.feed(marked_html(HARD, marks, colours([evil, "b"])))
    assert set(seen.tags) == {"div", "span"}
    assert seen.text == HARD


def test_the_file_stands_alone_and_runs_nothing() -> None:
    page = document_html(HARD, [HARD], [(HARD, HARD, [])], {}, [(HARD, [HARD], [[HARD, None, 0.25]])])
    seen = Seen()
    seen.feed(page)
    assert not {"script", "img", "link", "iframe", "object"} & set(seen.tags)
    assert "default-src 'none'" in page
    assert "0.25" in seen.text


def test_arcs_share_what_they_can_and_escape() -> None:
    text = "Ann <b>Bo</b>"
    links = [Arc("kin", (0, 3), (7, 9), 0.5), Arc("<i>", (0, 3), (7, 9), None), Arc("kin", (7, 9), (0, 3), 0.9)]
    figure = arcs(text, links, {"kin": "#111111"})
    assert len(figure.data) == 2
    assert list(figure.layout.xaxis.ticktext) == ["Ann", "Bo"]
    assert any("&lt;i&gt;" in (note.text or "") for note in figure.layout.annotations)


def test_no_name_of_an_arc_is_written_over_another() -> None:
    """Boxes of the names in pixels, reckoned here from the figure itself: a letter at least 6 wide, a line at least 12 high."""
    text = " ".join(f"word{n:02}" for n in range(9))
    place = [(7 * n, 7 * n + 6) for n in range(9)]
    pairs = [(0, 1), (1, 2), (2, 3), (3, 4), (0, 2), (2, 4), (4, 0), (5, 6), (6, 5), (7, 8), (1, 3)]
    links = [Arc("organization based in", place[a], place[b], 0.5) for a, b in pairs]
    figure = arcs(text, links, {})
    low, high = figure.layout.xaxis.range
    bottom, top = figure.layout.yaxis.range
    across, up = 340 / (high - low), (figure.layout.height - 60) / (top - bottom)
    boxes = []
    for note in figure.layout.annotations:
        if note.text:
            half = max(len(line) for line in note.text.split("<br>")) * 6 / 2
            boxes.append((note.x * across - half, note.x * across + half, note.y * up, note.y * up + 12))
    assert len(boxes) == len(pairs)
    for a, one in enumerate(boxes):
        for other in boxes[:a]:
            assert one[1] <= other[0] or other[1] <= one[0] or one[3] <= other[2] or other[3] <= one[2], (one, other)
