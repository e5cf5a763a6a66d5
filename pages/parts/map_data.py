"""What the Map page computes once: features, PCA, trustworthiness; and the UMAP layouts that jobs have found.

Jobs make no call to a page: they put their layout into a `Layouts` that the page hands them.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from workbench import session
from workbench.analysis.map_features import Features, bound_tokens, expert_features, token_features
from workbench.analysis.projection import MapTable, pca_map, trustworthiness, umap_map
from workbench.analysis.umap_run import run_umap

if TYPE_CHECKING:
    from workbench.jobs import Task

KEPT = 32  # layouts; a layout of 2,000 points is 32 kB


@dataclass(frozen=True)
class Choice:
    """Everything that decides which points are mapped, and how UMAP lays them out.

    Attributes:
        place, stamp: the capture as it lies on disk.
        what: a key of `WHAT`.
        sites: ids, or None for all that it can show.
        group: of tokens, or None for all.
        most: tokens of the sample. seed: of the sample and of UMAP.
        neighbours, min_dist: of UMAP.
    """

    place: str
    stamp: str
    what: str
    sites: tuple[str, ...] | None
    group: str | None
    most: int
    seed: int
    neighbours: int
    min_dist: float


# What is mapped -> how the page says it.
WHAT = {
    "load": "Experts by the groups that choose them",
    "vocabulary": "Experts by their token ids",
    "coactivation": "Experts by what they are chosen with",
    "experts": "Tokens by their chosen experts",
    "scores": "Tokens by their router scores",
}
TOKENS = ("experts", "scores")


@st.cache_data(max_entries=8, show_spinner=False)
def features_of(choice: Choice) -> Features:
    """The points; raises CaptureError with a sentence where the capture cannot give them."""
    place = session.find(choice.place)
    if place is None:
        raise session.gone()
    capture = session.open_capture(place)
    if choice.what in ("experts", "scores"):
        by = "experts" if choice.what == "experts" else "scores"
        return token_features(capture, by, choice.sites, choice.group, most=choice.most, seed=choice.seed)  # type: ignore[arg-type]
    return expert_features(capture, choice.what, choice.sites)  # type: ignore[arg-type]


@st.cache_data(max_entries=8, show_spinner=False)
def pca_of(choice: Choice) -> MapTable:
    """The map by principal components."""
    return pca_map(features_of(choice), _groups(choice))


@st.cache_data(max_entries=32, show_spinner=False)
def trust_of(choice: Choice, method: str, _table: MapTable) -> tuple[float, int]:
    """Trustworthiness of a map, and of how many points it was computed."""
    return trustworthiness(_table)


@st.cache_data(max_entries=16, show_spinner=False)
def words_of(choice: Choice) -> list[str | None]:
    """A text a point: the token itself, or the token most bound to an expert."""
    features = features_of(choice)
    if features.kind == "tokens":
        return list(features.rows["token"])
    place = session.find(choice.place)
    if place is None:
        raise session.gone()
    return bound_tokens(session.open_capture(place), features.rows)


def _groups(choice: Choice) -> tuple:  # type: ignore[type-arg]
    place = session.find(choice.place)
    return () if place is None or place.manifest is None else place.manifest.groups


class Layouts:
    """Layouts by choice, and which job is looking for one; asked by pages and filled by jobs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: OrderedDict[Choice, np.ndarray] = OrderedDict()
        self._jobs: dict[Choice, int] = {}

    def get(self, choice: Choice) -> np.ndarray | None:
        with self._lock:
            return self._found.get(choice)

    def put(self, choice: Choice, xy: np.ndarray) -> None:
        with self._lock:
            self._found[choice] = xy
            while len(self._found) > KEPT:
                self._found.popitem(last=False)

    def job(self, choice: Choice) -> int | None:
        """Number of the job that looks, or looked, for this layout."""
        with self._lock:
            return self._jobs.get(choice)

    def note(self, choice: Choice, job: int) -> None:
        with self._lock:
            self._jobs[choice] = job


@st.cache_resource(max_entries=1, show_spinner=False)
def layouts() -> Layouts:
    """The layouts of this server: another tab with the same choice finds them."""
    return Layouts()


def umap_of(choice: Choice) -> MapTable | None:
    """The map by UMAP, if a job has found it."""
    xy = layouts().get(choice)
    if xy is None:
        return None
    return umap_map(
        features_of(choice),
        _groups(choice),
        xy,
        seed=choice.seed,
        neighbours=choice.neighbours,
        min_dist=choice.min_dist,
    )


def lay_out(features: Features, choice: Choice, into: Layouts, task: Task) -> None:
    """The work of a job: UMAP in a process of its own, which Cancel ends."""
    task.progress(0, None, "Starting UMAP")
    xy = run_umap(
        features.matrix,
        seed=choice.seed,
        neighbours=choice.neighbours,
        min_dist=choice.min_dist,
        progress=task.progress,
        check=task.check,
    )
    into.put(choice, xy)
