"""Figure builders are pure functions of tables: what they draw is checked without a browser."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from tests.capture_factory import make_capture, make_sites
from workbench.analysis.coactivation import coactivation_table
from workbench.analysis.load import balance_table, heatmap_table, utilisation_table
from workbench.analysis.overlap import overlap_table
from workbench.analysis.specialisation import specialisation_table
from workbench.capture import Capture
from workbench.export import figure_bytes
from workbench.figures import interactive, interactive_heatmap, paper
from workbench.figures.style import FEW_COLOUR, group_styles


@pytest.fixture(scope="module")
def capture() -> Capture:
    return make_capture(
        (*make_sites(4, 16), *make_sites(2, 6, stack="vision")),
        groups=6,
        tokens_per_group=[400, 300, 0, 300, 200, 10],
        seed=2,
    )


def traces(figure, kind: str) -> list:  # type: ignore[no-untyped-def,type-arg]
    return [trace for trace in figure.data if trace.type == kind]


def test_heat_map_is_centred_on_an_even_load(capture: Capture) -> None:
    table = heatmap_table(capture, "Text")
    figure = interactive_heatmap.heatmap(table)
    cells = traces(figure, "heatmap")[0]
    assert cells.zmin == pytest.approx(-cells.zmax), "log2 of load over even load: the middle colour is an even load"
    drawn = np.array(cells.z, dtype=float)
    assert drawn.shape[1] == 16
    with np.errstate(divide="ignore"):
        expected = np.log2(table.values[0])
    inside = np.isfinite(expected)
    assert drawn[0][inside] == pytest.approx(np.clip(expected[inside], cells.zmin, cells.zmax))


def test_an_expert_that_is_not_there_is_no_zero(capture: Capture) -> None:
    table = heatmap_table(capture, "Text")
    figure = interactive_heatmap.heatmap(table)
    drawn = np.array(traces(figure, "heatmap")[0].z, dtype=float)
    row = next(index for index, site in enumerate(table.sites) if site.stack == "vision")
    assert np.isnan(drawn[row, 6:]).all()
    assert np.isfinite(drawn[0]).all() or (table.values[0] == 0).any()


def test_every_cell_can_be_clicked(capture: Capture) -> None:
    """Heat maps report no selection: a transparent marker over each cell does, with its site and expert."""
    table = heatmap_table(capture, "Text")
    figure = interactive_heatmap.heatmap(table)
    markers = next(
        trace for trace in figure.data if trace.type in ("scattergl", "scatter") and trace.customdata is not None
    )
    assert len(markers.x) == int(table.exists.sum())
    assert {(str(row[0]), int(row[1])) for row in markers.customdata} == {
        (table.sites[site].id, int(expert)) for site, expert in np.argwhere(table.exists)
    }
    assert markers.hoverinfo != "skip", "a marker that skips hovering fires no click"
    assert figure.layout.xaxis.range is not None and figure.layout.yaxis.range is not None


def test_utilisation_has_a_panel_for_each_group_and_site(capture: Capture) -> None:
    table = utilisation_table(capture)
    figure = interactive.utilisation(table)
    assert len(traces(figure, "bar")) == len(table.groups) * len(table.sites)
    assert len(table.groups) == 5, "a group without tokens is not drawn"


@pytest.mark.parametrize("same_scale", [False, True])
def test_no_bar_is_cut_off(capture: Capture, same_scale: bool) -> None:
    """Also with an empty group among the rows, whose panel must not set the range of the others."""
    table = utilisation_table(capture, groups=capture.groups)
    figure = interactive.utilisation(table, same_scale=same_scale)
    for trace in traces(figure, "bar"):
        low, high = figure.layout[trace.yaxis.replace("y", "yaxis")].range
        assert low == 0 and high > np.max(trace.y)
    for axes in paper.utilisation(table, same_scale=same_scale).axes:
        for patch in axes.patches:
            assert axes.get_ylim()[1] > np.nanmax(patch.get_data().values)
    ranges = {figure.layout[trace.yaxis.replace("y", "yaxis")].range for trace in traces(figure, "bar")}
    assert (len(ranges) == 1) == same_scale


def test_overlap_leaves_the_diagonal_blank(capture: Capture) -> None:
    table = overlap_table(capture)
    figure = interactive.overlap(table)
    panels = [trace for trace in traces(figure, "heatmap") if trace.name != "few"]
    assert len(panels) == len(table.sites)
    for index, cells in enumerate(panels):
        drawn = np.array(cells.z, dtype=float)
        assert np.isnan(np.diagonal(drawn)).all()
        assert drawn[0, 1] == pytest.approx(table.iou[index, 0, 1])
        assert cells.coloraxis == "coloraxis"
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, 1)
    bar = figure.layout.coloraxis.colorbar
    for level in table.even_chance:
        assert any(
            "chance" in text and tick == pytest.approx(level, abs=1e-3)
            for tick, text in zip(bar.tickvals, bar.ticktext, strict=True)
        )


def test_balance_draws_no_line_across_stacks(capture: Capture) -> None:
    table = balance_table(capture)
    figure = interactive.balance(table)
    assert {group.name for group in table.groups} <= {trace.name.split(" (n =")[0] for trace in figure.data}
    text = next(trace for trace in figure.data if trace.name == "Text (n = 400)")
    values = np.array(text.y, dtype=float)
    assert np.isnan(values).tolist() == [False] * 4 + [True] + [False] * 2, (
        "a gap parts the text layers from the vision layers"
    )
    assert values[~np.isnan(values)] == pytest.approx(table.values[:, 0])
    assert not text.connectgaps
    printed = paper.balance(table).axes[0]
    spans = [
        sorted(line.get_xdata())
        for line in printed.lines
        if line.get_linestyle() != "None" and len(line.get_xdata()) > 1
    ]
    assert not any(span[0] <= 3 and span[-1] >= 5 for span in spans)


def test_few_tokens_are_grey_and_in_the_legend(capture: Capture) -> None:
    table = heatmap_table(capture, "Audio")  # 10 tokens
    assert table.few.all()
    figure = interactive_heatmap.heatmap(table)
    cover = next(trace for trace in figure.data if trace.type == "heatmap" and trace.name == "few")
    assert (np.array(cover.z, dtype=float) == 1).tolist() == table.exists.tolist()
    assert "few tokens" in {trace.name for trace in figure.data} and figure.layout.showlegend
    printed = paper.heatmap(table)
    assert [text.get_text() for text in printed.legends[0].get_texts()] == ["few tokens", "no such expert"]
    drawn = {patch.get_facecolor() for patch in printed.axes[0].patches if not patch.get_hatch()}
    assert drawn == {to_rgba(FEW_COLOUR)}


def test_on_paper_masked_is_hatched_and_zero_is_the_lowest_colour() -> None:
    logits = np.zeros((2, 1, 6))
    logits[0, 0, 0] = -np.inf  # expert 0 of the first site is never chosen
    made = make_capture(
        (*make_sites(1, 6), *make_sites(1, 4, part="attention")), groups=1, tokens_per_group=300, logits=logits
    )
    table = heatmap_table(made, "Text")
    assert table.count[0, 0] == 0 and table.values[0, 0] == 0
    axes = paper.heatmap(table).axes[0]
    image = axes.get_images()[0]
    shown = image.get_array()
    assert float(shown[0, 0]) == image.get_clim()[0], "never chosen: the end of the scale"
    assert shown.mask.tolist() == (~table.exists).tolist()
    hatched = [patch for patch in axes.patches if patch.get_hatch()]
    assert [patch.get_bbox().bounds for patch in hatched] == [(3.5, 0.5, 2.0, 1.0)]


def test_on_paper_the_scale_is_even_at_its_middle(capture: Capture) -> None:
    image = paper.heatmap(heatmap_table(capture, "Text")).axes[0].get_images()[0]
    low, high = image.get_clim()
    assert low == -high
    assert image.cmap(0.5)[:3] == pytest.approx(to_rgba("#f7f7f7")[:3], abs=0.01)


def test_axes_are_named(capture: Capture) -> None:
    text_only = [site.id for site in capture.sites if site.stack == "text"]
    figure = interactive_heatmap.heatmap(heatmap_table(capture, "Text", text_only))
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("expert", "layer")
    axes = paper.heatmap(heatmap_table(capture, "Text", text_only)).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("expert", "layer")
    axes = paper.heatmap(heatmap_table(capture, "Text")).axes[0]
    assert axes.get_ylabel() == "site", "two stacks have no common layer numbers"
    assert [tick.get_text() for tick in axes.get_yticklabels()][-1] == "vision 1"
    assert interactive.balance(balance_table(capture)).layout.yaxis.title.text.startswith("normalised entropy")


def test_chance_is_drawn(capture: Capture) -> None:
    table = utilisation_table(capture)
    level = 100 * table.chance[0]
    lines = [trace for trace in interactive.utilisation(table).data if trace.name == "chance"]
    assert len(lines) == len(table.groups) * len(table.sites)
    assert set(lines[0].y) == {level}
    dashed = [line for line in paper.utilisation(table).axes[0].lines if set(line.get_ydata()) == {level}]
    assert len(dashed) == 1


def test_names_from_outside_are_text_and_nothing_else() -> None:
    hostile = "<b onclick=x>$\\frac{$ &"
    made = make_capture(groups=[hostile, "b"], tokens_per_group=300)
    for figure in (
        interactive.heatmap(heatmap_table(made, hostile)),
        interactive.utilisation(utilisation_table(made)),
        interactive.overlap(overlap_table(made)),
        interactive.balance(balance_table(made)),
    ):
        assert "<b onclick" not in figure.to_json().replace("\\u003c", "<")
    for printed in (
        paper.utilisation(utilisation_table(made)),
        paper.balance(balance_table(made)),
        paper.overlap(overlap_table(made)),
    ):
        assert figure_bytes(printed, "png", dpi=40).startswith(b"\x89PNG")


def test_the_chosen_cell_is_framed(capture: Capture) -> None:
    figure = interactive.heatmap(heatmap_table(capture, "Text"), selected=(capture.sites[1].id, 3))
    frame = figure.layout.shapes[-1]
    assert (frame.x0, frame.x1, frame.y0, frame.y1) == (2.5, 3.5, 0.5, 1.5)


def test_groups_keep_their_colours_and_generation_is_told_apart(capture: Capture) -> None:
    styles = group_styles(capture.manifest.groups)
    assert styles["Image und."].colour == styles["Image gen."].colour
    assert styles["Image und."] != styles["Image gen."]
    assert len({style.colour for style in styles.values()}) == 4, "one colour a modality"
    many = group_styles(make_capture(groups=[f"kind {n}" for n in range(20)], tokens_per_group=10).manifest.groups)
    assert len({(style.colour, style.dash, style.hatch) for style in many.values()}) == 20


SIZES = [(2, 4, 2), (4, 16, 3), (60, 256, 6)]


@pytest.mark.parametrize(("sites", "experts", "groups"), SIZES)
def test_both_ways_of_drawing_take_the_same_tables(sites: int, experts: int, groups: int) -> None:
    made = make_capture(sites, experts, groups, tokens_per_group=400, top_k=2, token_rows=False, seed=1)
    group = made.groups[0]
    pairs = [
        (heatmap_table(made, group), interactive_heatmap.heatmap, paper.heatmap),
        (specialisation_table(made, group), interactive_heatmap.specialisation, paper.specialisation),
        (utilisation_table(made), interactive.utilisation, paper.utilisation),
        (overlap_table(made), interactive.overlap, paper.overlap),
        (balance_table(made), interactive.balance, paper.balance),
        (coactivation_table(made, made.sites[0].id), interactive.coactivation, paper.coactivation),
    ]
    for table, on_page, on_paper in pairs:
        figure, printed = on_page(table), on_paper(table)  # type: ignore[operator]
        assert len(figure.data) > 0
        assert len(printed.axes) > 0
        assert any(axes.has_data() for axes in printed.axes)
        assert table.caption.endswith(".")
        words = table.caption
        for name in made.groups:  # "Image und." ends in a full stop of its own
            words = words.replace(name, "group")
        assert words.count(". ") == 0, "a caption is one sentence"
        assert " not " in words, "and says what the figure does not prove"
        assert "n = " in words


def test_a_table_of_nothing_but_empty_groups_is_drawn_without_a_crash() -> None:
    made = make_capture(groups=2, tokens_per_group=[0, 50])
    table = heatmap_table(made, "Text")
    assert np.isnan(table.values).all()
    assert len(interactive_heatmap.heatmap(table).data) > 0
    assert len(paper.heatmap(table).axes) > 0
