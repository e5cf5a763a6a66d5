"""What the points of a map are: a row of numbers for each expert, or for each token.

Experts, a row an expert of a site (numbers of experts are never pooled over sites; the columns mean the same at every site):
    load           sqrt of its profile over groups: r_g / sum_g r_g, with r_g the share of the group's tokens that choose it
    vocabulary     sqrt of its profile over token ids: N_xi / N_i (the counts of OLMoE, 2409.02060, section 5.4)
    coactivation   sqrt of its profile over the other experts of the one site: N_ij / sum_j N_ij (section 5.2 there)
Tokens, a row a token:
    experts        gate weight of every expert of the chosen sites, side by side, 0 where it was not chosen
    scores         the router's score of every expert of one site, less the row's mean (softmax does not see it)

The root makes the straight distance of two profiles their Hellinger distance (times the root of 2), which counts rare columns
and is bounded; to use it here is ours. Experts that were never chosen have no profile and are left out and counted.

Letters: N points, F features, S sites, G groups, E experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from workbench.analysis.select import groups_with_tokens, select
from workbench.analysis.token_rows import (
    Rows,
    chosen_sites,
    read_choices,
    read_column,
    read_rows,
    read_scores,
    read_words,
)
from workbench.analysis.vocabulary import MIN_SEEN
from workbench.capture import Capture, CaptureError, Site

ExpertsBy = Literal["load", "vocabulary", "coactivation"]
TokensBy = Literal["experts", "scores"]
MOST_TOKENS = 2000  # on one map: more are a cloud, and trustworthiness takes their square in memory
MOST_IDS = 1000  # token ids of a profile, the most frequent ones
MOST_NUMBERS = 20_000_000  # of a matrix: 160 MB
MIN_POINTS = 4


@dataclass(frozen=True)
class Features:
    """The points of a map before they are projected.

    Attributes:
        kind: "experts" or "tokens". by: how they are described.
        matrix: float64 [N, F].
        rows: a row a point: its labels (experts: site, layer, expert, n_choices, group, modality, role; tokens: document,
            position, token, group, modality, role, phase, expert of highest weight).
        seen: points that there are; the map shows N of them. unused: experts left out because nothing chose them.
        seed: of the sample.
        says: what describes a point, for a caption.
    """

    kind: Literal["experts", "tokens"]
    by: str
    matrix: np.ndarray
    rows: pd.DataFrame
    seen: int
    unused: int
    seed: int
    says: str


# ---------------------------------------------------------------------- experts
def expert_features(capture: Capture, by: ExpertsBy, sites: str | Sequence[str] | None = None) -> Features:
    """A row for every expert that was chosen.

    Args:
        by: "load", "vocabulary" (needs token rows with ids) or "coactivation" (one site, needs that table).
        sites: ids, default all; co-activation takes exactly one.

    Raises:
        CaptureError: in one sentence, where the capture cannot describe its experts this way or too few were used.
    """
    places = chosen_sites(capture, sites)
    if by == "load":
        made, says = _by_load(capture, places)
    elif by == "vocabulary":
        made, says = _by_vocabulary(capture, places)
    elif by == "coactivation":
        made, says = _by_coactivation(capture, places)
    else:
        raise CaptureError(
            f"Experts are described by load, vocabulary or coactivation, not by '{by}': choose one of them."
        )
    used = made.sum(axis=2) > 0
    exists = np.arange(made.shape[1])[None, :] < np.array([site.experts for site in places])[:, None]
    site, expert = np.nonzero(used & exists)
    if len(site) < MIN_POINTS:
        raise CaptureError(
            f"Only {len(site)} of {int(exists.sum())} experts were chosen by a token, and any three points lie in a plane, so a map would show "
            "nothing: record more tokens, or choose more layers."
        )
    profile = made[site, expert]
    matrix = np.sqrt(profile / profile.sum(axis=1, keepdims=True))
    return Features(
        kind="experts",
        by=by,
        matrix=matrix,
        rows=_expert_rows(capture, places, site, expert),
        seen=int(exists.sum()),
        unused=int((exists & ~used).sum()),
        seed=0,
        says=says,
    )


def _by_load(capture: Capture, places: tuple[Site, ...]) -> tuple[np.ndarray, str]:
    """[S, E, G] share of each group's tokens that choose the expert."""
    chosen = select(capture, [site.id for site in places])
    if len(chosen.groups) < 2:
        raise CaptureError(
            "Experts are told apart by the groups that choose them, and this capture has one group with tokens: group it by something, or "
            "map them by co-activation or vocabulary."
        )
    rate = chosen.count / np.maximum(chosen.tokens, 1)[:, :, None]
    return rate.transpose(0, 2, 1), f"the shares of {len(chosen.groups)} groups that choose them"


def _by_vocabulary(capture: Capture, places: tuple[Site, ...]) -> tuple[np.ndarray, str]:
    """[S, E, V] choices by token id, of the most frequent ids."""
    if len({site.stack for site in places}) > 1:
        raise CaptureError(
            "Experts of one stack share a vocabulary, those of several do not: choose layers of one stack."
        )
    rows = read_rows(capture, places[0].stack)
    token = read_column(capture, rows, "token_id")
    known, code, number = np.unique(token, return_inverse=True, return_counts=True)
    widest = max(site.experts for site in places)
    most = max(1, min(MOST_IDS, MOST_NUMBERS // (len(places) * widest)))
    often = np.flatnonzero((number >= MIN_SEEN) & (known >= 0))
    often = np.sort(often[np.argsort(-number[often], kind="stable")][:most])
    if len(often) < 2:
        raise CaptureError(
            f"Fewer than two token ids were seen {MIN_SEEN} times, too few for a vocabulary: record more tokens."
        )
    place = np.full(len(known), -1, dtype=np.int64)
    place[often] = np.arange(len(often))
    code = place[code]
    made = np.zeros((len(places), widest, len(often)))
    for index, site in enumerate(places):
        ids, _ = read_choices(capture, rows, site)
        kept = (ids >= 0) & (code >= 0)[:, None]
        cell = np.where(kept, ids, 0) * len(often) + np.maximum(code, 0)[:, None]
        count = np.bincount(cell[kept], minlength=site.experts * len(often))
        made[index, : site.experts] = count.reshape(site.experts, len(often))
    return made, f"the {len(often):,} most frequent token ids that reach them"


def _by_coactivation(capture: Capture, places: tuple[Site, ...]) -> tuple[np.ndarray, str]:
    """[1, E, E] tokens that chose both, 0 on the diagonal."""
    if len(places) != 1:
        raise CaptureError(
            "Co-activation is counted inside one layer, because expert numbers mean nothing across layers: choose one layer."
        )
    square = capture.coactivation
    if square is None:
        raise CaptureError(
            "This capture holds no co-activation: record it again with coactivation=True, or map experts by load."
        )
    site = places[0]
    if site.top_k < 2:
        raise CaptureError(
            "A token of this layer chooses one expert, so no two are chosen together: map experts by load."
        )
    pairs = square[capture.site_index(site.id), : site.experts, : site.experts].astype(np.float64)
    np.fill_diagonal(pairs, 0.0)
    return pairs[None], "the experts of the layer that they are chosen with"


def _expert_rows(capture: Capture, places: tuple[Site, ...], site: np.ndarray, expert: np.ndarray) -> pd.DataFrame:
    """Labels; the group of an expert is the one whose tokens choose it most often, by share of tokens."""
    chosen = select(capture, [place.id for place in places], groups_with_tokens(capture))
    rate = chosen.count / np.maximum(chosen.tokens, 1)[:, :, None]
    best = rate[site, :, expert].argmax(axis=1)
    groups = [chosen.groups[index] for index in best]
    return pd.DataFrame(
        {
            "site": [places[index].id for index in site],
            "stack": [places[index].stack for index in site],
            "layer": [places[index].layer for index in site],
            "part": [places[index].part for index in site],
            "expert": expert,
            "n_choices": chosen.count[site, :, expert].sum(axis=1),
            "group": _words([group.name for group in groups]),
            "modality": _words([group.modality for group in groups]),
            "role": _words([group.role for group in groups]),
        }
    )


def bound_tokens(capture: Capture, rows: pd.DataFrame) -> list[str | None]:
    """The token most bound to each expert: the id, seen at least 10 times, of which the largest share goes to it.

    Args:
        rows: of `expert_features`.

    Raises:
        CaptureError: without token rows or ids.
    """
    bound: dict[tuple[str, int], str] = {}
    for site_id in dict.fromkeys(rows["site"]):
        site = capture.site(str(site_id))
        labels = read_rows(capture, site.stack)
        token = read_column(capture, labels, "token_id")
        words = read_words(capture, labels)
        ids, _ = read_choices(capture, labels, site)
        known, first, code, number = np.unique(token, return_index=True, return_inverse=True, return_counts=True)
        kept = ids >= 0
        count = np.bincount(
            (code[:, None] * site.experts + np.where(kept, ids, 0))[kept], minlength=len(known) * site.experts
        ).reshape(len(known), site.experts)
        share = np.where(((number >= MIN_SEEN) & (known >= 0))[:, None], count / number[:, None], 0.0)
        best = share.argmax(axis=0)
        for expert in range(site.experts):
            if share[best[expert], expert] > 0:
                bound[site.id, expert] = words[first[best[expert]]] or f"id {known[best[expert]]}"
    return [bound.get((str(site), int(expert))) for site, expert in zip(rows["site"], rows["expert"], strict=True)]


# ---------------------------------------------------------------------- tokens
def token_features(
    capture: Capture,
    by: TokensBy,
    sites: str | Sequence[str] | None = None,
    group: str | None = None,
    *,
    most: int = MOST_TOKENS,
    seed: int = 0,
) -> Features:
    """A row for every token of a uniform sample.

    Args:
        by: "experts" (gate weights) or "scores" (recorded on request; one site).
        sites: of one stack; default the sites of the first one. group: tokens of one group only.
        most: tokens of the sample. seed: of the sample.

    Raises:
        CaptureError: in one sentence, where the capture cannot show tokens this way or there are too few.
    """
    if not capture.has("tokens"):
        raise CaptureError(
            "This capture holds counts but no token rows, so single tokens cannot be mapped: record it again with tokens=True, or map its "
            "experts."
        )
    places = chosen_sites(capture, sites) if sites is not None else _first_stack(capture)
    if len({site.stack for site in places}) > 1:
        raise CaptureError("A token belongs to one stack: choose layers of one stack.")
    rows = read_rows(capture, places[0].stack)
    wanted = rows.group >= 0 if group is None else rows.group == capture.group_index(group)
    choices = [read_choices(capture, rows, site, weights=True) for site in places]
    for ids, _ in choices:
        wanted &= (ids >= 0).any(axis=1)
    eligible = np.flatnonzero(wanted)
    if len(eligible) < MIN_POINTS:
        whose = "" if group is None else f" of '{group}'"
        raise CaptureError(
            f"{len(eligible)} token rows{whose} reached {'this layer' if len(places) == 1 else 'these layers'}, and any three points lie in a "
            "plane, so a map would show nothing: choose another group or layer, or record more tokens."
        )
    features = sum(site.experts for site in places)
    number = max(MIN_POINTS, min(most, len(eligible), MOST_NUMBERS // features))
    at = (
        np.sort(np.random.default_rng(seed).choice(eligible, number, replace=False))
        if number < len(eligible)
        else eligible
    )
    if by == "experts":
        matrix, says = _gate_weights(choices, places, at), "the gate weights that they give to the experts"
    elif by == "scores":
        if len(places) != 1:
            raise CaptureError("Router scores are mapped for one layer at a time: choose one layer.")
        scores = read_scores(capture, rows, places[0])[at].astype(np.float64)
        matrix, says = scores - scores.mean(axis=1, keepdims=True), "the scores that the router gives them"
    else:
        raise CaptureError(f"Tokens are mapped by experts or scores, not by '{by}': choose one of them.")
    return Features(
        kind="tokens",
        by=by,
        matrix=matrix,
        rows=_token_labels(capture, rows, at, choices[0][0] if len(places) == 1 else None),
        seen=len(eligible),
        unused=0,
        seed=seed,
        says=says,
    )


def _first_stack(capture: Capture) -> tuple[Site, ...]:
    places = chosen_sites(capture, None)
    return tuple(site for site in places if site.stack == places[0].stack)


def _gate_weights(
    choices: Sequence[tuple[np.ndarray, np.ndarray | None]], places: tuple[Site, ...], at: np.ndarray
) -> np.ndarray:
    """[N, sum of E]: a block of columns a site."""
    matrix = np.zeros((len(at), sum(site.experts for site in places)))
    start = 0
    for (ids, weights), site in zip(choices, places, strict=True):
        part, weight = ids[at], (weights if weights is not None else np.ones(ids.shape))[at]
        row, rank = np.nonzero(part >= 0)
        np.add.at(matrix, (row, start + part[row, rank]), weight[row, rank])
        start += site.experts
    return matrix


def _token_labels(capture: Capture, rows: Rows, at: np.ndarray, ids: np.ndarray | None) -> pd.DataFrame:
    groups = [capture.manifest.groups[index] if index >= 0 else None for index in rows.group[at]]
    words = read_words(capture, rows)
    columns: dict[str, object] = {
        "stack": rows.stack,
        "document": [rows.names[index] for index in rows.document[at]],
        "position": rows.position[at],
        "token": _words(words[at]),
        "group": _words([group.name if group is not None else None for group in groups]),
        "modality": _words(read_words(capture, rows, "modality")[at]),
        "role": _words(read_words(capture, rows, "role")[at]),
        "phase": _words([capture.phases[index] if index >= 0 else None for index in rows.phase[at]]),
    }
    if ids is not None:
        columns["expert"] = ids[at, 0]
    return pd.DataFrame(columns)


def _words(values: Sequence[str | None] | np.ndarray) -> pd.Series:
    """A column of str or None; pandas would make NaN of a None."""
    return pd.Series(list(values), dtype=object)
