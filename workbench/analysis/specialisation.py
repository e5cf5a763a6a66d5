"""How much more often a group chooses an expert than the other groups do: a log2 ratio with a pseudo-count.

Choices made here (ours; the log ratio itself is in common use, for example as pointwise mutual information):
- Compared with the choices of the *other* groups pooled, not with all: a large group would else be compared with itself.
- Pooled by tokens, so that a group with more tokens weighs more; `against` picks the groups to compare with.
- A pseudo-count of 1/2 choice (Jeffreys' prior) for every expert on both sides, so that experts never chosen stay finite.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workbench.analysis.load import token_share
from workbench.analysis.select import MIN_EXPECTED, few_choices, groups_with_tokens, select
from workbench.analysis.tables import HeatmapTable
from workbench.analysis.words import few_phrase, phase_phrase, sites_phrase, tokens_phrase
from workbench.capture import Capture, CaptureError

PSEUDO_COUNT = 0.5


def log2_specialisation(
    count: np.ndarray, others: np.ndarray, mask: np.ndarray | None = None, pseudo_count: float = PSEUDO_COUNT
) -> np.ndarray:
    """log2 of an expert's share of the group's choices over its share of the other groups' choices.

    s_i = log2[ (c_i + a) / (C + a E) ] - log2[ (o_i + a) / (O + a E) ], with C and O the sums over experts.

    Args:
        count: [..., E] choices of the group. others: [..., E] choices of the other groups together.
        mask: bool, broadcastable; False leaves an expert out.
        pseudo_count: a, in choices an expert, at least 0; with 0 an unused expert gives an infinity or NaN.

    Returns:
        float64 [..., E] in bits, 1 means twice as often; NaN outside the mask and where a side has no choice at all.

    Raises:
        CaptureError: for a negative pseudo-count.
    """
    if pseudo_count < 0:
        raise CaptureError(
            f"A pseudo-count is 0 or more choices an expert, but is {pseudo_count}: choose for example 0.5."
        )
    count, others = np.broadcast_arrays(np.asarray(count, dtype=np.float64), np.asarray(others, dtype=np.float64))
    inside = np.ones(count.shape, dtype=bool) if mask is None else np.broadcast_to(mask, count.shape)
    own, known = _log2_share(count, inside, pseudo_count)
    other, other_known = _log2_share(others, inside, pseudo_count)
    with np.errstate(invalid="ignore"):  # -inf minus -inf without a pseudo-count is NaN, as documented
        return np.where(inside & known & other_known, own - other, np.nan)


def _log2_share(count: np.ndarray, inside: np.ndarray, pseudo_count: float) -> tuple[np.ndarray, np.ndarray]:
    count = np.where(inside, count, 0.0)
    total = count.sum(axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (count + pseudo_count) / (total + pseudo_count * inside.sum(axis=-1, keepdims=True))
        return np.log2(share), total > 0


def specialisation_table(
    capture: Capture,
    group: str | Sequence[str] | None,
    sites: str | Sequence[str] | None = None,
    pseudo_count: float = PSEUDO_COUNT,
    phase: str | None = None,
    *,
    against: str | Sequence[str] | None = None,
    min_expected: float = MIN_EXPECTED,
) -> HeatmapTable:
    """log2 specialisation of a group (or several pooled) at every expert of every site.

    Args:
        against: groups to compare with; None for all others of the capture.
        min_expected: a site is flagged `few` where the group or the others have fewer expected choices an expert.

    Raises:
        CaptureError: for an unknown group, site or phase, or if there is no other group to compare with.
    """
    if group is None:
        raise CaptureError("Specialisation compares one group with the others, but no group was chosen: choose one.")
    names = [group] if isinstance(group, str) else list(dict.fromkeys(group))
    own = select(capture, sites, names, phase, min_expected)
    given = [against] if isinstance(against, str) else against
    rest = [name for name in (groups_with_tokens(capture) if given is None else given) if name not in names]
    if not rest:
        raise CaptureError(
            f"Specialisation compares '{' + '.join(names)}' with other groups, but the capture has tokens of no other: "
            "record it with --group-by, or choose another group."
        )
    other = select(capture, sites, rest, phase, min_expected)
    count, others = own.count.sum(axis=1), other.count.sum(axis=1)
    few = few_choices(np.where(own.real, count, 0), own.real, min_expected) | few_choices(
        np.where(own.real, others, 0), own.real, min_expected
    )
    n = own.tokens.sum(axis=1)
    against_words = ", ".join(rest) if len(rest) <= 6 else f"{len(rest)} other groups"
    return HeatmapTable(
        measure="specialisation",
        unit="log2 of share / share of the others",
        centre=0.0,
        sites=own.sites,
        group=" + ".join(names),
        phase=phase,
        values=log2_specialisation(count, others, own.exists, pseudo_count),
        count=count,
        share=token_share(count, n, own.exists),
        n=n,
        few=few,
        exists=own.exists,
        identity=own.exists & ~own.real,
        caption=(
            f"How much more often {' + '.join(names)} ({tokens_phrase(n)}) chooses each expert than {against_words} "
            f"({tokens_phrase(other.tokens.sum(axis=1))}) {sites_phrase(own.sites)}{phase_phrase(phase)}, in log2 "
            f"(+1 = twice as often, pseudo-count {pseudo_count:g}){few_phrase(few, min_expected)}; a preference does not prove "
            "that the expert is needed for the group, nor what it has learnt."
        ),
    )
