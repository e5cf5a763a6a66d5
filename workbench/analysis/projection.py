"""Two dimensions of many: PCA at once, UMAP from a process of its own (`analysis.umap_run`), and how far a map can be trusted.

PCA is the singular value decomposition of the centred matrix; signs are fixed so that the largest loading of each axis is
positive. Trustworthiness is that of Venna and Kaski (2001, ICANN), computed by scikit-learn: 1 where every neighbour on the
map is a neighbour in the data, about .5 for a random map.

Letters: N points, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from workbench.analysis.map_features import MIN_POINTS, Features
from workbench.capture import CaptureError, Group

Method = Literal["pca", "umap"]
NEIGHBOURS = 15  # of UMAP and of trustworthiness; the default of umap-learn
MOST_FOR_TRUST = 2000  # points of which trustworthiness is computed: it takes their square


@dataclass(frozen=True)
class MapTable:
    """A map.

    Attributes:
        method: "pca" or "umap".
        features: what the points are.
        xy: float64 [N, 2].
        explained: float64 [2], share of the variance on each axis (PCA), or None.
        seed, neighbours, min_dist: of UMAP, or None.
        groups: every group of the capture, which fixes the colours.
        caption: one sentence for under the figure.
    """

    method: Method
    features: Features
    xy: np.ndarray
    explained: np.ndarray | None
    seed: int | None
    neighbours: int | None
    min_dist: float | None
    groups: tuple[Group, ...]
    caption: str

    @property
    def axes(self) -> tuple[str, str]:
        """Titles of the axes."""
        if self.explained is None:
            return "UMAP 1 (no unit)", "UMAP 2 (no unit)"
        return tuple(f"PC {index + 1} ({share:.0%} of the variance)" for index, share in enumerate(self.explained))  # type: ignore[return-value]

    def frame(self) -> pd.DataFrame:
        """A row a point: coordinates, then its labels."""
        made = pd.DataFrame({"x": self.xy[:, 0], "y": self.xy[:, 1]})
        how = {"method": self.method, "seed": self.seed, "n_neighbors": self.neighbours, "min_dist": self.min_dist}
        labels = self.features.rows.reset_index(drop=True)
        return pd.concat([made, labels, pd.DataFrame(how, index=made.index)], axis=1)


def pca(matrix: np.ndarray, axes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Principal components.

    Args:
        matrix: float64 [N, F].
        axes: how many.

    Returns:
        Coordinates float64 [N, axes] and the share of the variance on each, float64 [axes].

    Raises:
        CaptureError: for fewer than four points, or points that are all the same.
    """
    centred = np.asarray(matrix, dtype=np.float64) - np.mean(matrix, axis=0, dtype=np.float64)
    number, features = centred.shape
    if number < MIN_POINTS:
        raise CaptureError(
            f"A map needs {MIN_POINTS} points or more, and {number} came: any three points lie in a plane, whatever they are."
        )
    total = float((centred**2).sum())
    if not np.isfinite(total):
        raise CaptureError("A point of the map has a number that is not finite: record the capture again.")
    if total <= 1e-12 * max(1.0, float((matrix**2).sum())):
        raise CaptureError(f"All {number:,} points are the same, so there is nothing to lay out: choose another layer.")
    # The smaller of the two squares: thousands of tokens by dozens of experts, or dozens of experts by thousands of ids.
    if features <= number:
        values, vectors = np.linalg.eigh(centred.T @ centred)
        loadings = vectors[:, ::-1][:, :axes]
        xy = centred @ loadings
    else:
        values, vectors = np.linalg.eigh(centred @ centred.T)
        scale = np.sqrt(np.maximum(values[::-1][:axes], 0.0))
        xy = vectors[:, ::-1][:, :axes] * scale
        loadings = centred.T @ vectors[:, ::-1][:, :axes]
    signs = np.sign(loadings[np.abs(loadings).argmax(axis=0), np.arange(loadings.shape[1])])
    xy = xy * np.where(signs == 0, 1.0, signs)
    share = np.maximum(values[::-1][:axes], 0.0) / total
    if xy.shape[1] < axes:  # one feature alone
        xy = np.pad(xy, ((0, 0), (0, axes - xy.shape[1])))
        share = np.pad(share, (0, axes - len(share)))
    return xy, share


def pca_map(features: Features, groups: Sequence[Group]) -> MapTable:
    """The map by principal components; raises CaptureError as `pca`."""
    xy, explained = pca(features.matrix)
    return MapTable(
        method="pca",
        features=features,
        xy=xy,
        explained=explained,
        seed=None,
        neighbours=None,
        min_dist=None,
        groups=tuple(groups),
        caption=(
            f"{_points(features)} by the two directions of most variance ({explained.sum():.0%} of it) of {features.says}; points that differ "
            "only in the other directions fall together, and closeness does not prove a like function."
        ),
    )


def umap_map(
    features: Features, groups: Sequence[Group], xy: np.ndarray, *, seed: int, neighbours: int, min_dist: float
) -> MapTable:
    """The map by UMAP, from the coordinates that `analysis.umap_run` found."""
    return MapTable(
        method="umap",
        features=features,
        xy=np.asarray(xy, dtype=np.float64),
        explained=None,
        seed=seed,
        neighbours=neighbours,
        min_dist=min_dist,
        groups=tuple(groups),
        caption=(
            f"{_points(features)} by UMAP ({neighbours} neighbours, seed {seed}) of {features.says}; it keeps neighbours together, and proves "
            "nothing by the size of a cluster, the gap between two or the way round: another seed lays them out elsewhere."
        ),
    )


def trustworthiness(table: MapTable, seed: int = 0) -> tuple[float, int]:
    """How many of the neighbours on the map are neighbours in the data (0 to 1), and of how many points it was computed.

    Venna and Kaski (2001), with k = 15 neighbours or fewer on small maps; on large maps of a sample of 2,000 points.
    """
    from sklearn.manifold import trustworthiness as trust

    matrix, xy = table.features.matrix, table.xy
    if len(xy) > MOST_FOR_TRUST:
        at = np.random.default_rng(seed).choice(len(xy), MOST_FOR_TRUST, replace=False)
        matrix, xy = matrix[at], xy[at]
    neighbours = max(1, min(NEIGHBOURS, (len(xy) - 1) // 2))
    return float(trust(matrix, xy, n_neighbors=neighbours)), len(xy)


def _points(features: Features) -> str:
    """ "2,000 of 46,743 tokens (sampled with seed 0)", "The 188 experts that were chosen (4 never were)"."""
    n = len(features.rows)
    if features.kind == "experts":
        unused = f" ({features.unused:,} were never chosen and are not on the map)" if features.unused else ""
        return f"{n:,} experts{unused}"
    if n < features.seen:
        return f"{n:,} of {features.seen:,} tokens (a random sample, seed {features.seed})"
    return f"{n:,} tokens"
