"""How good extraction is: the metrics of UIE's scorer, intervals, and where it is wrong (docs/extract.md)."""

from __future__ import annotations

from workbench.extract.evaluate.facts import METRICS, MODES, SPANS, Count, compare, facts_of
from workbench.extract.evaluate.mistakes import CATEGORIES, KINDS, Mistake, mistakes_of
from workbench.extract.evaluate.published import published
from workbench.extract.evaluate.scores import Evaluation, Score, evaluate, score, within

__all__ = [
    "CATEGORIES", "KINDS", "METRICS", "MODES", "SPANS", "Count", "Evaluation", "Mistake", "Score", "compare", "evaluate", "facts_of",
    "mistakes_of", "published", "score", "within",
]  # fmt: skip
