"""The controls of the Map page, in the sidebar, and what they add up to."""

from __future__ import annotations

from typing import Any

import streamlit as st

from pages.parts.map_data import TOKENS, WHAT, Choice, words_of
from pages.parts.selection import Field, key
from workbench import session
from workbench.analysis.map_features import MOST_TOKENS
from workbench.analysis.projection import NEIGHBOURS
from workbench.analysis.select import all_sites, groups_with_tokens
from workbench.analysis.umap_run import MIN_DIST
from workbench.analysis.words import site_title
from workbench.capture import Capture, CaptureError
from workbench.figures.map_style import COLOURS_BY

PREFIX = "map."
METHODS = {"pca": "PCA", "umap": "UMAP"}
ALL = "all"
SIZES = (500, 1000, MOST_TOKENS)
NEIGHBOUR_STEPS = (5, 10, NEIGHBOURS, 30, 50)
MOST_SEED = 2**31 - 1


def fields(capture: Capture) -> dict[str, Field]:
    """Every choice of this page, by the name that stands in the address."""
    sites = all_sites(capture)
    groups = tuple(capture.group_index(name) for name in groups_with_tokens(capture))

    def among(values: tuple[Any, ...], kind: Any = str) -> Any:
        def read(text: str) -> Any:
            value = kind(text)
            if value not in values:
                raise ValueError(text)
            return value

        return read

    def seed(text: str) -> int:
        value = int(text)
        if not 0 <= value <= MOST_SEED:
            raise ValueError(text)
        return value

    first = "load" if len(groups) > 1 or not capture.has("coactivation") else "coactivation"
    return {
        "what": Field(first, among(tuple(WHAT))),
        "method": Field("pca", among(tuple(METHODS))),
        "site": Field(ALL, among((ALL, *sites))),
        "colour": Field("group", among(COLOURS_BY)),
        "of": Field(-1, among((-1, *groups), int)),
        "sample": Field(MOST_TOKENS, among(SIZES, int)),
        "seed": Field(0, seed),
        "neighbours": Field(NEIGHBOURS, among(NEIGHBOUR_STEPS, int)),
    }


def show_controls(capture: Capture) -> None:
    """Draw them; one that does nothing for what is mapped is disabled and says why."""
    what = st.selectbox("What is mapped", tuple(WHAT), key=key("what", PREFIX), format_func=WHAT.__getitem__)
    st.segmented_control(
        "Laid out by", tuple(METHODS), key=key("method", PREFIX), format_func=METHODS.__getitem__, required=True,
        help="PCA turns the data and is there at once. UMAP keeps neighbours together and takes a minute, in the background.",
    )  # fmt: skip
    one = what in ("coactivation", "scores")
    sites = all_sites(capture)
    if one and st.session_state[key("site", PREFIX)] == ALL:
        st.session_state[key("site", PREFIX)] = sites[len(sites) // 2]
    st.selectbox(
        "Layer",
        sites if one else (ALL, *sites),
        key=key("site", PREFIX),
        format_func=lambda site: (
            _all_words(capture, str(what)) if site == ALL else site_title(capture.site(site)).capitalize()
        ),
        help="One layer at a time: expert numbers mean nothing across layers."
        if one
        else "Experts of different layers are different points.",
    )
    tokens = what in TOKENS
    colours = [by for by in COLOURS_BY if by != "layer"] if tokens else list(COLOURS_BY)
    if st.session_state[key("colour", PREFIX)] not in colours:
        st.session_state[key("colour", PREFIX)] = "group"
    st.selectbox(
        "Colour by",
        colours,
        key=key("colour", PREFIX),
        format_func=str.capitalize,
        help="A token passes every layer, so only experts are coloured by layer."
        if tokens
        else "Group, modality and role of an expert are those of the group that chooses it most; its token is the one most bound to it.",
    )
    groups = [capture.group_index(name) for name in groups_with_tokens(capture)]
    st.selectbox(
        "Tokens of",
        (-1, *groups),
        key=key("of", PREFIX),
        format_func=lambda index: "All groups" if index < 0 else capture.groups[index],
        disabled=not tokens,
        help=None if tokens else "Experts are mapped by all tokens; choose a map of tokens to take one group alone.",
    )
    st.selectbox(
        "Tokens on the map",
        SIZES,
        key=key("sample", PREFIX),
        format_func=lambda size: f"at most {size:,}",
        disabled=not tokens,
        help="A random sample that the seed fixes." if tokens else "All experts that were chosen are on the map.",
    )
    umap = st.session_state[key("method", PREFIX)] == "umap"
    st.number_input(
        "Seed", 0, MOST_SEED, key=key("seed", PREFIX), disabled=not (tokens or umap),
        help="Of the sample of tokens and of UMAP's layout." if tokens or umap else "Nothing is drawn at random in PCA of experts.",
    )  # fmt: skip
    st.selectbox(
        "Neighbours of UMAP", NEIGHBOUR_STEPS, key=key("neighbours", PREFIX), disabled=not umap,
        help="Few show small clusters, many the large shape." if umap else "PCA knows no neighbours: lay out by UMAP.",
    )  # fmt: skip


def choice_of(place: session.Place, capture: Capture, chosen: dict[str, Any]) -> Choice:
    """What the controls add up to; what does not matter for it is left at its default, so that it makes no other map."""
    tokens, what = chosen["what"] in TOKENS, chosen["what"]
    umap = chosen["method"] == "umap"
    sites = None if chosen["site"] == ALL else (chosen["site"],)
    if sites is None and what == "vocabulary":
        stack = capture.sites[0].stack
        sites = tuple(site.id for site in capture.sites if site.stack == stack)
    return Choice(
        place=place.id,
        stamp=place.stamp,
        what=what,
        sites=sites,
        group=capture.groups[chosen["of"]] if tokens and chosen["of"] >= 0 else None,
        most=chosen["sample"] if tokens else 0,
        seed=int(chosen["seed"]) if tokens or umap else 0,
        neighbours=chosen["neighbours"] if umap else 0,
        min_dist=MIN_DIST if umap else 0.0,
    )


def words_by(choice: Choice, colour: str) -> list[str | None] | None:
    """The texts of the points where the colour needs them; None else, since they cost a reading of the rows."""
    if colour != "token":
        return None
    try:
        return words_of(choice)
    except CaptureError as fault:
        raise CaptureError(f"The points cannot be coloured by token: {fault}") from fault


def _all_words(capture: Capture, what: str) -> str:
    if what == "experts":
        return "All layers, side by side"
    return f"All {len(capture.sites)} layers"
