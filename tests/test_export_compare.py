"""`workbench compare`: files, numbers, report, and captures that do not match."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.capture_factory import make_capture, make_logits
from workbench.cli import run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("captures")
    logits = make_logits(2, 2, 8, seed=0)
    moved = logits.copy()
    moved[1, 0, 3] += 2.0
    for name, of, seed in (("before", logits, 1), ("after", moved, 2), ("later", moved, 3)):
        make_capture(2, 8, 2, 1000, seed=seed, logits=of).save(base / f"{name}.capture")
    make_capture(2, 12, 2, 300).save(base / "wider.capture")
    make_capture(2, 8, 2, 1000, seed=1, logits=logits, model_id="<b>other</b>").save(base / "other.capture")
    return base


def test_files_and_numbers(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    names = [str(folder / f"{name}.capture") for name in ("before", "after", "later")]
    assert run(["compare", *names, "--out", str(out), "--measures", "load", "--measures", "saturation", "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["against"] == "before" and [one["capture"] for one in result["comparisons"]] == ["after", "later"]
    assert all(one["same_documents"] and one["more_than_noise"] >= 1 for one in result["comparisons"])
    expected = {
        f"{name}-{at}.{form}"
        for name in ("load", "saturation")
        for at in (2, 3)
        for form in ("png", "pdf", "svg", "csv", "parquet")
    }
    assert {file.name for file in out.iterdir()} == expected | {"report.html", "captions.txt"}
    numbers = pd.read_csv(out / "load-2.csv")
    assert set(numbers["capture"]) == {"after"} and len(numbers) == 2 * 2 * 8
    moved = numbers[(numbers.site == "text_1_mlp") & (numbers.group == "Text") & (numbers.expert == 3)].iloc[0]
    assert moved.more_than_noise and moved.low > 0.5 and np.isclose(moved.value - moved.value_against, moved.difference)
    html = (out / "report.html").read_text(encoding="utf-8")
    assert "after and later against before" in html and "beyond noise" in html and "<script" not in html


def test_models_trained_apart_leave_single_experts_out(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert (
        run(["compare", str(folder / "before.capture"), str(folder / "other.capture"), "--out", str(out), "--json"])
        == 0
    )
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {one["measure"] for one in result["comparisons"]} == {"sorted load", "normalised entropy", "IoU"}
    assert not (out / "load.csv").exists() and "<b>other</b>" not in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["before", "wider"], "8 experts in before and 12 in wider"),
        (["before"], "name a second one"),
        (["before", "after", "--experts", "perhaps"], "auto, same or apart"),
        (["before", "after", "--measures", "colour"], "not in 'colour'"),
        (["before", "after", "--sites", "nowhere"], "no site 'nowhere' in common"),
    ],
)
def test_what_does_not_match_is_one_sentence(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    given = [str(folder / f"{word}.capture") if (folder / f"{word}.capture").exists() else word for word in arguments]
    assert run(["compare", *given, "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1 and not (tmp_path / "out").exists()
