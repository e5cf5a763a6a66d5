"""The numbers of the evaluation: a share with its interval, the distance between two sets, how varied a set is."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np


def share(right: np.ndarray) -> dict[str, Any]:
    """Share of true values with a 95 % interval.

    Args:
        right: bool [N].

    Returns:
        ``accuracy``, ``interval`` (Wilson 1927, score interval) and ``n``.
    """
    n = len(right)
    if not n:
        return {"accuracy": None, "interval": None, "n": 0}
    z, p = 1.959964, float(np.mean(right))
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return {"accuracy": p, "interval": [max(0.0, centre - half), min(1.0, centre + half)], "n": n}


def ceiling(real: np.ndarray, rebuilt: np.ndarray) -> dict[str, float]:
    """What a judge gets right on real test data and on the same data through the tokenizer; bool [N] each."""
    return {"real": float(np.mean(real)), "reconstructed": float(np.mean(rebuilt))}


def confusions(true: Sequence[int], said: Sequence[int], names: Sequence[str], most: int = 5) -> list[dict[str, Any]]:
    """The commonest mistakes, ``{"true", "said", "n"}``; a class of -1 is "nothing of these"."""
    counted = Counter((t, s) for t, s in zip(true, said, strict=True) if t != s)
    return [
        {"true": names[t], "said": names[s] if s >= 0 else "nothing of these", "n": n}
        for (t, s), n in counted.most_common(most)
    ]


def frechet(one: np.ndarray, other: np.ndarray) -> float | None:
    """Fréchet distance of two sets of features, each taken as a normal distribution (FID: Heusel et al. 2017, section 3).

    In the features of a judge and not of Inception, so it compares with nothing published; real against real stands beside it.

    Args:
        one, other: float [N, D] and [M, D].

    Returns:
        The distance, None with fewer than two items a side.
    """
    if min(len(one), len(other)) < 2:
        return None
    one, other = one.astype(np.float64), other.astype(np.float64)
    a, b = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    values, vectors = np.linalg.eigh(a)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ b @ root).clip(0)).sum()
    return float(np.square(one.mean(0) - other.mean(0)).sum() + np.trace(a) + np.trace(b) - 2 * cross)


def variety(features: np.ndarray, classes: np.ndarray) -> float | None:
    """Mean distance of two items of one class, averaged over classes with at least two items.

    Args:
        features: float [N, D].
        classes: int [N].
    """
    found = []
    for label in np.unique(classes):
        mine = features[classes == label].astype(np.float64)
        if len(mine) > 1:
            squares = np.square(mine).sum(1)
            apart = np.sqrt((squares[:, None] + squares[None] - 2 * mine @ mine.T).clip(0))
            found.append(apart.sum() / (len(mine) * (len(mine) - 1)))
    return float(np.mean(found)) if found else None


def ridge(train: np.ndarray, labels: np.ndarray, test: np.ndarray, classes: int, strength: float = 1e-2) -> np.ndarray:
    """Classes int64 [M] by a linear probe: least squares on one-hot labels with a quadratic penalty.

    Args:
        train: float [N, D] features.
        labels: int64 [N].
        test: float [M, D].
        classes: number of classes.
        strength: penalty as a share of the mean variance of a feature.
    """
    mean, spread = train.mean(0), train.std(0) + 1e-6
    x, y = (train - mean) / spread, np.eye(classes)[labels] - 1 / classes
    x, z = x.astype(np.float64), ((test - mean) / spread).astype(np.float64)
    gram = x.T @ x / len(x) + strength * np.eye(x.shape[1])
    found: np.ndarray = (z @ np.linalg.solve(gram, x.T @ y / len(x))).argmax(1)
    return found
