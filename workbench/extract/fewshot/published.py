"""Few-shot figures that the MetaNER paper states (arXiv 2305.11038, tables 1 and 3), to stand beside ours.

Over the whole test parts and ten support sets; ours may be over a sample, with a model of another size.
"""

from __future__ import annotations

from typing import NamedTuple

from workbench.extract.fewshot.episodes import SETS


class Stated(NamedTuple):
    """One stated row.

    Attributes:
        model: its name. parameters: in millions, or None where the paper gives none. how: "in context" or "fine-tuned".
        f1: (set, shots) -> F1 in [0, 1].
    """

    model: str
    parameters: int | None
    how: str
    f1: dict[tuple[str, int], float]


def _row(model: str, parameters: int | None, how: str, *pairs: tuple[float | None, float | None]) -> Stated:
    f1: dict[tuple[str, int], float] = {}
    for name, pair in zip(SETS, pairs, strict=False):
        for shots, value in zip((1, 5), pair, strict=True):
            if value is not None:
                f1[name, shots] = round(value / 100, 4)
    return Stated(model, parameters, how, f1)


STATED: tuple[Stated, ...] = (
    _row("MetaNER", 770, "in context", (57.40, 63.45), (31.59, 36.52), (40.01, 44.92), (52.07, 54.87)),
    _row("MetaNER-base", 220, "in context", (53.94, 62.59), (25.55, 30.41), (35.00, 37.24), (46.88, 51.39)),
    _row("GPT-NeoX-20B", 20_000, "in context", (52.68, 58.12), (36.29, 35.68), (35.42, 42.85), (45.07, 45.17)),
    _row("T5-v1.1-large", 770, "in context", (38.61, 44.90), (25.52, 26.32), (26.02, 37.63), (41.89, 53.44)),
    _row("BERT-large", None, "fine-tuned", (14.66, 52.43), (8.95, 32.77)),
    _row("T5-v1.1-large", 770, "fine-tuned", (11.65, 42.13), (12.51, 39.54)),
    _row("UIE-large", 770, "fine-tuned", (46.28, 67.62), (32.86, 42.67)),
    _row("SDNet", None, "fine-tuned", (None, 71.40), (None, 44.10)),
    _row("CONTAINER-FT", None, "fine-tuned", (48.56, 66.45), (19.46, 24.95)),
    _row("MetaNER", 770, "fine-tuned", (61.51, 72.70), (39.68, 47.26)),
)


def stated(shots: int) -> tuple[Stated, ...]:
    """Rows that say anything at so many shots."""
    return tuple(row for row in STATED if any(each == shots for _, each in row.f1))
