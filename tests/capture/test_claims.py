"""What a program that was killed leaves behind goes with the next one; what another program is writing stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from workbench.capture.claims import claimed, clear_stale
from workbench.capture.errors import CaptureError
from workbench.capture.write import whole_file, whole_or_nothing

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no lock that ends with its process")

WRITER = """
import sys, time
from pathlib import Path
from workbench.capture.claims import claimed
with claimed(Path(sys.argv[1]), folder=sys.argv[2] == "folder") as path:
    (path / "part" if path.is_dir() else path).write_text("half")
    print(path, flush=True)
    time.sleep(600)
"""


@contextmanager
def writer(target: Path, kind: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another program that is writing, and where."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(target), kind], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_being_written_stays_and_what_was_killed_goes(tmp_path: Path, kind: str) -> None:
    with writer(tmp_path / "mine", kind) as (process, part):
        assert part.parent == tmp_path and part.name.startswith(".mine.")
        assert clear_stale(tmp_path) == [] and part.exists()
        with whole_or_nothing(tmp_path / "mine") as folder:  # the same target, from this program
            (folder / "whole").write_text("done")
            assert part.exists() and folder != part
        assert part.exists()
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert part.exists()
        with whole_or_nothing(tmp_path / "other"):  # another target in the same parent
            assert not part.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "other"]


def test_within_one_program_too(tmp_path: Path) -> None:
    with claimed(tmp_path / "a", folder=True) as one, claimed(tmp_path / "a", folder=True) as two:
        assert clear_stale(tmp_path) == [] and one.is_dir() and two.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_only_what_is_named_so_goes(tmp_path: Path) -> None:
    kept = [".a.0123456789ab.old", ".a.part", "a.0123456789ab.part", ".cache", "b"]
    for name in kept:
        (tmp_path / name).mkdir()
    (tmp_path / ".link.0123456789ab.part").symlink_to(tmp_path / "b")
    (tmp_path / ".a.0123456789ab.part").mkdir()
    assert clear_stale(tmp_path) == [tmp_path / ".a.0123456789ab.part"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, ".link.0123456789ab.part"])
    assert clear_stale(tmp_path / "nowhere") == []


def test_a_file_takes_its_place_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    target.write_text("before")
    with pytest.raises(ZeroDivisionError), whole_file(target) as part:
        part.write_text("half")
        raise ZeroDivisionError
    assert target.read_text() == "before" and list(tmp_path.iterdir()) == [target]
    with whole_file(target) as part:
        part.write_text("after")
    assert target.read_text() == "after" and list(tmp_path.iterdir()) == [target]


def test_what_came_meanwhile_is_not_overwritten_unasked(tmp_path: Path) -> None:
    target = tmp_path / "mine"
    with (
        pytest.raises(CaptureError, match="made by another program meanwhile"),
        whole_or_nothing(target, replace=False) as folder,
    ):
        (folder / "new").write_text("new")
        target.mkdir()
        (target / "theirs").write_text("theirs")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["mine", "theirs"]
