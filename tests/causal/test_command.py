"""`workbench causal`: the table and a change of one's own from the command line, and the two texts side by side."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from tests.causal.test_causal import documents
from tests.tiny_model import save_model
from workbench.causal import CausalError, Intervention
from workbench.causal.check import CausalOptions
from workbench.causal.measure import Stopped
from workbench.causal.what_if import what_if
from workbench.causal.writing import write_both
from workbench.cli import run
from workbench.figures.text_diff import document, marked, words_of
from workbench.models import load_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "tiny-moe")


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    for one in documents(4):
        folder = tmp_path / "texts" / str(one.group)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{one.id}.txt").write_text(str(one.text))
    return tmp_path / "texts"


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any], str]:
    status = run(["causal", *map(str, arguments), "--json"])
    out, err = capsys.readouterr()
    return status, json.loads(out.splitlines()[-1]) if out.strip() else {}, err


def test_the_table(capsys: pytest.CaptureFixture[str], model: Path, texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("--model", model, "--input", texts, "--out", out, "--draws", 2, "--resamples", 100)
    status, said, err = call(capsys, *arguments)
    assert status == 0, err
    assert said["groups"] == ["animals", "talk"] and len(said["table"]) == 4 and said["documents"] == 8
    names = {file.name for file in out.iterdir()}
    assert {
        "causal.png",
        "causal.pdf",
        "causal.svg",
        "causal.csv",
        "causal.parquet",
        "experts.json",
        "report.html",
    } <= names
    table = pd.read_csv(out / "causal.csv")
    assert table["change"].tolist() == pytest.approx([row["change"] for row in said["table"]])
    assert said["sentence"] in (out / "captions.txt").read_text()
    assert json.loads((out / "experts.json").read_text()) == said["experts"]
    status, _, err = call(capsys, *arguments)
    assert status == 1 and "not overwritten unasked" in err
    assert call(capsys, *arguments, "--overwrite")[1]["table"] == said["table"], "the same seed, the same numbers"


def test_a_change_of_ones_own(capsys: pytest.CaptureFixture[str], model: Path, texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    status, said, err = call(
        capsys, "--model", model, "--input", texts, "--out", out, "--draws", 2, "--resamples", 100,
        "--mute", "text_0_mlp:0,1", "--force", "text_1_mlp:2", "--prompt", "the cat", "--new-tokens", 5,
    )  # fmt: skip
    assert status == 0, err
    assert said["experts"] == {"mute": {"text_0_mlp": [0, 1]}, "force": {"text_1_mlp": [2]}, "top_k": None}
    assert [row["muted"] for row in said["table"]] == ["your change"] * 2
    assert "random experts of equal load (2 draws)" in said["sentence"]
    written = json.loads((out / "written.jsonl").read_text().splitlines()[0])
    assert written == said["written"][0] and written["prompt"] == "the cat" and (out / "written.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--mute", "text_0_mlp:0-2"], "leaves 1, but a token gets 2"),
        (["--mute", "text_0_mlp"], "--mute takes SITE:EXPERTS"),
        (["--prompt", "the cat"], "add --mute, --force or --top-k"),
        (["--share", "2"], "--share is a part"),
        (["--top-k", "5"], "limited to 1 to 2"),
        (["--group-by", "phase"], "phase"),
        (["--sites", "nowhere"], "nowhere"),
    ],
)
def test_errors_are_one_sentence(
    capsys: pytest.CaptureFixture[str], model: Path, texts: Path, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    status, _, err = call(capsys, "--model", model, "--input", texts, "--out", tmp_path / "out", *arguments)
    assert status == 1 and sentence in err.splitlines()[-1] and not (tmp_path / "out").exists()


def test_top_k_alone_has_nothing_to_draw(model: Path) -> None:
    loaded = load_model(str(model))
    found = what_if(loaded, documents(3), Intervention("k", top_k=1), CausalOptions(resamples=100))
    assert found.table.draws == 0 and "the full model" in found.sentence and "random" not in found.sentence
    with pytest.raises(CausalError, match="Nothing is changed"):
        what_if(loaded, documents(3), Intervention("x"))


def test_texts_with_and_without_equal_generate(model: Path) -> None:
    loaded = load_model(str(model))
    change = Intervention("x", mute={"text_0_mlp": (0, 3), "text_1_mlp": (1, 2)})
    for sampled in (False, True):
        (made,) = write_both(loaded, ["the cat sat"], change, tokens=8, sampled=sampled, seed=4)
        ids = loaded.tokenizer("the cat sat", return_tensors="pt")["input_ids"]
        expected = []
        for block in (Intervention("none"), change):
            torch.manual_seed(4)
            with block.applied(loaded.model), torch.no_grad():
                out = loaded.model.generate(ids, max_new_tokens=8, do_sample=sampled, pad_token_id=2)
            expected.append(loaded.tokenizer.decode(out[0, 4:], skip_special_tokens=True))
        assert [made.full, made.changed] == expected
    told: list[tuple[int, int]] = []
    write_both(loaded, ["the cat sat"], change, tokens=2, on_token=lambda count, most: told.append((count, most)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    told.clear()
    with pytest.raises(Stopped):  # while it writes, not only between two texts
        write_both(
            loaded, ["the cat sat"], change, tokens=40, on_token=lambda count, most: told.append((count, most)),
            cancelled=lambda: len(told) >= 3,
        )  # fmt: skip
    assert len(told) == 3
    with pytest.raises(CausalError, match="prompt is empty"):
        write_both(loaded, ["  "], change)
    with pytest.raises(CausalError, match="shorten it"):
        write_both(loaded, ["the cat " * 40], change, tokens=8)


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.said, self.marks, self.tags = "", "", []  # type: ignore[var-annotated]

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.tags.remove(tag)

    def handle_data(self, data: str) -> None:
        self.said += data
        self.marks += data if "mark" in self.tags else ""


def test_differences_are_marked_and_everything_is_escaped() -> None:
    first, second = "a <b>cat</b> sat & ran", "a <b>dog</b> sat & <script>alert(1)</script>"
    for text, html, other in zip((first, second), marked(first, second), (second, first), strict=True):
        parser = _Text()
        parser.feed(html)
        assert parser.said == text and "".join(words_of(text)) == text
        assert all(word in parser.marks for word in words_of(text) if word not in words_of(other))
    whole = document([("<i>p</i>", first, second)], ("full <x>", "changed"))
    assert "<script" not in whole and "<i>" not in whole and "<b>" not in whole and "full &lt;x&gt;" in whole
