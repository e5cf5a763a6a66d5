"""The Elastic page in a browser: the shipped curve at once, a click on a point, its address in a fresh tab, a download."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import WAIT, Server

Visit = Callable[[str], Any]

pytestmark = pytest.mark.browser


def test_a_point_is_clicked_linked_and_taken_along(server: Server, visit: Visit, tmp_path: Path) -> None:
    page: Any = visit("elastic?curve=sample-omni-mini&cost=parameters_active")
    page.get_by_text("How small can I go, at what price?").wait_for(timeout=WAIT)
    chart = page.locator(".stPlotlyChart .js-plotly-plot").first
    chart.wait_for(timeout=WAIT)
    page.locator(".scatterlayer .trace .points path").first.wait_for(state="attached", timeout=WAIT)
    star = page.evaluate(
        """() => {
            const plot = document.querySelector('.stPlotlyChart .js-plotly-plot');
            const trace = plot.data.find(one => one.name === 'whole model');
            const box = plot.getBoundingClientRect(), layout = plot._fullLayout;
            const point = plot.calcdata[plot.data.indexOf(trace)][0];
            return [box.x + layout._size.l + layout.xaxis.c2p(point.x), box.y + layout._size.t + layout.yaxis.c2p(point.y)];
        }"""
    )
    page.mouse.move(*star)
    page.get_by_text("n = 37 documents").first.wait_for(timeout=WAIT)  # the hover says n
    page.mouse.click(*star)
    page.wait_for_function("() => new URL(location.href).searchParams.has('point')", timeout=WAIT)
    fresh: Any = visit(page.url.split("/", 3)[3])
    fresh.wait_for_function(
        """() => [...document.querySelectorAll('[data-testid=stSelectbox]')].some(
            box => (box.innerText + [...box.querySelectorAll('input')].map(one => one.value).join()).includes('the whole model'))""",
        timeout=WAIT,
    )
    with fresh.expect_download(timeout=WAIT) as caught:
        fresh.get_by_role("button", name="CSV").first.click()
    caught.value.save_as(tmp_path / "numbers.csv")
    text = (tmp_path / "numbers.csv").read_text()
    assert "pareto_front" in text.splitlines()[0] and len(text.splitlines()) == 37
    assert not server.loaded_torch()
