"""Figures that papers state for the same test split, to stand beside ours.

UIE: Lu et al. 2022 (arXiv 2203.12277), T5-large with its pre-training. USM: Lou et al. 2023 (arXiv 2301.03282), RoBERTa-large with its
pre-training. As given in Mirror (arXiv 2311.05419), table 3. F1 by offset, strict relations.
"""

from __future__ import annotations

from typing import NamedTuple


class Published(NamedTuple):
    """One stated figure.

    Attributes:
        model: its name. parameters: of the model, in millions. metric: path in `Evaluation`. f1: in [0, 1].
    """

    model: str
    parameters: int
    metric: tuple[str, ...]
    f1: float


_STRICT = ("relation", "strict")
PUBLISHED: dict[str, tuple[Published, ...]] = {
    name: (Published("USM-large", 356, _STRICT, usm), Published("UIE-large", 770, _STRICT, uie))
    for name, usm, uie in (
        ("conll04", 0.7586, 0.7500),
        ("scierc", 0.3736, 0.3653),
        ("14res", 0.7726, 0.7452),
        ("14lap", 0.6551, 0.6388),
    )
}


def published(name: str, split: str) -> tuple[Published, ...]:
    """Figures for a data set's test split; none for any other split."""
    return PUBLISHED.get(name, ()) if split == "test" else ()
