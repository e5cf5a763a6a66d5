"""The run folder: written line by line, cut by crashes, taken up again, read while it grows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.capture_factory import make_capture
from workbench.training import MetricsFile, RunModel, RunWriter, TrainingLogError, read_run
from workbench.training.format import METRICS_FILE, RUN_FILE


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / METRICS_FILE).read_text().splitlines()]


def test_written_and_read_back(tmp_path: Path) -> None:
    with RunWriter.open(
        tmp_path / "run", model={"id": "a/b", "parameters": 7}, total_steps=3, training={"lr": 0.1}
    ) as run:
        run.metrics(1, {"loss/text": 2.5}, loss=3.0)
        run.metrics(2, loss=float("nan"))
        run.metrics(2, lr=0.5)
        run.metrics(3, {"loss": np.float32(1.5), "loss/text": np.array(1.25)})
        run.capture(3, make_capture(2, 4, 1, 20))
        assert read_run(tmp_path / "run").info.state == "running"
    found = read_run(tmp_path / "run")
    assert (found.info.state, found.info.name, found.info.total_steps) == ("finished", "run", 3)
    assert found.info.model == RunModel(id="a/b", parameters=7) and found.info.training == {"lr": 0.1}
    assert list(found.metrics.index) == [1, 2, 3] and found.step == 3
    assert list(found.metrics["loss"]) == [3.0, np.inf, 1.5]  # infinite: measured, and not finite
    assert np.isnan(found.metrics.loc[2, "loss/text"]) and found.metrics.loc[2, "lr"] == 0.5
    assert [step for step, _ in found.captures] == [3] and found.captures[0][1].name == "step_000003.capture"
    assert lines(tmp_path / "run")[0]["event"] == "start" and lines(tmp_path / "run")[2]["loss"] is None


def test_resumption_voids_what_was_done_after_it(tmp_path: Path) -> None:
    run = RunWriter.open(tmp_path / "run")
    for step in range(1, 8):
        run.metrics(step, loss=float(step))
        run.capture(step, make_capture(1, 4, 1, 10))
    # killed here: neither finished nor stopped
    again = RunWriter.open(tmp_path / "run", resume_from=5)
    assert [step for step, _ in read_run(tmp_path / "run").captures] == [1, 2, 3, 4, 5]
    again.metrics(6, loss=60.0)
    again.finish(6)
    found = read_run(tmp_path / "run")
    assert dict(found.metrics["loss"]) == {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 60}
    assert found.resumed == (5,) and found.info.state == "finished"
    assert sum("loss" in line for line in lines(tmp_path / "run")) == 8, "nothing is cut from the file"


def test_cut_last_line_and_foreign_lines(tmp_path: Path) -> None:
    run = RunWriter.open(tmp_path / "run")
    run.metrics(1, loss=1.0)
    file = tmp_path / "run" / METRICS_FILE
    with file.open("ab") as sink:
        sink.write(b'[1]\n{"step": -1}\n{"step": "x", "loss": 2}\n\xff\xfe\n{"step": 2, "lo')
    reader = MetricsFile(file)
    found = read_run(tmp_path / "run", reader)
    assert list(found.metrics["loss"]) == [1.0] and found.skipped == 4
    with file.open("ab") as sink:
        sink.write(b'ss": 2.0}\n')  # the writer was only slow
    found = read_run(tmp_path / "run", reader)
    assert list(found.metrics["loss"]) == [1.0, 2.0] and found.skipped == 4
    with file.open("ab") as sink:
        sink.write(b'{"step": 3, "lo')
    RunWriter.open(tmp_path / "run", resume_from=2).metrics(3, loss=3.0)
    assert list(read_run(tmp_path / "run").metrics["loss"]) == [1.0, 2.0, 3.0]


def test_reader_follows_and_begins_again_when_the_file_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / METRICS_FILE
    reader = MetricsFile(file)
    assert reader.read()[0].empty
    file.write_text('{"step": 1, "loss": 1}\n')
    assert list(reader.read()[0]["loss"]) == [1]
    with file.open("a") as sink:
        sink.write('{"step": 2, "loss": 2}\n')
    assert list(reader.read()[0]["loss"]) == [1, 2]
    file.unlink()
    file.write_text('{"step": 9, "loss": 9}\n')
    assert list(reader.read()[0].index) == [9]


def test_killed_program_leaves_whole_lines(tmp_path: Path) -> None:
    code = (
        "import itertools; from workbench.training import RunWriter\n"
        f"run = RunWriter.open({str(tmp_path / 'run')!r})\n"
        "for step in itertools.count(1): run.metrics(step, loss=1 / step)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).resolve().parents[2])
    file = tmp_path / "run" / METRICS_FILE
    while process.poll() is None and not (file.is_file() and file.stat().st_size > 20_000):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    found = read_run(tmp_path / "run")
    assert found.skipped == 0 and found.info.state == "running"
    assert np.array_equal(found.metrics["loss"], 1 / found.metrics.index.to_numpy())


def test_an_error_stops_the_run_without_its_words(tmp_path: Path) -> None:
    with pytest.raises(ValueError), RunWriter.open(tmp_path / "run") as run:
        run.metrics(1, loss=1.0)
        raise ValueError("/home/someone/secret.txt")
    info = read_run(tmp_path / "run").info
    assert info.state == "stopped" and "ValueError" in info.reason and "secret" not in info.reason
    with pytest.raises(TrainingLogError, match="is closed"):
        run.metrics(2, loss=1.0)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"time": 1}, "rename it"),
        ({"a\nb": 1}, "rename it"),
        ({"loss": "high"}, "one number"),
        ({"loss": np.ones(3)}, "one number"),
    ],
)
def test_what_a_line_cannot_hold(tmp_path: Path, values: dict[str, Any], said: str) -> None:
    run = RunWriter.open(tmp_path / "run")
    with pytest.raises(TrainingLogError, match=said):
        run.metrics(1, values)
    with pytest.raises(TrainingLogError, match="whole number"):
        run.metrics(-1, loss=1.0)
    assert len(lines(tmp_path / "run")) == 1


def test_folder_that_holds_something(tmp_path: Path) -> None:
    RunWriter.open(tmp_path / "run").finish()
    with pytest.raises(TrainingLogError, match="holds a run already"):
        RunWriter.open(tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / METRICS_FILE).write_text("mine")
    with pytest.raises(TrainingLogError, match="left alone"):
        RunWriter.open(tmp_path / "other")
    assert (tmp_path / "other" / METRICS_FILE).read_text() == "mine"


@pytest.mark.parametrize("content", ["", "[]", '{"schema_version": "2.0"}', '{"state": "asleep"}', None])
def test_unreadable_run_is_one_sentence(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / RUN_FILE).write_text(content)
    with pytest.raises(TrainingLogError) as fault:
        read_run(tmp_path)
    assert "\n" not in str(fault.value) and str(fault.value).endswith(".")


def test_newer_minor_version_and_unknown_fields_are_read(tmp_path: Path) -> None:
    (tmp_path / RUN_FILE).write_text('{"schema_version": "1.7", "state": "running", "colour": "red"}')
    assert read_run(tmp_path).info.schema_version == "1.7"


def test_import_needs_no_torch() -> None:
    code = "import sys, workbench.training as t; print([n for n in ('torch', 'transformers') if n in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
