"""Labels as the encoder reads them: names written out, descriptions behind them, mention labels before pair labels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

_CAMEL = re.compile(r"(?<=[a-z\d])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})")
_JOINTS = re.compile(r"[_\s.]+")


@lru_cache(maxsize=50_000)
def verbalise(name: str) -> str:
    """A label's name as words: "Work_For" -> "work for", "Life.Die" -> "life die", "CellLine" -> "cell line"."""
    words = [
        word if word.isupper() and len(word) > 1 else word.lower()
        for word in _JOINTS.split(_CAMEL.sub(" ", name.strip()))
    ]
    return " ".join(word for word in words if word) or name.strip()


@dataclass(frozen=True)
class LabelText:
    """What stands for a label in the prompt."""

    name: str  # written out
    description: str = ""

    @property
    def text(self) -> str:
        return f"{self.name}: {self.description}" if self.description else self.name


@dataclass(frozen=True)
class Prompt:
    """The labels of one pass; a label's number is its place in `mentions + pairs`.

    Attributes:
        mentions: labels of spans: entity types, event types, aspect, opinion.
        pairs: labels of pairs of spans: relations, roles, polarities.
    """

    mentions: tuple[LabelText, ...] = ()
    pairs: tuple[LabelText, ...] = ()

    @property
    def labels(self) -> tuple[LabelText, ...]:
        return self.mentions + self.pairs


class LabelCoder:
    """Pieces of labels, kept for the next time."""

    def __init__(self, tokenizer: Any, longest: int) -> None:
        self._tokenizer, self._longest = tokenizer, longest
        self._known: dict[str, tuple[tuple[int, ...], bool]] = {}

    def ids(self, label: LabelText) -> tuple[int, ...]:
        """Vocabulary numbers of a label without special tokens, cut at the longest length; the unknown token where it has none."""
        return self._coded(label)[0]

    def is_cut(self, label: LabelText) -> bool:
        """Whether the end of a label and its description is not read."""
        return self._coded(label)[1]

    def _coded(self, label: LabelText) -> tuple[tuple[int, ...], bool]:
        text = label.text
        if text not in self._known:
            if len(self._known) > 200_000:
                self._known.clear()
            found = self._tokenizer(text, add_special_tokens=False, verbose=False, split_special_tokens=True)
            ids = found["input_ids"]
            kept = tuple(ids[: self._longest]) or (self._tokenizer.unk_token_id or 0,)
            self._known[text] = kept, len(ids) > self._longest
        return self._known[text]
