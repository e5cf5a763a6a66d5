"""The strip of tokens, the route of one token, and the file that replays a run: the numbers in them, and no text as HTML."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest

from tests.capture_factory import make_sites
from workbench.analysis.trace import NO_EXPERT, Trace
from workbench.capture import CaptureError
from workbench.figures import live_html as module
from workbench.figures.live import MOST_TOKENS, route, strip_data, token_words
from workbench.figures.live_html import live_html
from workbench.figures.live_script import STRIP_JS, expert_colour

EVIL = '</script><img src=x onerror="alert(1)">&\u2028<!--'


def make_trace(tokens: int = 5, layers: int = 3, experts: int = 6, top_k: int = 2, seed: int = 0) -> Trace:
    """Random choices; the last token is written and has not gone through the layers."""
    random = np.random.default_rng(seed)
    chosen = np.argsort(random.random((layers, tokens, experts)), axis=2)[..., :top_k].astype(np.int32)
    weights = -np.sort(-random.random((layers, tokens, top_k)), axis=2).astype(np.float32)
    chosen[:, -1], weights[:, -1] = NO_EXPERT, 0
    written = np.arange(tokens) >= tokens - 2
    return Trace(
        name="Prompt",
        sites=make_sites(layers, experts, top_k),
        token_ids=np.arange(tokens),
        pieces=tuple(f" w{number}" for number in range(tokens)),
        modality=("text",) * tokens,
        stack=("text",) * tokens,
        written=written,
        special=np.arange(tokens) == 0,
        probability=np.where(written, 0.5, np.nan).astype(np.float32),
        experts=chosen,
        weights=weights,
    )


# ---------------------------------------------------------------------------------------------- strip
def test_strip_holds_the_first_choices_of_one_site() -> None:
    trace = make_trace()
    data = strip_data(trace, trace.sites[1].id, picked=3)
    assert data["expert"] == [*trace.experts[1, :-1, 0].tolist(), -1] and data["picked"] == 3 and data["only"] == -1
    assert data["written"] == [0, 0, 0, 1, 1] and data["waiting"] == [0, 0, 0, 0, 1] and data["where"] == "layer 1"
    assert data["probability"] == [None, None, None, 0.5, 0.5]
    assert data["note"][0] == ", ".join(
        f"expert {expert} ({weight:.2f})"
        for expert, weight in zip(trace.experts[1, 0], trace.weights[1, 0], strict=True)
    )
    assert sum(row[1] for row in data["legend"]) == 4 and sum(row[2] for row in data["legend"]) == pytest.approx(1)
    json.dumps(data)


def test_strip_of_one_expert_marks_its_tokens_by_weight() -> None:
    trace = make_trace()
    expert = int(trace.experts[2, 0, 1])  # a second choice counts too
    data = strip_data(trace, trace.sites[2].id, only=expert)
    chosen = (trace.experts[2] == expert).any(axis=1)
    assert [value > 0 for value in data["marked"]] == chosen.tolist() and max(data["marked"]) == 1.0


def test_long_texts_draw_their_end() -> None:
    trace = make_trace(tokens=MOST_TOKENS + 20, layers=1)
    data = strip_data(trace, trace.sites[0].id)
    assert data["first"] == 20 and len(data["text"]) == MOST_TOKENS and data["text"][0] == " w20"


def test_script_writes_texts_as_text() -> None:
    assert "innerHTML" not in STRIP_JS and "innerHTML" not in module._JS and "eval" not in STRIP_JS + module._JS


def test_neighbouring_experts_differ_in_hue() -> None:
    hues = [float(re.findall(r"hsl\(([\d.]+)", expert_colour(expert))[0]) for expert in range(256)]
    steps = [min(abs(a - b), 360 - abs(a - b)) for a, b in pairwise(hues)]
    assert min(steps) > 100 and len(set(hues)) == 256


# ---------------------------------------------------------------------------------------------- route
def test_route_has_a_piece_for_every_choice() -> None:
    trace = make_trace()
    figure = route(trace, 2)
    assert len(figure.data) == 2
    for rank, bars in enumerate(figure.data):
        assert list(bars.text) == [str(expert) for expert in trace.experts[:, 2, rank]]
        np.testing.assert_allclose(bars.x, trace.weights[:, 2, rank], rtol=1e-6)
        assert [row[0] for row in bars.customdata] == [site.id for site in trace.sites]
        assert list(bars.marker.color) == [expert_colour(expert) for expert in trace.experts[:, 2, rank]]


def test_route_of_a_token_that_has_not_gone_through_says_so() -> None:
    figure = route(make_trace(), 4)
    assert not figure.data and "has not gone through the layers" in figure.layout.annotations[0].text


def test_route_leaves_out_sites_that_did_not_see_the_token() -> None:
    trace = make_trace()
    experts = trace.experts.copy()
    experts[1, 2] = NO_EXPERT
    figure = route(replace(trace, experts=experts), 2)
    assert [row[0] for row in figure.data[0].customdata] == [trace.sites[0].id, trace.sites[2].id]


def test_names_of_tokens_are_escaped_and_short() -> None:
    trace = replace(make_trace(), pieces=("<b>x</b>", "y" * 100, "\n", None, "z"))
    assert "&lt;b&gt;" in route(trace, 0).layout.title.text and "<b>" not in route(trace, 0).layout.title.text
    assert (
        len(token_words(trace, 1)) < 60 and "↵" in token_words(trace, 2) and token_words(trace, 3) == "token 3 (text)"
    )


# ---------------------------------------------------------------------------------------------- the file
class Tags(HTMLParser):
    """Tags of a page, and the content of its data block."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.data = ""
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._inside = dict(attrs).get("id") == "data"

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.data += data


def test_file_holds_every_number_and_no_foreign_tag() -> None:
    trace = replace(make_trace(), pieces=(EVIL, " w1", None, "é", "日本"), name=EVIL)
    page = live_html([trace], {"Model": EVIL, "Device": "cpu"}, EVIL)
    tags = Tags()
    tags.feed(page)
    assert "img" not in tags.tags and tags.tags.count("script") == 2
    data = json.loads(tags.data)
    (run,) = data["runs"]
    assert run["text"] == [EVIL, " w1", None, "é", "日本"] and run["name"] == EVIL
    shape = trace.experts.shape
    codes = np.frombuffer(base64.b64decode(run["experts"]), "<u2").reshape(shape)
    np.testing.assert_array_equal(np.where(codes == 0xFFFF, NO_EXPERT, codes.astype(np.int32)), trace.experts)
    weights = np.frombuffer(base64.b64decode(run["weights"]), "<u2").reshape(shape) / 65535 * run["top"]
    np.testing.assert_allclose(weights, trace.weights, atol=2e-5)
    assert [site["experts"] for site in data["sites"]] == [6, 6, 6]


def test_file_asks_nobody_for_anything() -> None:
    page = live_html([make_trace()], {})
    assert "default-src 'none'" in page and not re.search(r"https?://|src=|@import|url\(", page)


def test_two_sequences_and_none() -> None:
    page = live_html([make_trace(), make_trace(seed=1).upto(3)], {})
    assert page.count('"name":"Prompt"') == 2
    with pytest.raises(CaptureError, match="it holds no token"):
        live_html([make_trace().upto(0)], {})


def test_too_large_a_run_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CHOICES", 10)
    with pytest.raises(CaptureError, match="keep it as a capture instead"):
        live_html([make_trace()], {})
