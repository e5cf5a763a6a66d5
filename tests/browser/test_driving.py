"""The hands themselves, on a slow page: what is read stands, and what is typed arrives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import WAIT, serving, settle
from tests.browser.driving import fill, number, press, switch

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
# Its fields move down each time the page is drawn, which takes half a second, and a part of it draws itself beside that.
SLOW = """
import time
import streamlit as st

@st.fragment(run_every=1.0)
def clock():
    st.caption(str(time.time()))

st.title("Slow")
with st.sidebar:
    clock()
times = st.session_state["times"] = st.session_state.get("times", 0) + 1
for number in range(min(times, 6)):
    st.caption(f"line {number}")
time.sleep(0.5)
(left,) = st.columns(1)
with left:
    word, size = st.text_input("Word", key="word"), st.number_input("Size", 0, 9, key="size")
    on = st.toggle("On", key="on")
st.button("Show")
st.markdown(f"has {word}, {size}, {on}")
if times > 4:
    st.html("<p>late &lt;b&gt; words</p>")
"""


@pytest.fixture
def page(chromium: Any, tmp_path: Path) -> Iterator[Any]:
    (tmp_path / "slow.py").write_text(SLOW)
    with serving(tmp_path, str(tmp_path / "slow.py")) as url:
        context = chromium.new_context()
        try:
            tab = context.new_page()
            tab.set_default_timeout(WAIT)
            tab.goto(url)
            settle(tab)
            yield tab
        finally:
            context.close()


def test_what_is_typed_arrives_and_what_is_read_stands(page: Any) -> None:
    fill(page, "Word", "cat")
    number(page, "Size", 7)
    switch(page, "On")
    assert "has cat, 7, True" in page.locator("[data-testid=stMain]").inner_text()
    # Code that is loaded when it is first needed comes late.
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    network.send("Network.emulateNetworkConditions", {"offline": False, "latency": 2_500, "downloadThroughput": -1, "uploadThroughput": -1})  # fmt: skip
    press(page, "Show")
    assert "late <b> words" in page.locator("[data-testid=stMain]").inner_text()
