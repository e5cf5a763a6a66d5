from __future__ import annotations

import numpy as np
import pytest

from workbench.capture import CaptureError, NamedTable


@pytest.fixture
def table() -> NamedTable:
    values = np.arange(12).reshape(2, 3, 2)
    return NamedTable(
        values, ("site", "group", "expert"), {"site": ("a", "b"), "group": ("x", "y", "z"), "expert": (0, 1)}
    )


def test_sum_names_what_stays(table: NamedTable) -> None:
    summed = table.sum("group")
    assert summed.dims == ("site", "expert")
    assert summed.values.tolist() == [[0 + 2 + 4, 1 + 3 + 5], [6 + 8 + 10, 7 + 9 + 11]]


def test_sel_picks_by_label(table: NamedTable) -> None:
    assert table.sel(group="y", site="b").values.tolist() == [8, 9]
    assert np.asarray(table).shape == (2, 3, 2)


@pytest.mark.parametrize("act", [lambda t: t.sum("layer"), lambda t: t.sel(group="q"), lambda t: t.axis("k")])
def test_unknown_names_are_said(table: NamedTable, act: object) -> None:
    with pytest.raises(CaptureError, match="choose one of them"):
        act(table)  # type: ignore[operator]


def test_labels_must_fit() -> None:
    with pytest.raises(CaptureError, match="needs an array of that shape"):
        NamedTable(np.zeros((2, 2)), ("site", "group"), {"site": ("a",), "group": ("x", "y")})
