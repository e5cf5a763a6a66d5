from __future__ import annotations

from pathlib import Path

import pytest

from tests.capture_factory import make_capture
from workbench.capture import CaptureError
from workbench.capture.library import Library, default_root


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "captures")


def test_empty(library: Library) -> None:
    assert library.entries() == []
    assert not library.root.exists(), "looking creates nothing"


def test_add_list_open(library: Library) -> None:
    first = library.add(make_capture(), "my run!")
    second = library.add(make_capture(sites=2), "my run!")
    assert (first.name, second.name) == ("my-run", "my-run-2")
    assert {entry.name for entry in library.entries()} == {"my-run", "my-run-2"}
    entry = next(entry for entry in library.entries() if entry.name == "my-run-2")
    assert entry.manifest is not None and len(entry.manifest.sites) == 2
    assert entry.bytes == sum(file.stat().st_size for file in second.rglob("*") if file.is_file())
    assert len(library.open("my-run-2").sites) == 2


def test_rename(library: Library) -> None:
    library.add(make_capture(), "a")
    library.add(make_capture(), "b")
    library.rename("a", "better-name")
    assert {entry.name for entry in library.entries()} == {"better-name", "b"}
    with pytest.raises(CaptureError, match="already"):
        library.rename("b", "better-name")
    for bad in ("", "../x", "a/b", ".hidden", "x" * 200):
        with pytest.raises(CaptureError, match="name consists of"):
            library.rename("b", bad)


def test_notes(library: Library) -> None:
    library.add(make_capture(), "a")
    library.set_notes("a", "nach dem zweiten Lauf: größer")
    assert library.open("a").manifest.notes == "nach dem zweiten Lauf: größer"
    library.open("a").validate()
    with pytest.raises(CaptureError, match="shorten"):
        library.set_notes("a", "x" * 20_001)


def test_delete_only_captures(library: Library) -> None:
    library.add(make_capture(), "a")
    library.delete("a")
    assert library.entries() == []
    (library.root / "thesis").mkdir(parents=True)
    (library.root / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(CaptureError, match="not deleted"):
        library.delete("thesis")
    assert (library.root / "thesis" / "chapter.tex").exists()
    for bad in ("..", "../captures", "", "nothing"):
        with pytest.raises(CaptureError, match="no capture"):
            library.delete(bad)


def test_a_broken_one_is_listed_with_its_fault(library: Library) -> None:
    path = library.add(make_capture(), "a")
    (path / "manifest.json").write_text('{"schema_version": "1.0", ')
    entry = library.entries()[0]
    assert entry.manifest is None
    assert entry.fault is not None and "not complete JSON" in entry.fault


def test_archive(library: Library, tmp_path: Path) -> None:
    file = make_capture(sites=3).save(tmp_path / "shared.capture.zip")
    path = library.add_archive(file)
    assert path.name == "shared"
    assert len(library.open("shared").sites) == 3
    file.write_bytes(b"broken")
    with pytest.raises(CaptureError, match="zip"):
        library.add_archive(file)
    assert [entry.name for entry in library.entries()] == ["shared"]


def test_home_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path))
    assert default_root() == tmp_path / "captures"
    monkeypatch.delenv("WORKBENCH_HOME")
    assert default_root() == Path.home() / ".unified-workbench" / "captures"
