"""The one-file form: uncompressed, bounded, and nothing of a hostile archive reaches the disk."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.capture_factory import make_capture
from workbench.capture import Capture, CaptureError
from workbench.capture.archive import unzip_capture


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return make_capture(seed=3).save(tmp_path / "my.capture.zip")


def test_round_trip(archive: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        assert {info.compress_type for info in file.infolist()} == {zipfile.ZIP_STORED}
    read = Capture.load(archive)
    assert np.array_equal(read.count, make_capture(seed=3).count)
    assert read.tokens is not None and read.tokens["text"].num_rows == 800
    assert sorted(path.name for path in archive.parent.iterdir()) == ["my.capture.zip"]


def test_temporary_folder_goes_with_the_capture(archive: Path) -> None:
    read = Capture.load(archive)
    folder = read.path
    assert folder is not None and folder.exists()
    del read
    assert not folder.exists()


def test_a_zipped_folder_opens_too(tmp_path: Path) -> None:
    folder = make_capture().save(tmp_path / "inner")
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as file:
        for path in folder.rglob("*"):
            file.write(path, Path("inner") / path.relative_to(folder))
    assert len(Capture.load(tmp_path / "outer.zip").sites) == 4


def test_cut_in_half(archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(CaptureError, match="not a whole zip archive"):
        Capture.load(archive)


@pytest.mark.parametrize(
    "name", ["../evil.txt", "/tmp/evil", "tokens/../../evil.parquet", "manifest.pkl", "tokens/a.py", "a/b/c/d"]
)
def test_foreign_names(archive: Path, tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(name, b"x")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CaptureError, match="no part of a capture"):
        unzip_capture(archive, tmp_path / "target")
    assert sorted(tmp_path.rglob("*")) == before


def test_too_large(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="more than the"):
        unzip_capture(archive, tmp_path / "target", max_bytes=1000)
    assert not (tmp_path / "target").exists()


def test_a_compressed_bomb_is_measured_unpacked(archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive, "a", compression=zipfile.ZIP_DEFLATED) as file:
        file.writestr("tokens/bomb.parquet", b"\0" * 50_000_000)
    assert archive.stat().st_size < 5_000_000
    with pytest.raises(CaptureError, match="more than the"):
        unzip_capture(archive, tmp_path / "target", max_bytes=10_000_000)


def test_another_kind_of_file(tmp_path: Path) -> None:
    file = tmp_path / "picture.zip"
    file.write_bytes(b"\x89PNG not a zip at all")
    with pytest.raises(CaptureError, match="not a whole zip archive"):
        Capture.load(file)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as empty:
        empty.writestr("load.safetensors", b"")
    with pytest.raises(CaptureError, match=r"no manifest\.json"):
        Capture.load(tmp_path / "other.zip")


def test_never_overwrites_unasked(archive: Path) -> None:
    with pytest.raises(CaptureError, match="exists already"):
        make_capture().save(archive)
    make_capture(sites=2).save(archive, overwrite=True)
    assert len(Capture.load(archive).sites) == 2
