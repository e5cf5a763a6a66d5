"""The user's own folders: captions beside the files, a listing, WebDataset shards; what does not fit is refused."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unified.small_data import tone
from workbench.inputs.documents import InputError
from workbench.unified.data.folders import fit, read_captioned
from workbench.unified.data.mixture import Mixture
from workbench.unified.data.speech import write_wav
from workbench.unified.segments import UnifiedError
from workbench.unified.tokenizers.bundle import Tokenizers

pytest.importorskip("av", reason="sounds and clips are decoded by the package av")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    Image.new("RGB", (90, 60), (250, 10, 10)).save(tmp_path / "red.png")
    (tmp_path / "red.txt").write_text("A Red Wall\n")
    write_wav(tmp_path / "hum.wav", tone(3, 1, rng))
    (tmp_path / "hum.txt").write_text("a hum")
    (tmp_path / "alone.png").write_bytes((tmp_path / "red.png").read_bytes())
    return tmp_path


def test_captions_beside_the_files(folder: Path, tokenizers: Tokenizers) -> None:
    found = {item.kind: item for item in read_captioned(folder, tokenizers)}
    assert set(found) == {"image", "audio"}
    assert found["image"].caption == "a red wall" and found["image"].values.shape == (3, 32, 32)
    assert found["image"].values[:, 5, 5].tolist() == [250, 10, 10]
    assert found["audio"].values.shape[1] == tokenizers.audio.levels


def test_a_listing_and_its_mistakes(folder: Path, tokenizers: Tokenizers) -> None:
    listing = folder / "captions.jsonl"
    listing.write_text(json.dumps({"file": "alone.png", "caption": "Alone"}) + "\n\n")
    assert [item.caption for item in read_captioned(folder, tokenizers)] == ["alone"]
    for row, words in (
        ('{"file": "../up.png", "caption": "x"}', "leads out"),
        ('{"file": "alone.png"}', "line 1"),
        ('{"file": "none.png", "caption": "x"}', "missing"),
        ('{"file": "red.txt", "caption": "x"}', "none by its suffix"),
    ):
        listing.write_text(row + "\n")
        with pytest.raises(UnifiedError, match=words):
            read_captioned(folder, tokenizers)


def test_a_webdataset_shard(folder: Path, tokenizers: Tokenizers, tmp_path_factory: pytest.TempPathFactory) -> None:
    shards = tmp_path_factory.mktemp("shards")
    with tarfile.open(shards / "part-000.tar", "w") as archive:
        archive.add(folder / "red.png", "0001.png")
        archive.add(folder / "red.txt", "0001.txt")
        archive.add(folder / "hum.wav", "0002.wav")
        (folder / "x.json").write_text(json.dumps({"caption": "Humming"}))
        archive.add(folder / "x.json", "0002.json")
        archive.add(folder / "alone.png", "0003.png")
    assert sorted(item.caption for item in read_captioned(shards, tokenizers)) == ["a red wall", "humming"]
    (shards / "part-001.tar").write_bytes(b"torn" * 200)
    with pytest.raises(UnifiedError, match="no whole tar"):
        read_captioned(shards, tokenizers)


def test_nothing_with_a_caption_is_said_so(tmp_path: Path, tokenizers: Tokenizers) -> None:
    with pytest.raises(UnifiedError, match="none has a caption"):
        read_captioned(tmp_path, tokenizers)
    with pytest.raises(UnifiedError, match="no folder"):
        read_captioned(tmp_path / "nowhere", tokenizers)


def test_own_files_take_every_fourth_turn_of_their_tasks(folder: Path, tokenizers: Tokenizers, data_root: Path) -> None:
    mixture = Mixture(tokenizers, data_root, 1, folders=(folder,))
    captions = [tokenizers.text.decode(mixture.draw("image_to_word", n).segments[1].ids) for n in range(40)]
    assert [n for n, caption in enumerate(captions) if caption == "a red wall"] == list(range(3, 40, 4))
    assert tokenizers.text.decode(mixture.draw("word_to_speech", 3).segments[0].ids) == "a hum"


def test_the_middle_square_is_kept() -> None:
    wide = np.zeros((64, 128, 3), np.uint8)
    wide[:, 32:96] = 200
    assert fit(wide).shape == (3, 32, 32) and fit(wide).min() == 200
    assert fit(np.full((8, 8, 3), 7, np.uint8)).tolist()[0][0][0] == 7


def test_a_shard_of_members_in_folders_and_an_animated_picture(folder: Path, tokenizers: Tokenizers) -> None:
    """`tar cf x.tar ./*` writes "./0001.png"; a folder's own dots are no suffix."""
    shards = folder / "shards"
    shards.mkdir()
    first, second = Image.new("RGB", (40, 40), (9, 9, 9)), Image.new("RGB", (40, 40), (200, 9, 9))
    first.save(folder / "two.gif", save_all=True, append_images=[second])
    (folder / "two.txt").write_text("it turns red")
    with tarfile.open(shards / "part.tar", "w") as archive:
        for stem in ("red", "hum", "two"):
            for path in folder.glob(f"{stem}.*"):
                archive.add(path, f"./v1.0/{path.name}")
    found = {item.caption: item for item in read_captioned(shards, tokenizers)}
    assert {caption: item.kind for caption, item in found.items()} == {
        "a red wall": "image", "a hum": "audio", "it turns red": "video"
    }  # fmt: skip
    clip = found["it turns red"].values
    assert clip.shape == (4, 3, 32, 32) and clip[0, 0].max() < 20 and clip[-1, 0].min() > 180


def test_what_is_broken_is_named(
    folder: Path, tokenizers: Tokenizers, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (folder / "red.txt").write_text(" \n")
    with pytest.raises(UnifiedError, match=r"caption of 'red\.png', but it is empty"):
        read_captioned(folder, tokenizers)
    shards = tmp_path_factory.mktemp("broken")
    (folder / "torn.png").write_bytes((folder / "red.png").read_bytes()[:40])
    (folder / "torn.txt").write_text("torn")
    with tarfile.open(shards / "part.tar", "w") as archive:
        archive.add(folder / "torn.png", "torn.png")
        archive.add(folder / "torn.txt", "torn.txt")
    with pytest.raises(InputError, match=r"torn\.png"):
        read_captioned(shards, tokenizers)


def test_a_saved_data_set(folder: Path, tokenizers: Tokenizers, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="the package datasets is an optional one")
    first, second = Image.new("RGB", (40, 40), (9, 9, 9)), Image.new("RGB", (40, 40), (200, 9, 9))
    first.save(folder / "two.gif", save_all=True, append_images=[second])
    for column, feature, name in (
        ("image", datasets.Image(), "red.png"),
        ("audio", datasets.Audio(), "hum.wav"),
        ("video", datasets.Video(), "two.gif"),
    ):
        rows = {column: [{"bytes": (folder / name).read_bytes(), "path": name}, None], "caption": ["Mine", "nothing"]}
        said = datasets.Value("string")
        held = {"bytes": datasets.Value("binary"), "path": said}
        made = datasets.Dataset.from_dict(rows, features=datasets.Features({column: held, "caption": said}))
        made = made.cast(datasets.Features({column: feature, "caption": said}))  # needs no encoder of sounds
        made.save_to_disk(str(tmp_path / f"saved-{column}"))
        found = read_captioned(tmp_path / f"saved-{column}", tokenizers)
        assert [(item.kind, item.caption) for item in found] == [(column, "mine")]
    (tmp_path / "saved-image" / "state.json").write_text("{")
    with pytest.raises(UnifiedError, match="no whole one"):
        read_captioned(tmp_path / "saved-image", tokenizers)
