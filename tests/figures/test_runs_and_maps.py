"""Curves, playback and maps: the same numbers in both figures, every point once, no markup from names."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from tests.capture_factory import make_capture
from workbench.analysis.curves import CurvesTable, joined
from workbench.analysis.curves_captures import balance_curves, balance_points
from workbench.analysis.curves_metrics import metric_curves
from workbench.analysis.load import heatmap_table
from workbench.analysis.map_features import expert_features, token_features
from workbench.analysis.projection import MapTable, pca_map, umap_map
from workbench.capture import CaptureError
from workbench.export import figure_bytes
from workbench.figures import interactive_curves, interactive_map, paper_curves, paper_map
from workbench.figures.map_style import COLOURS_BY, classes


def curves() -> CurvesTable:
    metrics = pd.DataFrame({"loss": [3.0, 2.0, np.inf], "loss/<b>x": [3.0, 2.0, 1.0]}, index=pd.Index([1, 2, 3]))
    capture = make_capture(2, 6, 2, 100)
    points = [(step, balance_points(capture, "normalised entropy", ["text_0_mlp"], None)) for step in (0, 3)]
    return joined(
        [metric_curves([("a$b", metrics), ("two", metrics)]), balance_curves([("a$b", points), ("two", points)])]
    )


def test_curves_hold_the_tables_numbers() -> None:
    table = curves()
    figure = interactive_curves.curves(table)
    drawn = [trace for trace in figure.data if trace.mode and "lines" in trace.mode and trace.x[0] is not None]
    assert len(drawn) == len(table.curves)
    for trace, curve in zip(drawn, table.curves, strict=True):
        assert np.array_equal(trace.x, curve.x) and np.array_equal(trace.y, curve.y, equal_nan=True)
    crosses = [trace for trace in figure.data if trace.mode == "markers"]
    assert len(crosses) == 2 and list(crosses[0].x) == [3], "a loss that is not finite is marked"
    legend = [trace.name for trace in figure.data if trace.showlegend is not False]
    assert len(legend) == len(set(legend)) and "<b>" not in "".join(legend) and "two" in legend
    lines = [line for axes in paper_curves.curves(table).axes for line in axes.get_lines() if len(line.get_xdata()) > 1]
    assert all(
        any(np.array_equal(line.get_ydata(), curve.y, equal_nan=True) for line in lines) for curve in table.curves
    )


@pytest.mark.parametrize("form", ["png", "pdf", "svg"])
def test_paper_figures_are_files_and_the_same_twice(form: str) -> None:
    features = expert_features(make_capture(2, 8, 3, 100), "load")
    table = pca_map(features, make_capture(2, 8, 3, 1).manifest.groups)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for make in (lambda: paper_curves.curves(curves()), lambda: paper_map.scatter(table, "layer")):
            assert figure_bytes(make(), form) == figure_bytes(make(), form)


def test_playback_has_a_frame_a_capture_on_one_scale() -> None:
    captures = [make_capture(3, 6, 2, [200, 2], seed=seed) for seed in range(4)]
    steps = [0, 10, 20, 30]
    figure = interactive_curves.playback([heatmap_table(capture, "Text") for capture in captures], steps)
    assert [frame.name for frame in figure.frames] == ["0", "10", "20", "30"]
    assert len({(frame.data[0].zmin, frame.data[0].zmax) for frame in figure.frames}) == 1
    for frame, capture in zip(figure.frames, captures, strict=True):
        load = capture.count[:, 0] / capture.count[:, 0].sum(axis=1, keepdims=True) * 6
        with np.errstate(divide="ignore"):
            expected = np.clip(np.log2(load), frame.data[0].zmin, frame.data[0].zmax)
        assert np.allclose(frame.data[0].z, expected, atol=1e-4)
    assert [step.args[0][0] for step in figure.layout.sliders[0].steps] == ["0", "10", "20", "30"]
    assert np.array_equal(figure.data[0].z, figure.frames[-1].data[0].z), "the last capture is shown first"
    with pytest.raises(CaptureError, match="no capture yet"):
        interactive_curves.playback([], [])


def maps(kind: str) -> MapTable:
    capture = make_capture(3, 8, ["<i>a", "b$"], 80)
    features = expert_features(capture, "load") if kind == "experts" else token_features(capture, "experts")
    return pca_map(features, capture.manifest.groups)


@pytest.mark.parametrize("by", COLOURS_BY)
@pytest.mark.parametrize("kind", ["experts", "tokens"])
def test_every_point_is_drawn_once_in_both_figures(kind: str, by: str) -> None:
    table = maps(kind)
    if (kind, by) == ("tokens", "layer"):
        with pytest.raises(CaptureError, match="only experts are coloured by layer"):
            interactive_map.scatter(table, by)
        return
    figure = interactive_map.scatter(table, by)
    numbers = [point[0] for trace in figure.data for point in trace.customdata]
    assert sorted(numbers) == list(range(len(table.xy)))
    xy = np.array([(x, y) for trace in figure.data for x, y in zip(trace.x, trace.y, strict=True)])
    assert np.allclose(xy, table.xy[numbers]) and "<i>" not in "".join(trace.name for trace in figure.data)
    drawn = np.concatenate([part.get_offsets() for part in paper_map.scatter(table, by).axes[0].collections])
    assert np.allclose(drawn, xy)


def test_classes_are_by_label() -> None:
    table = maps("tokens")
    for part in classes(table, "group"):
        assert set(table.features.rows["group"].iloc[part.points]) == {part.name}
    words = [None, "the", "the", " a", *["x"] * (len(table.xy) - 4)]
    named = {part.name: len(part.points) for part in classes(table, "token", words)}
    assert named == {"other tokens": 1, "x": len(table.xy) - 4, "the": 2, "␣a": 1}
    with pytest.raises(CaptureError, match="not by 'weather'"):
        classes(table, "weather")


def test_many_layers_are_bands() -> None:
    capture = make_capture(20, 4, 2, 60)
    table = pca_map(expert_features(capture, "load"), capture.manifest.groups)
    parts = classes(table, "layer")
    assert len(parts) == 8 and parts[0].name == "layers 0 to 2" and sum(len(part.points) for part in parts) == 80


def test_a_position_of_umap_is_no_number() -> None:
    table = maps("experts")
    laid_out = umap_map(table.features, table.groups, table.xy, seed=0, neighbours=5, min_dist=0.1)
    figure = interactive_map.scatter(laid_out)
    assert figure.layout.xaxis.showticklabels is False and "no unit" in figure.layout.xaxis.title.text
    assert "proves nothing by" in laid_out.caption
