"""Figures of bands and curves draw the numbers of their tables, on page and paper."""

from __future__ import annotations

import io

import numpy as np
import pytest

from tests.capture_factory import make_capture
from workbench.analysis.affinity import affinity_table
from workbench.analysis.concentration import rank_table
from workbench.analysis.iou_curve import iou_curve_table
from workbench.analysis.repetition import repetition_table
from workbench.analysis.significance import significance_table
from workbench.capture import Capture, CaptureError
from workbench.figures import interactive_significance as page
from workbench.figures import paper_significance as paper


@pytest.fixture(scope="module")
def capture() -> Capture:
    return make_capture(3, 16, ["<b>one</b>", "two $x$", "three"], 600)


@pytest.mark.parametrize("name", ["normalised entropy", "IoU"])
def test_bands(capture: Capture, name: str) -> None:
    table = significance_table(capture, name, resamples=30, draws=50)
    figure = page.bands(table)
    points = [trace for trace in figure.data if trace.mode == "markers"]
    for cell, trace in enumerate(points):
        assert np.allclose(trace.y, table.value[:, cell], equal_nan=True)
        assert np.allclose(
            np.asarray(trace.y) + trace.error_y.array, np.maximum(table.high, table.value)[:, cell], equal_nan=True
        )
        assert [width > 0 for width in trace.marker.line.width] == table.significant[:, cell].tolist()
    assert "<b>one</b>" not in figure.to_json()
    paper.bands(table).savefig(io.BytesIO(), format="png")
    with pytest.raises(CaptureError, match="single experts"):
        page.bands(significance_table(capture, "utilisation", null=None, resamples=20))


def test_curve_heat_map_ranks_and_lines(capture: Capture) -> None:
    site = capture.sites[0].id
    curve = iou_curve_table(capture, site, draws=20)
    drawn = [trace for trace in page.iou_curve(curve).data if trace.showlegend]
    assert np.allclose([trace.y for trace in drawn], curve.iou)
    affinity = affinity_table(capture, site)
    z = np.asarray(page.affinity(affinity).data[0].z, dtype=float)
    assert np.allclose(z[~affinity.few], np.clip(np.log2(affinity.lift[~affinity.few]), -3, 3))
    assert np.isnan(z[affinity.few]).all()
    ranks = rank_table(capture, site)
    assert np.allclose(page.ranks(ranks).data[1].y, 100 * ranks.share_first[0])
    repeat = repetition_table(capture)
    parts = (
        repeat.sites,
        repeat.strand,
        repeat.groups,
        repeat.all_groups,
        repeat.first,
        repeat.first_chance,
        repeat.n,
        "share of pairs",
    )
    marks = [trace for trace in page.lines_with_chance(*parts).data if trace.mode == "markers"]
    assert np.allclose(np.array([trace.y for trace in marks]).T, repeat.first)
    for figure in (
        paper.iou_curve(curve),
        paper.affinity(affinity),
        paper.ranks(ranks),
        paper.lines_with_chance(*parts),
    ):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=60)
        assert buffer.getvalue().startswith(b"\x89PNG")
