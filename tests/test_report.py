"""The report is one file that runs nothing, asks for nothing and escapes what it was given."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from tests.capture_factory import make_capture
from workbench.capture import Flag
from workbench.report import report_html

HOSTILE = '<script>alert("x")</script>'


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.links: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "data", "action")]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(html: str) -> Tags:
    tags = Tags()
    tags.feed(html)
    return tags


def test_self_contained() -> None:
    tags = read(report_html(make_capture(sites=2, groups=2, experts=8)))
    assert "script" not in tags.names
    assert tags.links and all(link.startswith("data:image/svg+xml;base64,") for link in tags.links)
    assert tags.names.count("img") == 6


def test_everything_is_escaped() -> None:
    capture = make_capture(
        sites=2,
        groups=[HOSTILE, "b"],
        experts=8,
        model_id=HOSTILE,
        notes=HOSTILE,
        licence=HOSTILE,
        grouped_by=HOSTILE,
        flags=(Flag(kind="recomputed", detail=HOSTILE),),
    )
    html = report_html(capture)
    tags = read(html)
    assert "script" not in tags.names
    assert HOSTILE in "".join(tags.text), "the text is shown, not dropped"


def test_says_what_was_recorded() -> None:
    capture = make_capture(sites=2, groups=["prose", "code"], experts=8, tokens_per_group=[200, 150])
    text = re.sub(r"\s+", " ", " ".join(read(report_html(capture)).text))
    for words in ("synthetic/moe", "prose", "code", "200", "150"):
        assert words in text


def test_equal_captures_give_equal_reports() -> None:
    assert report_html(make_capture(sites=2, groups=2, experts=8)) == report_html(
        make_capture(sites=2, groups=2, experts=8)
    )
