"""Texts that are measured on are learnt from nowhere: not as a text, not within a longer one, not by a part of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from workbench.extract.formats.tokens import Counts
from workbench.extract.records import Document
from workbench.extract.usm.train import sources
from workbench.extract.usm.train.sources import LEAST_INSIDE, SHOWN, KeptBack, Source, load_sources, readable_documents

SENTENCE = "The effects of exercise on the severity of isoproterenol - induced myocardial infarction ( n = 12 )"
SHORT = "Plasma levels were lower in group B than in A"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (SENTENCE, True),
        ("the effects of exercise on the severity of isoproterenol-induced myocardial infarction (n=12).", True),
        (f"Rats were old. {SENTENCE} were studied.", True),
        (f"({SENTENCE.upper()})", True),
        (" ".join(SENTENCE.split()[1:]), True),  # a part of it that is long
        (" ".join(SENTENCE.split()[8:]), False),  # a part that many texts may have
        (SENTENCE.replace("myocardial", "renal"), False),
        (f"Rats were old. {SENTENCE.replace('12', '13')} were studied.", False),
        (SHORT, True),
        (f"{SHORT}, as is known.", False),  # too short to be looked for within others
        ("", False),
    ],
)
def test_what_shows_a_text_that_is_kept_back(text: str, shown: bool) -> None:
    assert KeptBack([SENTENCE, SHORT, "Ada"]).shown(text) is shown


def test_a_text_is_found_wherever_it_stands_as_a_brute_search_finds_it() -> None:
    """Against a search of every key in every text, over texts that share long and short runs of words."""
    words = [f"word{n % 7}x{n}" for n in range(60)]
    kept = [" ".join(words[start : start + size]) for start in range(0, 50, 5) for size in (4, 8, 12, 30)]
    texts = [" ".join(["other", *words[start : start + size], "end"]) for start in range(0, 45, 3) for size in (5, 9, 20)]  # fmt: skip
    index = KeptBack(kept)
    for text in texts:
        key = "".join(text.split())
        keys = ["".join(each.split()) for each in kept]
        wanted = any((len(each) >= LEAST_INSIDE and each in key) or key == each for each in keys)
        assert index.shown(text) == wanted, text


def test_documents_that_show_a_measured_text_are_left_out_and_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    texts = {
        ("bc5cdr", "test"): [SENTENCE],
        ("biored", "train"): [f"{SENTENCE} were studied. Rats were old.", "Rats were old.", SENTENCE],
    }

    def load(name: str, root: Path, split: str, counts: Any = None) -> list[Document]:
        return [Document(id=str(n), text=text) for n, text in enumerate(texts.get((name, split), ()))]

    monkeypatch.setattr(sources, "load_data", load)
    counts = Counts()
    assert [d.text for d in readable_documents("biored", tmp_path, 9, 0, counts)] == ["Rats were old."]
    assert counts == {SHOWN: 2}
    said: list[str] = []
    monkeypatch.setattr(sources, "make_source", lambda name, plan, *_: Source(name, plan, []))
    load_sources(["biored"], tmp_path, None, 64, progress=said.append)
    assert said == ["biored", "biored: 2 documents that show a text that is measured on are left out"]
