"""A capture survives its round trip, appears whole or not at all, and says what is wrong with a damaged one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from tests.capture_factory import make_capture, make_sites
from workbench.capture import Capture, CaptureError
from workbench.capture.schema import LOAD_DIMS


@pytest.mark.parametrize("token_rows", [True, False])
@pytest.mark.parametrize("coactivation", [True, False])
def test_round_trip(tmp_path: Path, token_rows: bool, coactivation: bool) -> None:
    sites = (*make_sites(3, 16, 2), *make_sites(2, 8, 3, stack="vision"))  # two token axes, two numbers of experts
    made = make_capture(
        sites, groups=6, token_rows=token_rows, coactivation=coactivation, dropped_share=0.1, notes="ünïcode"
    )
    made.save(tmp_path / "my.capture")
    read = Capture.load(tmp_path / "my.capture")
    assert read.manifest == made.manifest
    for name in LOAD_DIMS:
        assert np.array_equal(read.table(name).values, made.table(name).values), name
    assert (read.coactivation is None) == (not coactivation)
    if coactivation:
        assert np.array_equal(read.coactivation, made.coactivation)
    if token_rows:
        assert made.tokens is not None and read.tokens is not None
        for stack, table in made.tokens.items():
            assert read.tokens[stack].to_pylist() == table.to_pylist()
    else:
        assert read.tokens is None
    read.validate()
    assert read.expert_mask.sum(axis=1).tolist() == [16, 16, 16, 8, 8]


def test_files_are_those_of_the_format(tmp_path: Path) -> None:
    """Read with the plain libraries, as another program would."""
    made = make_capture(sites=2, groups=3)
    folder = made.save(tmp_path / "c")
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == [
        "coactivation.safetensors",
        "load.safetensors",
        "manifest.json",
        "tokens/text.parquet",
    ]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["schema_version"] == "1.0"
    tensors = load_file(folder / "load.safetensors")
    assert tensors["count"].dtype == np.int64
    assert tensors["count"].shape == (32, 2, 2, 3, 16)
    assert tensors["mass"].dtype == np.float64
    rows = pq.read_table(folder / "tokens" / "text.parquet").to_pydict()
    # Brute force: the count of every expert of a site is what the rows say.
    for index, site in enumerate(manifest["sites"]):
        brute = np.zeros((3, 16), dtype=int)
        names = [group["name"] for group in manifest["groups"]]
        for group, experts in zip(rows["group"], rows[f"experts_{site['id']}"], strict=True):
            for expert in experts:
                brute[names.index(group), expert] += 1
        assert np.array_equal(tensors["count"][:, index].sum(axis=(0, 1)), brute)


def test_only_the_columns_asked_for(tmp_path: Path) -> None:
    folder = make_capture(sites=3).save(tmp_path / "c")
    table = Capture.load(folder).read_tokens("text", ["piece", "experts_text_1_mlp"])
    assert table.column_names == ["piece", "experts_text_1_mlp"]
    with pytest.raises(CaptureError, match="no column nothing"):
        Capture.load(folder).read_tokens("text", ["nothing"])
    with pytest.raises(CaptureError, match="no token rows"):
        make_capture(token_rows=False).read_tokens("text")


def test_without_text(tmp_path: Path) -> None:
    folder = make_capture().save(tmp_path / "c", text=False)
    names = Capture.load(folder).read_tokens("text").column_names
    assert not {"piece", "token_id"} & set(names)
    assert "experts_text_0_mlp" in names


def test_tables_are_read_when_used(tmp_path: Path) -> None:
    folder = make_capture().save(tmp_path / "c")
    capture = Capture.load(folder)
    (folder / "load.safetensors").unlink()
    with pytest.raises(CaptureError, match=r"lacks load\.safetensors"):
        _ = capture.count


def test_never_overwrites_unasked(tmp_path: Path) -> None:
    target = tmp_path / "c"
    make_capture(sites=2).save(target)
    with pytest.raises(CaptureError, match="exists already"):
        make_capture(sites=3).save(target)
    assert len(Capture.load(target).sites) == 2
    make_capture(sites=3).save(target, overwrite=True)
    assert len(Capture.load(target).sites) == 3
    (tmp_path / "other").mkdir()
    with pytest.raises(CaptureError, match="not a capture"):
        make_capture().save(tmp_path / "other", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "other"], "no temporary folder stays behind"


def test_full_disk_as_the_libraries_report_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "c"
    make_capture(sites=2).save(target)

    def full(*args: object, **kwargs: object) -> None:
        from safetensors import SafetensorError

        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.numpy.save_file", full)
    with pytest.raises(CaptureError, match="is full .*nothing was lost"):
        make_capture(sites=3).save(target, overwrite=True)
    assert len(Capture.load(target).sites) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_full_disk_for_real(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    made = shutil.which("mount") and os.geteuid() == 0
    if (
        not made
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", mount], capture_output=True).returncode
    ):
        pytest.skip("a small file system can be mounted only by root; the test above simulates the full disk")
    try:
        make_capture(sites=1, experts=4, groups=1, token_rows=False, blocks=1).save(mount / "kept")
        with pytest.raises(CaptureError, match="is full"):
            make_capture(sites=8, experts=64).save(mount / "c")
        with pytest.raises(CaptureError, match="is full"):
            make_capture(sites=8, experts=64).save(mount / "c.capture.zip")
        assert [path.name for path in mount.iterdir()] == ["kept"]
        Capture.load(mount / "kept").validate()
    finally:
        subprocess.run(["umount", mount], check=True)


def cut(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    "name", ["manifest.json", "load.safetensors", "coactivation.safetensors", "tokens/text.parquet"]
)
@pytest.mark.parametrize("damage", [cut, Path.unlink])
def test_cut_in_half(tmp_path: Path, name: str, damage: object) -> None:
    folder = make_capture().save(tmp_path / "c")
    damage(folder / name)  # type: ignore[operator]
    with pytest.raises(CaptureError) as caught:
        Capture.load(folder)
    message = str(caught.value)
    assert message.count(". ") == 0 and message.endswith(".")
    assert any(word in message for word in ("copy", "choose"))


def rewrite(folder: Path, **changes: object) -> None:
    file = folder / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_versions(tmp_path: Path) -> None:
    folder = make_capture().save(tmp_path / "c")
    rewrite(folder, schema_version="1.9", something_new=[1, 2])
    assert Capture.load(folder).manifest.schema_version == "1.9"
    rewrite(folder, schema_version="2.0")
    with pytest.raises(CaptureError, match=r"format 2\.0.*reads up to 1\.0.*update the workbench"):
        Capture.load(folder)
    rewrite(folder, schema_version=None)
    with pytest.raises(CaptureError, match="no schema version"):
        Capture.load(folder)


def test_manifest_of_another_capture(tmp_path: Path) -> None:
    a = make_capture(sites=2).save(tmp_path / "a")
    b = make_capture(sites=3).save(tmp_path / "b")
    shutil.copy(b / "manifest.json", a / "manifest.json")
    with pytest.raises(CaptureError, match="do not belong together"):
        _ = Capture.load(a).count


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sites": []}, None),
        ({"sites": [{"id": "../x", "stack": "text", "layer": 0, "experts": 2, "top_k": 1}]}, "must consist of letters"),
        ({"groups": [{"name": "a"}, {"name": "a"}]}, "unique"),
        ({"created": None}, "created"),
    ],
)
def test_wrong_manifest(tmp_path: Path, changes: dict[str, object], words: str | None) -> None:
    folder = make_capture().save(tmp_path / "c")
    rewrite(folder, **changes)
    with pytest.raises(CaptureError, match=words or "."):
        Capture.load(folder).validate()


def test_not_there(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="nothing is there"):
        Capture.load(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CaptureError, match=r"no manifest\.json"):
        Capture.load(tmp_path / "empty")
