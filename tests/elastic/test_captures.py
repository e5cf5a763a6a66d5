"""Routing captures that a sweep keeps of its sub-models: the right ones, whole, named in the curve, resumed."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from probes import RoutingProbe, SubModel
from tests.elastic.test_sweep import QUICK, SUBS, TEXTS, after, documents, run
from tests.tiny_model import save_model
from workbench.analysis.curve import load_curve
from workbench.capture import Capture
from workbench.capture.errors import CaptureError
from workbench.elastic import captures
from workbench.elastic.captures import capture_folder, capture_name
from workbench.elastic.errors import SweepError
from workbench.elastic.latency import LatencyOptions
from workbench.elastic.sweep import SweepOptions, sweep
from workbench.models import LoadedModel, LoadOptions, load_model

KEEPING = replace(QUICK, captures=12, latency=LatencyOptions(rounds=0))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = save_model(tmp_path_factory.mktemp("model") / "tiny")
    return load_model(str(folder), LoadOptions(device="cpu", dtype="float32"))


def by_hand(loaded: LoadedModel, words: str) -> Any:
    """The same texts one after another, under the sub-model and a probe."""
    model: Any = loaded.model
    with (
        SubModel.parse(words).applied(model),
        torch.no_grad(),
        RoutingProbe(model, processor=loaded.tokenizer) as probe,
    ):
        for name, group, text in TEXTS:
            probe.label(documents=[name], groups=[group])
            model(**loaded.tokenizer(text, return_tensors="pt"))
    return probe.capture(model_id=loaded.info.id)


def test_each_capture_is_that_of_a_sub_model_under_a_probe(loaded: LoadedModel, tmp_path: Path) -> None:
    run(loaded, tmp_path / "out", KEEPING)
    rows = load_curve(tmp_path / "out").rows.set_index("sub_model")
    assert list(rows.index) == ["full", *SUBS] and rows.loc["full", "capture"] == "full"
    assert rows["capture"].is_unique
    assert sorted(path.name for path in (tmp_path / "out" / "captures").iterdir()) == sorted(rows["capture"])
    for words in rows.index:
        folder = capture_folder(tmp_path / "out", str(rows.loc[words, "capture"]))
        assert folder is not None
        kept, own = Capture.load(folder), by_hand(loaded, str(words))
        assert kept.groups == own.groups == ("pets", "talk") and [one.id for one in kept.sites] == [
            one.id for one in own.sites
        ]
        np.testing.assert_array_equal(kept.table("count").values, own.table("count").values)  # blocks and phases too
        np.testing.assert_allclose(kept.mass, own.mass, rtol=1e-5, atol=1e-6)
        assert kept.count.sum() > 0 and all(check.passed for check in kept.manifest.checks)
        assert kept.tokens is not None and 0 < kept.tokens["text"].num_rows <= 12  # of 35
        assert str(words) in kept.manifest.notes
    left_out = Capture.load(tmp_path / "out" / "captures" / capture_name("experts=0-1 top_k=1")).count.sum(axis=1)
    assert left_out[:, 2:].sum() == 0 and left_out[:, :2].sum() > 0


def test_without_being_asked_none_is_kept(loaded: LoadedModel, tmp_path: Path) -> None:
    run(loaded, tmp_path / "out", replace(KEEPING, captures=0))
    assert load_curve(tmp_path / "out").rows["capture"].isna().all() and not (tmp_path / "out" / "captures").exists()
    # Asked for later, they are all that is done.
    before = (tmp_path / "out" / "journal.jsonl").read_text()
    run(loaded, tmp_path / "out", KEEPING, resume=True)
    added = (tmp_path / "out" / "journal.jsonl").read_text().removeprefix(before).splitlines()
    assert [json.loads(line)["kind"] for line in added] == ["capture"] * 4
    assert load_curve(tmp_path / "out").rows["capture"].notna().all()
    with pytest.raises(SweepError, match="at least 0"):
        SweepOptions(captures=-1)


def test_a_stopped_sweep_keeps_whole_captures_and_goes_on(
    loaded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    own: Callable[..., Any] = captures.record_point

    def counted(*arguments: Any) -> Any:
        name = own(*arguments)
        made.append(str(name))
        return name

    monkeypatch.setattr("workbench.elastic.sweep.record_point", counted)
    run(loaded, tmp_path / "whole", replace(KEEPING, captures=0))
    total = 0
    for stops in range(60):  # at every place where it asks
        made.clear()
        out = tmp_path / f"out{stops}"
        first = run(loaded, out, KEEPING, cancelled=after(stops))
        if not first.stopped:
            break
        kept = sorted(path.name for path in (out / "captures").iterdir()) if (out / "captures").exists() else []
        assert sorted(name for name in made if name != "None") == kept  # nothing half, and nothing hidden
        made.clear()
        again = run(loaded, out, KEEPING, resume=True)
        assert not again.stopped and set(made).isdisjoint(kept) and len(made) + len(kept) == 4
        total += 0 < len(kept) < 4
    assert total >= 3
    # One that was removed is made again.
    gone = tmp_path / "whole" / "captures" / "full"
    run(loaded, tmp_path / "whole", KEEPING, resume=True)
    shutil.rmtree(gone)
    made.clear()
    run(loaded, tmp_path / "whole", KEEPING, resume=True)
    assert made == ["full"] and Capture.load(gone)


def test_a_full_disk_says_that_the_findings_are_kept(
    loaded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("workbench.capture.write.write_files", full)
        with pytest.raises(CaptureError, match="is full, so the sweep stopped; what was found is kept.*--resume"):
            run(loaded, tmp_path / "out", KEEPING)
    assert len(load_curve(tmp_path / "out").rows) == 4 and list((tmp_path / "out" / "captures").iterdir()) == []
    run(loaded, tmp_path / "out", KEEPING, resume=True)
    assert load_curve(tmp_path / "out").rows["capture"].notna().all()


def test_names_are_folders_of_their_own_and_lead_nowhere_else(tmp_path: Path) -> None:
    words = ["full", "top_k=1", "top_k 1", "layers=first:4 " * 20, "experts=/../..", "..", "experts@text_0_mlp=0,2"]
    names = [capture_name(one) for one in words]
    assert len(set(names)) == len(words) and all(Path(name).name == name and len(name) < 70 for name in names)
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "captures").mkdir()
    for name in ("..", ".", "", "../captures", "/etc", "none"):
        assert capture_folder(tmp_path, name) is None


def test_the_full_models_capture_is_what_the_command_records(loaded: LoadedModel, tmp_path: Path) -> None:
    """Also without any other sub-model, and with a bound larger than the texts."""
    from workbench.recording import RecordOptions, record

    sweep(loaded, documents(), [], replace(KEEPING, captures=1000), tmp_path / "out")
    kept = Capture.load(tmp_path / "out" / "captures" / "full")
    own = record(loaded, documents(), RecordOptions(group_by="group", batch_size=2))
    np.testing.assert_array_equal(kept.count, own.count)
    assert kept.tokens is not None and own.tokens is not None
    assert kept.tokens["text"].equals(own.tokens["text"])
