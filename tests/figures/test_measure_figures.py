"""Figures of nulls, curves and measures over token rows draw the numbers of their tables, on page and paper."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.figure import Figure

from tests.capture_factory import make_capture
from workbench.analysis.affinity import affinity_table
from workbench.analysis.coactivation import coactivation_table
from workbench.analysis.compare import compare_table
from workbench.analysis.concentration import concentration_table, rank_table
from workbench.analysis.frequency import frequency_table
from workbench.analysis.intervals import split_half
from workbench.analysis.iou_curve import iou_curve_table
from workbench.analysis.load import heatmap_table, utilisation_table
from workbench.analysis.overlap import overlap_table
from workbench.analysis.pair_null import pair_band
from workbench.analysis.repetition import repetition_table
from workbench.analysis.saturation import saturation_table
from workbench.analysis.significance import SignificanceTable, significance_table
from workbench.analysis.specialisation import specialisation_table
from workbench.analysis.vocabulary import vocabulary_table
from workbench.capture import Capture, CaptureError
from workbench.figures import (
    interactive,
    interactive_lines,
    interactive_measures,
    lines,
    marks,
    paper,
    paper_lines,
    paper_measures,
)
from workbench.figures.style import FEW_COLOUR


@pytest.fixture(scope="module")
def capture() -> Capture:
    return make_capture(3, 16, ["<b>one</b>", "two $x$", "three"], 600)


def with_shared_ids(capture: Capture) -> Capture:
    """The same capture whose groups hold the same token ids."""
    import pyarrow as pa

    assert capture.tokens is not None
    rows = capture.tokens["text"]
    ids = pa.array([position % 14 for position in rows.column("position").to_pylist()], pa.int32())
    changed = rows.set_column(rows.column_names.index("token_id"), "token_id", ids)
    return Capture(capture.manifest, capture._load, tokens={"text": changed})


def drawn(figure: Figure) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=60)
    assert buffer.getvalue().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["normalised entropy", "IoU"])
def test_bands(capture: Capture, name: str) -> None:
    table = significance_table(capture, name, resamples=30, draws=50)
    figure = interactive_measures.bands(table)
    points = [trace for trace in figure.data if trace.mode == "markers" and trace.error_y.array is not None]
    assert len(points) == 3
    for cell, trace in enumerate(points):
        assert np.allclose(trace.y, table.value[:, cell], equal_nan=True)
        assert np.allclose(
            np.asarray(trace.y) + trace.error_y.array, np.maximum(table.high, table.value)[:, cell], equal_nan=True
        )
        assert [width > 0 for width in trace.marker.line.width] == table.significant[:, cell].tolist()
    assert "<b>one</b>" not in figure.to_json()
    drawn(paper_measures.bands(table))
    with pytest.raises(CaptureError, match="single experts"):
        interactive_measures.bands(significance_table(capture, "utilisation", null=None, resamples=20))


def test_curve_heat_map_and_ranks(capture: Capture) -> None:
    site = capture.sites[0].id
    curve = iou_curve_table(capture, site, draws=20)
    lines_drawn = [trace for trace in interactive_measures.iou_curve(curve).data if trace.showlegend]
    assert np.allclose([trace.y for trace in lines_drawn], curve.iou)
    affinity = affinity_table(capture, site)
    z = np.asarray(interactive_measures.affinity(affinity).data[0].z, dtype=float)
    assert np.allclose(z[~affinity.few], np.clip(np.log2(affinity.lift[~affinity.few]), -3, 3))
    grey = np.asarray(interactive_measures.affinity(affinity).data[1].z, dtype=float)
    assert np.array_equal(grey == 1.0, affinity.few)
    ranks = rank_table(capture, site)
    assert np.allclose(interactive_measures.ranks(ranks).data[1].y, 100 * ranks.share_first[0])
    for figure in (paper_measures.iou_curve(curve), paper_measures.affinity(affinity), paper_measures.ranks(ranks)):
        drawn(figure)


def test_lines_of_token_rows_hold_values_and_chance(capture: Capture) -> None:
    earlier = make_capture(3, 16, ["<b>one</b>", "two $x$", "three"], 600, seed=9)
    repeat, weights = repetition_table(capture), concentration_table(capture)
    saturation = saturation_table([earlier], capture, names=["a"], last_name="b", resamples=30)
    words, same = vocabulary_table(capture), frequency_table(with_shared_ids(capture), draws=10)
    assert np.isfinite(same.divergence_within).all()
    for made, value, chance in (
        (lines.of_repetition(repeat), repeat.first, repeat.first_chance),
        (lines.of_repetition(repeat, "any"), repeat.any, repeat.any_chance),
        (lines.of_concentration(weights), weights.first_share, np.full((3, 3), 0.5)),
        (lines.of_saturation(saturation), saturation.value[0], saturation.chance[0]),
        (lines.of_vocabulary(words), words.value[:, None], words.chance[:, None]),
        (lines.of_frequency(same), same.divergence_within, None),
    ):
        assert np.allclose(np.stack([line.value for line in made.lines], axis=1), value)
        if chance is not None:
            assert np.allclose(
                np.stack([line.chance for line in made.lines if line.chance is not None], axis=1), chance
            )
        points = [
            trace
            for trace in interactive_lines.site_lines(made).data
            if trace.mode == "markers" and trace.x[0] is not None
        ]
        assert np.allclose(np.array([trace.y for trace in points]).T, value)
        drawn(paper_lines.site_lines(made))


def test_legend_shows_the_colour_of_a_line_whose_first_point_is_grey(capture: Capture) -> None:
    table = compare_table(
        [capture, make_capture(3, 16, ["<b>one</b>", "two $x$", "three"], 600, seed=2)], "Jensen-Shannon"
    )
    made = lines.of_comparison(table)
    assert any(line.few[0] for line in made.lines)
    legend = [trace for trace in interactive_lines.site_lines(made).data if trace.showlegend is not False]
    shown = {trace.name: trace.marker.color for trace in legend if trace.name != "within noise"}
    assert shown == {
        line.name.replace("<b>", "&lt;b&gt;").replace("</b>", "&lt;/b&gt;"): line.style.colour for line in made.lines
    }
    assert not set(shown.values()) & {FEW_COLOUR}


def veiled(figure: object) -> np.ndarray:
    layer = next(trace for trace in figure.data if trace.name == "veil")  # type: ignore[attr-defined]
    return np.asarray(layer.z, dtype=float) == 1.0


def table_of(capture: Capture, name: str) -> SignificanceTable:
    return significance_table(capture, name, resamples=30, draws=100)


@pytest.mark.parametrize("name", ["utilisation", "specialisation"])
def test_cells_within_the_null_are_pale_and_the_others_not(capture: Capture, name: str) -> None:
    table = heatmap_table(capture, "three") if name == "utilisation" else specialisation_table(capture, "three")
    found = table_of(capture, name)
    over = marks.of_heatmap(found, table)
    assert over is not None and found.significant[:, 2].any()
    figure = interactive.heatmap(table, marks=over)
    assert np.array_equal(veiled(figure), ~found.significant[:, 2] & ~table.few[:, None])
    notes = next(trace for trace in figure.data if trace.name == "cells").customdata[:, 6]
    assert all("null" in note and "interval" in note for note in notes)
    drawn(paper.heatmap([table, table], marks=[over, None]))
    assert marks.of_heatmap(found, heatmap_table(capture)) is None  # all groups pooled: the null is of single groups


def test_utilisation_has_the_null_in_shares_of_tokens(capture: Capture) -> None:
    table = utilisation_table(capture)
    over = marks.of_utilisation(
        significance_table(capture, "utilisation", [s.id for s in table.sites], resamples=30, draws=100), table
    )
    assert over is not None
    # Every token chooses 2 of 16 here, so that a load of 1 is a share of 2 / 16.
    found = significance_table(capture, "utilisation", [s.id for s in table.sites], resamples=30, draws=100)
    assert found.null is not None and np.allclose(over.null_low, found.null.low * 2 / 16)
    bars = [trace for trace in interactive.utilisation(table, marks=over).data if trace.type == "bar"]
    assert np.allclose(bars[0].marker.opacity, np.where(found.significant[0, 0], 1.0, 0.4))
    drawn(paper.utilisation(table, marks=over))


def test_overlap_has_arrows_and_the_group_with_itself(capture: Capture) -> None:
    table = overlap_table(capture)
    sites = [site.id for site in table.sites]
    found, halves = significance_table(capture, "IoU", sites, resamples=30, draws=200), split_half(capture, sites)
    over = marks.of_overlap(found, halves, 3)
    assert over is not None and found.null is not None
    expected = np.where(found.null.observed < found.null.mean, -1, 1) * found.significant
    for pair, (a, b) in enumerate(((0, 1), (0, 2), (1, 2))):
        assert np.array_equal(over.sign[:, a, b], expected[:, pair]) and np.array_equal(
            over.sign[:, b, a], expected[:, pair]
        )
    cells = interactive.overlap(table, marks=over).data[0]
    assert np.allclose(np.diagonal(np.asarray(cells.z, dtype=float)), halves.iou[0])
    for a, b in ((0, 1), (2, 1)):
        assert cells.text[a][b].endswith(marks.arrow(int(over.sign[0, a, b])))
    drawn(paper.overlap(table, marks=over))


def test_pairs_as_loads_make_them_are_pale(capture: Capture) -> None:
    table, band = coactivation_table(capture, "text_1_mlp"), pair_band(capture, "text_1_mlp", resamples=50)
    over = marks.of_pairs(band)
    off = ~np.eye(16, dtype=bool)
    assert np.array_equal(veiled(interactive.coactivation(table, marks=over)), ~band.significant & off & ~band.few)
    drawn(paper.coactivation(table, marks=over))


@pytest.mark.parametrize("panels", [1, 2])
def test_the_colour_bar_of_a_square_map_is_as_high_as_the_map(panels: int) -> None:
    from workbench.figures import paper, paper_measures

    capture = make_capture(2, 8, 2, 300)
    sites = [site.id for site in capture.sites][:panels]
    figures = [paper.coactivation([coactivation_table(capture, site) for site in sites])]
    if panels == 1:
        figures.append(paper_measures.affinity(affinity_table(capture, sites[0])))
    for figure in figures:
        figure.canvas.draw()
        maps = [axes for axes in figure.axes if axes.images]
        bars = [child for axes in maps for child in axes.child_axes]
        assert len(maps) == len(bars) == panels
        for axes, bar in zip(maps, bars, strict=True):
            square, beside = axes.get_window_extent(), bar.get_window_extent()
            assert (beside.y0, beside.height) == pytest.approx((square.y0, square.height), abs=1)
            assert square.width == pytest.approx(square.height, rel=0.01) and beside.x0 > square.x1
