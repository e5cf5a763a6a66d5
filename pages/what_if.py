"""What if: what happens without these experts? The check of every claim that experts belong to a group.

The first view is a check that is shipped, or the one that the address names; a new one runs as a job, and its result has an
address until the workbench is closed. A stored check draws without torch.
"""

from __future__ import annotations

from functools import partial

import pandas as pd
import streamlit as st

from pages.parts.faults import in_words
from pages.parts.frame import follow, framed
from pages.parts.kept import kept
from pages.parts.what_if_form import FAVOURITES, show_change_form, show_check_form
from pages.parts.what_if_jobs import Change
from pages.parts.words import count, plain
from workbench import export, session
from workbench.analysis.causal import CausalTable, verdict
from workbench.capture.errors import WorkbenchError
from workbench.causal import stored as stored_checks
from workbench.causal.interventions import experts_in_words
from workbench.causal.stored import StoredCheck, read_check
from workbench.figures import interactive_causal
from workbench.figures.causal_style import causal_caption
from workbench.figures.text_diff import side_by_side

VIEWS = {"check": "Check the groups", "own": "A change of my own"}
MIME = {
    "png": "image/png",
    "pdf": "application/pdf",
    "svg": "image/svg+xml",
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
}


def main() -> None:
    """Draw the page."""
    st.title("What happens without these experts?")
    _settle()
    view = (
        st.segmented_control(
            "View", list(VIEWS), key="what-if.view", format_func=VIEWS.__getitem__, label_visibility="collapsed"
        )
        or "check"
    )
    if view == "check":
        _check()
    else:
        _own()
    _write_address(view)


# ------------------------------------------------------------------ address
def _settle() -> None:
    """Take over what the address says where it is not what this page wrote there last."""
    state, address = st.session_state, st.query_params.to_dict()
    if address == state.get("what-if.address"):
        return
    view = address.get("view", "check")
    if "what-if.view" not in state or address:
        state["what-if.view"] = view if view in VIEWS else "check"
    if "run" in address:
        state[f"what-if.run.{state['what-if.view']}"] = address["run"]


def _write_address(view: str) -> None:
    run = st.session_state.get(f"what-if.run.{view}")
    wanted = ({"view": view} if view != "check" else {}) | ({"run": run} if run else {})
    if st.query_params.to_dict() != wanted:
        st.query_params.from_dict(wanted)
    st.session_state["what-if.address"] = wanted


def _found(form: str) -> StoredCheck | Change | None:
    """Result of the run that the address names; says how it is going where there is none."""
    name = st.session_state.get(f"what-if.run.{form}")
    if not name:
        return None
    entry = kept().get(name)
    if entry is None:
        st.session_state[f"what-if.run.{form}"] = None
        st.warning(
            "The link names a result that is no longer kept: results last until the workbench is closed. Start it again below."
        )
        return None
    if entry.result is not None:
        found: StoredCheck | Change = entry.result
        return found
    job = session.jobs().get(entry.job)
    snapshot = job.snapshot() if job is not None else None
    if snapshot is not None and not snapshot.finished:
        follow(snapshot.id)  # also in a tab that did not start it
        st.info(
            "It is being measured: how far it is, and Cancel, stand under Jobs on the left.",
            icon=":material/hourglass_top:",
        )
    elif snapshot is not None and snapshot.error:
        st.error(in_words(snapshot.error, 600))
    else:
        st.info("It was stopped, and nothing was kept: start it again below.")
    return None


# ------------------------------------------------------------------ the two views
def _check() -> None:
    # The result comes and grows in a container: the form below keeps its place, and with it what is being typed.
    with st.container():
        _check_result()
    with st.expander("New check", icon=":material/science:", expanded=False):
        show_check_form()


def _check_result() -> None:
    found = _found("check")
    stored, origin = (
        (found, "a check of yours") if isinstance(found, StoredCheck) else (_shipped(), "the shipped check")
    )
    if stored is None:
        st.info("No check is at hand: choose a model and texts of several groups below, and press Check.")
        return
    table = stored.table()
    st.markdown(plain(verdict(table), limit=1_500))
    _figure(stored, table, "check", origin)
    with st.expander("Which experts were muted", icon=":material/volume_off:"):
        st.caption(
            "Chosen on one half of the texts, muted while the loss of the other half is measured, and the other way round."
        )
        st.dataframe(_experts(stored), hide_index=True, key="what-if.check.experts")


def _own() -> None:
    with st.container():  # as in _check
        _own_result()
    show_change_form()


def _own_result() -> None:
    found = _found("own")
    if isinstance(found, Change):
        table = found.stored.table()
        st.markdown(plain(found.sentence, limit=1_500))
        _figure(found.stored, table, "own", "a change of yours")
        if found.written:
            st.subheader("Written with and without")
            st.html(
                side_by_side(
                    [(one.prompt, one.full, one.changed) for one in found.written], ("full model", "with the change")
                )
            )
            st.caption(
                "Marked: words that only one side has there. One text is one draw and proves nothing; the losses above are over many tokens."
            )
        st.subheader("Another change")
    elif not st.session_state.get("what-if.run.own"):
        st.info(
            "Mute or force experts, or limit how many a token gets, and see what it costs each group and what the model then writes."
        )


def _figure(stored: StoredCheck, table: CausalTable, form: str, origin: str) -> None:
    st.caption(_identity(stored, table, origin))
    st.plotly_chart(interactive_causal.causal(table), key=f"what-if.{form}.chart", config={"displaylogo": False})
    st.caption(plain(causal_caption(table), limit=1_000))
    _downloads(stored, table, form)


def _shipped() -> StoredCheck | None:
    try:
        return read_check(stored_checks.SHIPPED) if stored_checks.SHIPPED.is_file() else None
    except WorkbenchError as fault:
        st.warning(in_words(fault, 400))
        return None


def _identity(stored: StoredCheck, table: CausalTable, origin: str) -> str:
    said = stored.settings
    texts = f"{said['used']} of {count(said['known'], 'text')}, n = {count(int(table.tokens.sum()), 'token')}"
    return f"{plain(said['model'])} on {plain(said['device'])} · {origin} · {texts} · {_changed(stored)} · seed {said['seed']}"


def _changed(stored: StoredCheck) -> str:
    """What was changed, in words."""
    if "top_k" not in stored.experts:
        return f"muted: {stored.settings['share']:.0%} of the experts, {FAVOURITES[stored.settings['by']]}"
    words = [
        f"{word}: {plain(experts_in_words(stored.experts[what]), limit=300)}"
        for what, word in (("mute", "muted"), ("force", "forced"))
        if any(stored.experts[what].values())
    ]
    if stored.experts["top_k"] is not None:
        words.append(f"{count(stored.experts['top_k'], 'expert')} a token")
    return " · ".join(words)


def _experts(stored: StoredCheck) -> pd.DataFrame:
    rows = [
        {"favourites of": group, "muted for texts of half": half + 1, "site": site, "experts": ", ".join(map(str, ids))}
        for group, halves in stored.experts.items()
        for half, sites in enumerate(halves)
        for site, ids in sites.items()
    ]
    return pd.DataFrame(rows)


def _downloads(stored: StoredCheck, table: CausalTable, form: str) -> None:
    row = st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"what-if.{form}.downloads")
    row.caption(":material/download: Figure and numbers", width="content")
    name = f"what-if-{form}"
    for kind, mime in MIME.items():
        row.download_button(
            "Parquet" if kind == "parquet" else kind.upper(), data=partial(_bytes, table, kind), file_name=f"{name}.{kind}", mime=mime,
            key=f"what-if.{form}.download.{kind}", type="tertiary", on_click="ignore",
        )  # fmt: skip
    row.download_button(
        "JSON", data=stored.to_bytes, file_name=f"{name}.json", mime="application/json", key=f"what-if.{form}.download.json", type="tertiary",
        on_click="ignore", help="Losses by document, to make the table again.",
    )  # fmt: skip


def _bytes(table: CausalTable, kind: str) -> bytes:
    from workbench.figures import paper_causal

    if kind in export.FIGURE_FORMATS:
        return export.figure_bytes(paper_causal.causal(table), kind)
    return export.frame_bytes(table.frame(), kind)


framed(main)
