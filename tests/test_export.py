"""Figures and numbers as files: right forms, equal bytes for equal captures, whole or not at all."""

from __future__ import annotations

import io
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

from tests.capture_factory import make_capture
from workbench.analysis.load import heatmap_table
from workbench.capture import Capture, CaptureError
from workbench.export import ExportError, figure_bytes, frame_bytes, plotly_html, write_figures
from workbench.figures import interactive_heatmap, paper


@pytest.fixture(scope="module")
def capture() -> Capture:
    return make_capture(sites=3, groups=3, experts=8)


def test_forms(capture: Capture) -> None:
    table = heatmap_table(capture, "Text")
    assert figure_bytes(paper.heatmap(table), "png").startswith(b"\x89PNG\r\n")
    pdf = figure_bytes(paper.heatmap(table), "pdf")
    assert pdf.startswith(b"%PDF-")
    assert b"/Type3" not in pdf.replace(b" ", b""), "journals refuse Type 3 fonts"
    assert b"/FontFile2" in pdf, "the font is embedded as TrueType"
    assert b"CreationDate" not in pdf
    svg = figure_bytes(paper.heatmap(table), "svg")
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    with pytest.raises(ExportError, match="png, pdf, svg, not 'gif'"):
        figure_bytes(paper.heatmap(table), "gif")


def test_numbers_come_back(capture: Capture) -> None:
    frame = heatmap_table(capture, "Text").frame()
    csv = pd.read_csv(io.BytesIO(frame_bytes(frame, "csv")))
    parquet = pd.read_parquet(io.BytesIO(frame_bytes(frame, "parquet")))
    assert csv["value"].tolist() == frame["value"].tolist() == parquet["value"].tolist()
    assert csv.columns.tolist() == frame.columns.tolist()
    with pytest.raises(ExportError, match="csv, parquet"):
        frame_bytes(frame, "xlsx")


def test_interactive_html_needs_no_network(capture: Capture) -> None:
    html = plotly_html(interactive_heatmap.heatmap(heatmap_table(capture, "Text")))
    assert 'src="http' not in html
    assert "Plotly.newPlot" in html


def test_a_folder_of_everything(capture: Capture, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    files = write_figures(capture, tmp_path / "figures", progress=lambda done, steps, text: seen.append((done, steps)))
    names = {file.name for file in files}
    for name in ("load", "heatmap", "overlap", "balance", "specialisation", "coactivation"):
        assert {f"{name}.{form}" for form in ("png", "pdf", "svg", "csv", "parquet")} <= names
    assert "report.html" in names
    assert names == {file.name for file in (tmp_path / "figures").iterdir()}
    assert seen[-1] == (7, 7)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    frame = pd.read_csv(tmp_path / "figures" / "load.csv")
    site, group = frame["site"].iloc[0], frame["group"].iloc[0]
    part = frame[(frame["site"] == site) & (frame["group"] == group)]
    assert part["share_of_tokens"].sum() == pytest.approx(2), "the shares of a site add up to top-k"


def test_the_same_capture_gives_the_same_bytes(capture: Capture, tmp_path: Path) -> None:
    first = write_figures(capture, tmp_path / "a", sites=["text_0_mlp"])
    second = write_figures(capture, tmp_path / "b", sites=["text_0_mlp"])
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def test_what_cannot_be_drawn_is_left_out_and_said(tmp_path: Path) -> None:
    files = write_figures(make_capture(groups=1, coactivation=False), tmp_path / "f")
    names = {file.stem for file in files}
    assert not {"overlap", "specialisation", "coactivation"} & names
    captions = (tmp_path / "f" / "captions.txt").read_text()
    assert "coactivation: This capture holds no co-activation" in captions


def test_never_overwrites_what_it_should_not(capture: Capture, tmp_path: Path) -> None:
    target = tmp_path / "f"
    write_figures(capture, target, sites=["text_0_mlp"])
    with pytest.raises(ExportError, match="not overwritten unasked"):
        write_figures(capture, target)
    write_figures(capture, target, sites=["text_0_mlp"], overwrite=True)
    (target / "thesis.tex").write_text("years of work")
    with pytest.raises(ExportError, match=r"thesis\.tex"):
        write_figures(capture, target, overwrite=True)
    assert (target / "thesis.tex").exists()


def test_cancelled_work_leaves_nothing(capture: Capture, tmp_path: Path) -> None:
    def stop(done: int, steps: int, text: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_figures(capture, tmp_path / "f", progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_unknown_names(capture: Capture, tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="no group 'nobody'"):
        write_figures(capture, tmp_path / "f", groups=["nobody"])
    assert list(tmp_path.iterdir()) == []


def test_figures_with_null_and_measures(tmp_path: Path) -> None:
    from workbench.export_nulls import NULL_NAMES

    capture = make_capture(3, 8, 3, 600)
    files = {file.name for file in write_figures(capture, tmp_path / "out", null="labels")}
    assert {f"{name}.{form}" for name in NULL_NAMES for form in ("png", "pdf", "svg", "csv", "parquet")} <= files
    numbers = pd.read_csv(tmp_path / "out" / "overlap-null.csv")
    assert {"value", "low", "high", "null_low", "null_high", "p_adjusted", "few_tokens"} <= set(
        numbers.columns
    ) and set(numbers["null"]) == {"labels"}
    captions = (tmp_path / "out" / "captions.txt").read_text(encoding="utf-8")
    assert "overlap-null: " in captions and "not shown by this" in captions
    bare = {
        file.name
        for file in write_figures(make_capture(3, 8, 1, 600, token_rows=False), tmp_path / "bare", null="labels")
    }
    assert not any(name.startswith(("overlap-null", "repetition")) for name in bare) and "load.png" in bare
