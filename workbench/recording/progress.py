"""How far a recording is."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """How far a recording is.

    Attributes:
        documents, total: documents run, and in all.
        tokens: tokens that went through the model, padding left out.
        seconds: since the first batch.
    """

    documents: int
    total: int
    tokens: int
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.seconds > 0 else 0.0

    def sentence(self) -> str:
        return f"{self.documents:,} of {self.total:,} documents, {self.tokens:,} tokens, {self.tokens_per_second:,.0f} tokens/s"


@dataclass
class Tally:
    """What was run so far."""

    total: int
    begun: float
    rows: Counter[str] = field(default_factory=Counter)  # rows of each document still to run
    windows: int = 0
    cut: int = 0
    documents: int = 0
    tokens: int = 0

    def progress(self) -> Progress:
        return Progress(self.documents, self.total, self.tokens, time.monotonic() - self.begun)

    def plan(self, document: str, rows: int) -> None:
        self.rows[document] += rows
        if rows > 1:
            self.cut += 1
            self.windows += rows

    def ran(self, document: str) -> None:
        self.rows[document] -= 1
        if self.rows[document] <= 0:
            del self.rows[document]
            self.documents += 1
