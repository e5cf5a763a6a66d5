"""The model card: figures beside published ones only where the whole part was measured, and every set with its licence."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.extract.errors import ExtractError
from workbench.extract.evaluate.stored import Figure
from workbench.extract.uie.card import data_rows, measured_rows, said_run
from workbench.extract.usm.train.sources import PLANS


def test_published_figures_stand_beside_whole_parts_alone() -> None:
    rows = measured_rows(
        [
            Figure("14res", "relation strict", 492, True, 900, 0.4567, 0.4, 0.5),
            Figure("14res", "relation strict", 200, False, 300, 0.4567, None, None),
            Figure("14res", "entity", 492, True, 900, 0.8, 0.7, 0.9),
        ],
        27_500_000,
    )
    assert rows[0] == ["14res", "492 (all)", "triplet", "45.7", "40.0 to 50.0", "74.52 (770 M, 28 times as large)"]
    assert rows[1][1:] == ["200", "triplet", "45.7", "-", "-"] and rows[2][-1] == "-"


def test_every_set_has_a_licence_and_its_share() -> None:
    rows = data_rows(list(PLANS))
    assert len(rows) == len(PLANS) and all(all(row) for row in rows)
    assert sum(float(row[3].removesuffix(" %")) for row in rows) == pytest.approx(100, abs=len(PLANS) * 0.05)
    by_name = {row[0]: row for row in rows}
    assert by_name["wnut17"][1:3] == ["CC BY 4.0", "train"] and by_name["semcor_wordnet"][2] == "train (by hash)"


def test_a_folder_without_a_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(ExtractError, match="name the folder that"):
        said_run(tmp_path)
