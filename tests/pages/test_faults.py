"""Sentences of faults in the words of a page."""

from __future__ import annotations

from pathlib import Path

import pytest

from pages.parts.faults import FIELDS, in_words, in_words_of, in_words_of_the_page
from workbench.capture.errors import WorkbenchError
from workbench.jobs import Cancelled


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("choose a smaller --max-length.", "choose a smaller “Tokens a document”."),
        ("--batch-size is 1, so --dtype bfloat16", "“Documents at once” is 1, so “Number format” bfloat16"),
        ("use --quantize 4bit or --device-map auto", "use the command line's --quantize 4bit or the command line's --device-map auto"),
        ("with scores (`--streams scores`).", "with scores (“Also keep for every token”: scores)."),
        ("`workbench convert x --out NEW` and --input", "`workbench convert x --out NEW` and “Files”"),
        ("a well-kept -- dash, two--three", "a well-kept -- dash, two--three"),
    ],
)  # fmt: skip
def test_options_become_fields(sentence: str, expected: str) -> None:
    assert in_words_of_the_page(sentence) == expected
    assert in_words_of_the_page(expected) == expected  # said twice is said once


def test_a_form_has_names_of_its_own() -> None:
    assert in_words_of_the_page("--mute", {"--mute": "“Mute”"}) == "“Mute”"
    assert "<b>" not in in_words("<b>--device</b>") and "“Device”" in in_words("--device")


def test_faults_of_a_block_are_reworded_and_name_uploads_as_they_were_uploaded(tmp_path: Path) -> None:
    with pytest.raises(WorkbenchError, match="^'a.csv' has no column: “Text column”$"), in_words_of(FIELDS, tmp_path):
        raise WorkbenchError(f"'{tmp_path}/a.csv' has no column: --text-column")
    with pytest.raises(Cancelled, match="--device"), in_words_of(FIELDS):
        raise Cancelled("--device")
    with pytest.raises(ValueError, match="--device"), in_words_of(FIELDS):
        raise ValueError("--device")
