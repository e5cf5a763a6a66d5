"""What is chosen on Compare: two or more captures, a measure, group, layers; in the widgets and in the address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import streamlit as st

from pages.parts import selection
from pages.parts.selection import ALL_PHASES, MAX_SITES, Field
from workbench import session
from workbench.analysis.align import Alignment
from workbench.analysis.compare import BY_EXPERT, COMPARED
from workbench.analysis.words import site_title
from workbench.capture.schema import PHASES

PREFIX = "compare."
SATURATION = "saturation"
AUTO, SAME, APART = "auto", "same", "apart"
MOST = 6  # captures beside the first
MEASURE_WORDS = {
    "load": "Load, expert by expert",
    "sorted load": "Load, busiest expert first",
    "IoU": "Overlap of groups (IoU)",
    "Jensen-Shannon": "Divergence of groups (Jensen-Shannon)",
    SATURATION: "Saturation: same experts for the same token",
}
EXPERT_WORDS = {
    AUTO: "As the captures say",
    SAME: "Mean the same: one model, its checkpoints or parts",
    APART: "Mean nothing: other models, or untrained weights",
}
PHASE_WORDS = {
    ALL_PHASES: "Reading and writing",
    "prefill": "Reading only (prefill)",
    "decode": "Writing only (decode)",
}
key = partial(selection.key, prefix=PREFIX)


def fields(places: Sequence[session.Place], opened: session.Place | None) -> dict[str, Field]:
    """Every choice; groups and layers stand as numbers and ids, and are held against what the captures have in common later."""
    ids = tuple(place.id for place in places)
    first = opened.id if opened is not None and opened.id in ids else ids[0]
    second = next(other for other in ids if other != first)

    def place(text: str) -> str:
        if text not in ids:
            raise ValueError(text)
        return text

    def number(text: str) -> int:
        if not 0 <= int(text) < 10_000:
            raise ValueError(text)
        return int(text)

    slugs = {name.replace(" ", "-").lower(): name for name in (*COMPARED, SATURATION)}

    def measure(text: str) -> str:
        if text not in slugs:
            raise ValueError(text)
        return slugs[text]

    def word(*allowed: str) -> Field:
        def read(text: str) -> str:
            if text not in allowed:
                raise ValueError(text)
            return text

        return Field(allowed[0], read)

    def more(text: str) -> list[str]:
        return [place(part) for part in text.split(",") if part][:MOST]

    return {
        "a": Field(first, place),
        "b": Field(second, place),
        "more": Field([], more, ",".join),
        "measure": Field("load", measure, lambda name: name.replace(" ", "-").lower()),
        "experts": word(AUTO, SAME, APART),
        "common": Field(False, lambda text: text == "yes", lambda on: "yes" if on else "no"),
        "phase": word(ALL_PHASES, *PHASES),
        "group": Field(0, number),
        "other": Field(0, number),
        "sites": Field([], lambda text: [part for part in text.split(",") if part][:MAX_SITES], ",".join),
    }


def settle(known: Mapping[str, Field]) -> None:
    """Bring address, widgets and memory together before a widget is drawn."""
    selection.settle("", known, st.session_state, st.query_params.to_dict(), PREFIX)


def write_address(known: Mapping[str, Field]) -> None:
    """Put the choices into the address."""
    chosen = {name: st.session_state.get(key(name), field.default) for name, field in known.items()}
    wanted = selection.to_address("", chosen, known)
    wanted.pop("capture")
    # The defaults depend on the capture that is open in this tab: a link must name both.
    wanted |= {"a": chosen["a"], "b": chosen["b"]}
    if st.query_params.to_dict() != wanted:
        st.query_params.from_dict(wanted)
    selection.remember("", chosen, wanted, st.session_state, PREFIX)


def show_captures(places: Sequence[session.Place]) -> None:
    """The captures to compare, and whether expert numbers mean the same."""
    names = dict(zip((place.id for place in places), names_of(places), strict=True))
    st.markdown("##### Compare")
    st.selectbox(
        "Against",
        list(names),
        key=key("a"),
        format_func=names.__getitem__,
        help="The capture that the other is compared with: before, or the reference.",
    )
    st.selectbox("Capture", list(names), key=key("b"), format_func=names.__getitem__)
    rest = [one for one in names if one not in (st.session_state[key("a")], st.session_state[key("b")])]
    st.session_state[key("more")] = [one for one in st.session_state[key("more")] if one in rest]
    st.multiselect(
        "And", rest, key=key("more"), format_func=names.__getitem__, max_selections=MOST, disabled=not rest,
        placeholder="more captures", help="Further captures, each against the first." if rest else "No other capture is at hand.",
    )  # fmt: skip
    st.selectbox(
        "Expert numbers", list(EXPERT_WORDS), key=key("experts"), format_func=EXPERT_WORDS.__getitem__,
        help="Expert 7 of one model is not expert 7 of another, unless both come from the same weights.",
    )  # fmt: skip
    st.toggle(
        "Common layers only", key=key("common"),
        help="Compare the layers that all captures have, where some have more (a sub-model with fewer layers); else they are refused.",
    )  # fmt: skip


def show_measure(lined: Alignment) -> None:
    """What is compared, at which layers, of which group."""
    state = st.session_state
    allowed = [
        name for name in (*COMPARED, SATURATION) if lined.lineage == SAME or name not in (*BY_EXPERT, SATURATION)
    ]
    if state[key("measure")] not in allowed:
        state[key("measure")] = allowed[0]
    st.selectbox(
        "Measure", allowed, key=key("measure"), format_func=lambda name: MEASURE_WORDS.get(name, name[:1].upper() + name[1:]),
        help=None if lined.lineage == SAME else "Measures of single experts are left out, because expert numbers do not mean the same.",
    )  # fmt: skip
    by_group = "load" in state[key("measure")]
    state[key("group")] = min(state[key("group")], len(lined.groups) - 1)
    st.selectbox(
        "Group of tokens", range(len(lined.groups)), key=key("group"), format_func=lambda at: lined.groups[at], disabled=not by_group,
        help=None if by_group else "This measure shows every group at once.",
    )  # fmt: skip
    state[key("sites")] = [site for site in state[key("sites")] if site in lined.sites]
    first = lined.captures[0]
    st.multiselect(
        "Layers", lined.sites, key=key("sites"), format_func=lambda site: site_title(first.site(site)).capitalize(),
        placeholder="All layers in common", max_selections=MAX_SITES,
    )  # fmt: skip
    phases = [phase for phase in first.phases if all(phase in capture.phases for capture in lined.captures)]
    options = [ALL_PHASES, *phases]
    if state[key("phase")] not in options:
        state[key("phase")] = ALL_PHASES
    whole = state[key("measure")] == SATURATION
    st.selectbox(
        "Phase", options, key=key("phase"), format_func=lambda phase: PHASE_WORDS.get(phase, phase), disabled=whole,
        help="Saturation compares every token that both captures kept." if whole else "Reading is the prompt, writing what the model generates.",
    )  # fmt: skip


def names_of(places: Sequence[session.Place]) -> list[str]:
    """What to call captures: their names, with where they come from where two are called alike."""
    names = [place.name for place in places]
    return [f"{place.name} ({place.id[-6:]})" if names.count(place.name) > 1 else place.name for place in places]
