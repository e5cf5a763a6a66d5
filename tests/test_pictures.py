"""`workbench pictures`: the report's Figures 8 to 10 beside a capture's; values as printed, captures of every shape."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from tests.capture_factory import make_capture
from workbench.analysis.ernie_report import (
    GROUPS,
    SOURCE,
    beside_report,
    printed_balance,
    printed_overlap,
    printed_tallest,
)
from workbench.capture import DEFAULT_GROUPS, WorkbenchError
from workbench.cli import run
from workbench.pictures import write_pictures


def test_values_of_the_report() -> None:
    """Cells read again from Figure 9, and what section 6.4.1 says of Figure 10 in words."""
    iou = printed_overlap()
    assert iou.shape == (3, 6, 6) and np.isnan(np.diagonal(iou, axis1=1, axis2=2)).all()
    np.testing.assert_array_equal(iou, iou.transpose(0, 2, 1))
    at = {name: number for number, name in enumerate(GROUPS)}
    assert iou[:, at["Image und."], at["Video und."]].tolist() == [0.98, 0.52, 0.64]
    assert iou[:, at["Audio"], at["Text"]].tolist() == [0.12, 0.32, 0.40]
    entropy = printed_balance()
    assert entropy.shape == (6, 21)
    np.testing.assert_allclose(entropy.mean(axis=1), [0.964, 0.918, 0.900, 0.730, 0.690, 0.839], atol=6e-4)
    assert entropy.argmin(axis=1).tolist() == [20, 0, 0, 20, 6, 1], "where each curve has its minimum"
    assert printed_tallest().shape == (6, 3) and printed_tallest().max() == 0.67


def test_files_beside_a_capture_of_the_six_groups(tmp_path: Path) -> None:
    capture = make_capture(sites=5, groups=6, experts=32)
    files = write_pictures(capture, tmp_path / "out")
    names = {file.name for file in files}
    for number in (8, 9, 10):
        assert {f"figure{number}.{form}" for form in ("png", "pdf", "svg", "csv", "parquet")} <= names
    overlap = pd.read_csv(tmp_path / "out" / "figure9.csv")
    printed = overlap[overlap["source"] == SOURCE]
    own = overlap[overlap["source"] == "capture"]
    assert len(printed) == len(own) == 45
    # Rank correlation over the 45 pairs, paired by name and not by order.
    ours = {(row.place, frozenset((row.group_a, row.group_b))): row.iou for row in own.itertuples()}
    theirs = {(row.place, frozenset((row.group_a, row.group_b))): row.iou for row in printed.itertuples()}
    keys = sorted(ours, key=str)
    expected = spearmanr([ours[key] for key in keys], [theirs[key] for key in keys]).statistic
    found = beside_report(capture)
    assert found.pairs == 45 and found.rank_correlation == pytest.approx(expected)
    report = (tmp_path / "out" / "report.html").read_text()
    assert f"rank correlation is {expected:.2f}" in report and "would not prove equal routing" in report
    balance = pd.read_csv(tmp_path / "out" / "figure10.csv")
    assert (balance["source"] == SOURCE).sum() == 126 and (balance["source"] == "capture").sum() == 30
    tallest = pd.read_csv(tmp_path / "out" / "figure8.csv")
    bars = tallest[(tallest["source"] == "capture") & (tallest["what"] == "tallest bar")]
    each = tallest[(tallest["source"] == "capture") & (tallest["what"] == "share of tokens")]
    for row in bars.itertuples():
        mine = each[(each["site"] == row.site) & (each["group"] == row.group)]["share_of_tokens"]
        assert row.value == pytest.approx(mine.max())


@pytest.mark.parametrize(
    ("sites", "groups"),
    list(itertools.product([1, 2, 4], [["prose", "code $x$ <b>"], ["only"], [DEFAULT_GROUPS[0], DEFAULT_GROUPS[5]]])),
)
def test_captures_of_other_shapes(sites: int, groups: list, tmp_path: Path) -> None:  # type: ignore[type-arg]
    capture = make_capture(sites=sites, groups=groups, experts=8)
    write_pictures(capture, tmp_path / "out")
    report = (tmp_path / "out" / "report.html").read_text()
    assert ("no group is in both" in report) == (groups[0] in ("prose", "only"))
    assert ("no two groups with tokens" in report) == (groups == ["only"])
    assert "<b>" not in report
    overlap = pd.read_csv(tmp_path / "out" / "figure9.csv")
    assert (overlap["source"] == SOURCE).sum() == 45


def test_a_capture_without_tokens_and_a_folder_of_other_things(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = make_capture(sites=2, groups=2, tokens_per_group=0)
    with pytest.raises(WorkbenchError, match="counted none"):
        write_pictures(empty, tmp_path / "out")
    make_capture(sites=2, groups=2).save(tmp_path / "c")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    assert run(["pictures", str(tmp_path / "c"), "--out", str(tmp_path / "mine")]) == 1
    assert "holds other files (thesis.tex)" in capsys.readouterr().err
    assert run(["pictures", str(tmp_path / "c"), "--out", str(tmp_path / "new"), "--json"]) == 0
    assert '"report"' in capsys.readouterr().out.splitlines()[-1]
