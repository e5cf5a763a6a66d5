"""Short stories as documents; 5 % of them, by a hash of the text, are held out."""

from __future__ import annotations

import re
from pathlib import Path

from workbench.unified.data.pictures import Split
from workbench.unified.data.root import held_out, set_folder
from workbench.unified.segments import UnifiedError

FILE = "tinystories_4MB_lowercase.txt"
SHORTEST = 80
"""Characters; a shorter piece is the cut end of a story."""


def stories(root: Path, split: Split) -> list[str]:
    """The stories of one split, in the order of the file.

    Args:
        root: data root.
        split: ``train`` or ``test``.

    Raises:
        UnifiedError: the file is missing or holds no story.
    """
    path = set_folder(root, "text") / FILE
    if not path.is_file():
        raise UnifiedError(f"Expected the stories in '{path}', but the file is missing: fetch the data set again.")
    return [text for text in split_stories(path.read_text(encoding="utf-8")) if held_out(text) == (split == "test")]


def split_stories(text: str) -> list[str]:
    """Documents of a file in which one line break parts stories and an empty line parts paragraphs."""
    pieces = re.split(r"(?<!\n)\n(?!\n)", text.replace("\r\n", "\n"))
    return [piece.strip() for piece in pieces if len(piece.strip()) >= SHORTEST]
