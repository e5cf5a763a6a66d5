"""Documents, their split, and the sentences that bad input gets."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from workbench.embedded import __main__ as command
from workbench.embedded.corpus import Document, EmbeddedError, read_corpus


def write(root: Path, kind: str, texts: list[str]) -> None:
    (root / kind).mkdir(parents=True)
    for number, text in enumerate(texts):
        (root / kind / f"{number}.txt").write_text(text, encoding="utf-8")


def test_split_is_deterministic_disjoint_and_about_five_percent(tmp_path: Path) -> None:
    texts = [f"Document number {n} of many." for n in range(2000)]
    write(tmp_path, "prose", texts)
    corpus, again = (read_corpus(tmp_path, ("prose",)) for _ in range(2))
    train, held_out = {d.name for d in corpus.train("prose")}, {d.name for d in corpus.held_out("prose")}
    assert train == {d.name for d in again.train("prose")}
    assert not train & held_out
    assert len(train | held_out) == len(texts)
    assert 60 <= len(held_out) <= 140


def test_split_follows_the_text_and_not_the_name() -> None:
    text = next(
        t
        for n in range(1000)
        if int(hashlib.blake2b((t := f"text {n}").encode(), digest_size=16).hexdigest()[:8], 16) % 100 < 5
    )
    assert Document("prose", "a.txt", text).held_out
    assert Document("code", "b.txt", text).held_out, "the same text must never be trained on under another name"


def test_fingerprint_changes_with_the_data(tmp_path: Path) -> None:
    write(tmp_path, "prose", ["One text.", "Another text."])
    before = read_corpus(tmp_path, ("prose",)).fingerprint()
    (tmp_path / "prose" / "1.txt").write_text("Another text!", encoding="utf-8")
    assert read_corpus(tmp_path, ("prose",)).fingerprint() != before


@pytest.mark.parametrize("case", ["no root", "no kind", "no file", "empty", "binary"])
def test_bad_input_is_one_sentence(tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "data"
    if case != "no root":
        write(root, "prose", ["Some text to learn from."])
    if case not in ("no root", "no kind"):
        (root / "code").mkdir()
    if case == "empty":
        (root / "code" / "a.py").write_text("  \n", encoding="utf-8")
    if case == "binary":
        (root / "code" / "a.py").write_bytes(b"caf\xe9")
    with pytest.raises(EmbeddedError):
        read_corpus(root, ("prose", "code"))
    status = command.main(
        ["--data-root", str(root), "--out", str(tmp_path / "run"), "--kinds", "prose,code", "--steps", "1"]
    )
    message = capsys.readouterr().err
    assert status == 1
    assert message.startswith("Expected ") and message.count("\n") == 1 and "Traceback" not in message
    assert not (tmp_path / "run").exists(), "nothing is written before the input is known to be good"


@pytest.mark.parametrize("option", [["--steps", "0"], ["--top-k", "99"], ["--vocabulary", "100"], ["--context", "2"]])
def test_bad_options_are_one_sentence(tmp_path: Path, option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "prose", ["Some text."])
    assert (
        command.main(["--data-root", str(tmp_path), "--out", str(tmp_path / "run"), "--kinds", "prose", *option]) == 1
    )
    message = capsys.readouterr().err
    assert message.startswith("Expected ") and message.count("\n") == 1
