"""Routing computed from nothing but a router's input and its stored numbers: numpy in double precision.

Written from the papers and the table of families, not from the code of the probe or of the models. Letters: T tokens,
D width, E experts, K chosen experts, G expert groups. A choice is `ids` int64 [T, K] (-1: no expert) and `weights`
float64 [T, K]; the order inside a token means nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import erf

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Choice:
    """Chosen experts [T, K], -1 where a choice was dropped or skipped, and their gate weights."""

    ids: Array
    weights: Array


def softmax(x: Array) -> Array:
    """Softmax over the last axis."""
    exponents = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


def sigmoid(x: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-x))


def score(logits: Array, kind: str) -> Array:
    """Scores of the experts [T, E] from their logits: "softmax", "sigmoid", "sqrtsoftplus" or "logits" as they are."""
    if kind == "softmax":
        return softmax(logits)
    if kind == "sigmoid":
        return sigmoid(logits)
    if kind == "sqrtsoftplus":
        return np.sqrt(np.log1p(np.exp(logits)))
    return logits


def largest(values: Array, k: int) -> Array:
    """Positions of the k largest of every row [T, k], the largest first."""
    return np.argsort(-values, axis=-1, kind="stable")[:, :k]


def take(values: Array, ids: Array) -> Array:
    return np.take_along_axis(values, ids, axis=-1)


def limit_to_groups(selection: Array, groups: int, kept: int, rank_by: int, fill: float) -> Array:
    """Selection scores with the experts of weak groups replaced by `fill`.

    DeepSeek-V2 (arXiv 2405.04434, section 2.1.2) ranks a group by its best expert (`rank_by` 1), DeepSeek-V3 (arXiv
    2412.19437, section 2.1.2) by the sum of its best two (`rank_by` 2).

    Args:
        selection: [T, E], experts of a group next to each other.
        groups: G; kept: groups that stay; rank_by: how many of its best experts a group is ranked by.
    """
    tokens, experts = selection.shape
    of_group = selection.reshape(tokens, groups, experts // groups)
    strength = np.sort(of_group, axis=-1)[:, :, -rank_by:].sum(axis=-1)
    strong = np.zeros((tokens, groups), dtype=bool)
    np.put_along_axis(strong, largest(strength, kept), True, axis=-1)
    return np.where(strong[:, :, None], of_group, fill).reshape(tokens, experts)


def normalised(weights: Array, floor: float = 0.0) -> Array:
    """Weights divided by their sum, or by `floor` where the sum is smaller."""
    return weights / np.maximum(weights.sum(axis=-1, keepdims=True), floor)


def sparse_mixer(logits: Array, jitter: float) -> Choice:
    """Two choices one after the other, each with a softmax over the logits near its maximum.

    GRIN (arXiv 2409.12136, section 2.2), evaluation mode. A logit is far if it lies more than 2 x jitter x factor below
    the maximum, where factor is the larger of its own size and of the maximum.
    """

    def weight_of_best(remaining: Array) -> tuple[Array, Array]:
        top = remaining.max(axis=-1, keepdims=True)
        with np.errstate(invalid="ignore"):  # a padding token's logits are all 0: none of them is far
            far = (top - logits) / np.maximum(np.abs(logits), top) > 2 * jitter
        share = softmax(np.where(far, -np.inf, remaining))
        best = remaining.argmax(axis=-1)[:, None]
        return best, take(share, best)

    first, first_weight = weight_of_best(logits)
    without = logits.copy()
    np.put_along_axis(without, first, -np.inf, axis=-1)
    second, second_weight = weight_of_best(without)
    return Choice(np.hstack([first, second]), np.hstack([first_weight, second_weight]))


def product_keys(logits: Array, k: int) -> Choice:
    """The k best of the grid of sums of two halves: expert = row x keys + column.

    Product keys (Lample et al., arXiv 1907.05242, section 3.2), as Doge reads them: the flat list of all logits is cut
    into two halves of T rows, so that token t takes its row scores from the first half and its columns from the second.

    Args:
        logits: [T, 2 x keys].
    """
    tokens, width = logits.shape
    keys = width // 2
    rows, columns = logits.reshape(-1)[: tokens * keys], logits.reshape(-1)[tokens * keys :]
    sums = (rows.reshape(tokens, keys, 1) + columns.reshape(tokens, 1, keys)).reshape(tokens, keys * keys)
    ids = largest(sums, k)
    return Choice(ids, softmax(take(sums, ids)))


def switch_top_one(logits: Array, capacity: int) -> Choice:
    """The best expert, unless `capacity` earlier tokens of the same sequence took it (arXiv 2101.03961, section 2.2).

    Args:
        logits: [B, S, E].
    """
    share = softmax(logits)
    ids = share.argmax(axis=-1)
    weights = share.max(axis=-1)
    for row in range(ids.shape[0]):
        taken = dict.fromkeys(range(logits.shape[-1]), 0)
        for position in range(ids.shape[1]):
            expert = int(ids[row, position])
            taken[expert] += 1
            if taken[expert] > capacity:
                ids[row, position] = -1
    return Choice(ids.reshape(-1, 1), weights.reshape(-1, 1))


def nllb_top_two(logits: Array, capacity: int) -> Choice:
    """The best two with weights that add up to 1, dropped where an expert is full.

    NLLB (arXiv 2207.04672, section 6.1), GShard's gating: all first choices are seated before any second choice, both in
    the order of the tokens. The weights are normalised over what was seated.
    """
    share = softmax(logits)
    ids = largest(share, 2)
    seated = np.zeros(ids.shape, dtype=bool)
    taken = dict.fromkeys(range(logits.shape[-1]), 0)
    firsts = dict.fromkeys(range(logits.shape[-1]), 0)
    for token in range(len(ids)):
        first = int(ids[token, 0])
        seated[token, 0] = firsts[first] < capacity
        firsts[first] += 1
    for token in range(len(ids)):
        second = int(ids[token, 1])
        seated[token, 1] = firsts[second] + taken[second] < capacity
        taken[second] += 1
    weights = take(share, ids) * seated
    total = weights.sum(axis=-1, keepdims=True)
    return Choice(np.where(seated, ids, -1), np.divide(weights, total, out=np.zeros_like(weights), where=total > 0))


def gelu(x: Array) -> Array:
    """Gaussian error linear unit (arXiv 1606.08415), exact form."""
    return 0.5 * x * (1.0 + np.vectorize(erf)(x / np.sqrt(2.0)))


def rms_norm(x: Array, epsilon: float) -> Array:
    """Root-mean-square normalisation without a scale (arXiv 1910.07467)."""
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + epsilon)
