"""What a page says when something is wrong: the sentence of the fault, with the page's own names of the options.

Sentences below the pages name options as the command line does ("--max-length"). On a page the same thing is a field of a
form; an option that the form does not have is said to be the command line's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pages.parts.words import plain
from workbench.capture.errors import WorkbenchError
from workbench.jobs import Cancelled

# The form "New capture" on Start and the choices of the pages that show a capture.
FIELDS: dict[str, str] = {
    "--batch-size": "“Documents at once”",
    "--common": "“Common layers only”",
    "--device": "“Device”",
    "--dtype": "“Number format”",
    "--generate": "“Tokens to write”",
    "--gguf-file": "“Folder, GGUF file or hub id”",
    "--group-by": "“Groups of tokens by”",
    "--input": "“Files”",
    "--lines": "“A document a line”",
    "--max-length": "“Tokens a document”",
    "--model": "“Model”",
    "--no-text": "“With the texts” off",
    "--prompt": "“Prompt”",
    "--streams": "“Also keep for every token”:",
    "--text-column": "“Text column”",
    "--untrained": "“Untrained weights”",
}
_COMMAND = re.compile(r"`[^`]*`")  # a command to copy stays as it is
_OPTION = re.compile(r"(?<![\w-])(?<!command line's )--[a-z][a-z-]*[a-z]")


def in_words_of_the_page(sentence: str, fields: Mapping[str, str] = FIELDS) -> str:
    """A sentence with a form's names of the options in place of the command line's.

    Args:
        fields: option -> what the form calls it; other options are named as the command line's.
    """

    def named(option: re.Match[str]) -> str:
        return fields.get(option[0], f"the command line's {option[0]}")

    def outside(text: str) -> str:
        return _OPTION.sub(named, text)

    parts, last = [], 0
    for quoted in _COMMAND.finditer(sentence):
        words = quoted[0][1:-1]
        parts.append(outside(sentence[last : quoted.start()]))
        parts.append(outside(words) if words.startswith("--") else quoted[0])
        last = quoted.end()
    return "".join((*parts, outside(sentence[last:])))


def in_words(fault: BaseException | str, limit: int = 500) -> str:
    """A fault for a page: in its words, and safe inside Markdown."""
    return plain(in_words_of_the_page(str(fault)), limit=limit)


@contextmanager
def in_words_of(fields: Mapping[str, str], folder: Path | None = None) -> Iterator[None]:
    """A block whose faults are said in the words of a form.

    Args:
        fields: option -> what the form calls it.
        folder: of uploaded files, which the user never saw: a sentence names them as they were uploaded.
    """
    try:
        yield
    except Cancelled:
        raise
    except WorkbenchError as fault:
        named = str(fault) if folder is None else str(fault).replace(f"{folder}/", "").replace(f"{folder}\\", "")
        words = in_words_of_the_page(named, fields)
        if words == str(fault):
            raise
        raise WorkbenchError(words) from fault
