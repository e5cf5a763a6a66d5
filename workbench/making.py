"""How the unified model draws where nothing else is asked: one choice for its evaluation, its command and its page.

It stands outside `workbench.unified` because the dashboard and the command line read it before torch is loaded.
"""

from __future__ import annotations

import json
from pathlib import Path

TEMPERATURE, GUIDANCE = 0.4, 3.0
"""Chosen on 100 drawings a task with a seed of their own (docs/unified.md), never on the seed that is reported."""

WORDS = "words.json"
"""Beside a checkpoint: the words of the captions that it learned to make something of, by what is made."""


def words_of(caption: str) -> list[str]:
    """The words of a caption, in lower case and without the marks around them."""
    return [bare for word in caption.lower().split() if (bare := word.strip(".,:;!?'\"()"))]


def unlearned_words(folder: Path, make: str, prompt: str) -> list[str]:
    """Words of a prompt that no caption had which the model was trained to make this of.

    Args:
        folder: checkpoint; one without a list of its words gives nothing.
        make: ``picture``, ``clip`` or ``speech``; for anything else there is nothing.
        prompt: what is asked for.

    Returns:
        Each word once, in the order of the prompt.
    """
    try:
        found = json.loads((folder / WORDS).read_text(encoding="utf-8"))
        known = {str(word) for word in found[make]}
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [word for word in dict.fromkeys(words_of(prompt)) if word not in known]


def said_of_unlearned(words: list[str]) -> str:
    """One sentence on such words."""
    listed = ", ".join(f"'{word[:40]}'" for word in words[:5]) + (" and others" if len(words) > 5 else "")
    return f"The model learned to make nothing of {listed}: what comes has nothing to do with {'it' if len(words) == 1 else 'them'}."
