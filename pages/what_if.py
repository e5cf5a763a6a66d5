"""What if: what happens without these experts? The check of every claim that experts belong to a group.

The first view is a check that is shipped, or the last one of this tab; a new one runs as a job. A stored check draws without
torch.
"""

from __future__ import annotations

from functools import partial

import pandas as pd
import streamlit as st

from pages.parts.frame import framed
from pages.parts.what_if_form import FAVOURITES, show_change_form, show_check_form
from pages.parts.what_if_jobs import Change
from pages.parts.words import count, plain
from workbench import export, session
from workbench.analysis.causal import CausalTable, verdict
from workbench.capture.errors import WorkbenchError
from workbench.causal import stored as stored_checks
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
    asked = st.query_params.get("view")
    if "what-if.view" not in st.session_state and asked in VIEWS:
        st.session_state["what-if.view"] = asked
    view = (
        st.segmented_control(
            "View", list(VIEWS), key="what-if.view", format_func=VIEWS.__getitem__, label_visibility="collapsed"
        )
        or "check"
    )
    if view != (asked or "check"):
        st.query_params.from_dict({"view": view} if view != "check" else {})
    if view == "check":
        _check()
    else:
        _own()


def _check() -> None:
    found = _last("check")
    stored, origin = (
        (found, "this tab's last check") if isinstance(found, StoredCheck) else (_shipped(), "the shipped check")
    )
    if stored is None:
        st.info("No check is at hand: choose a model and texts of several groups below, and press Check.")
        show_check_form()
        return
    table = stored.table()
    st.markdown(plain(verdict(table), limit=1_500))
    st.caption(_identity(stored, table, origin))
    st.plotly_chart(interactive_causal.causal(table), key="what-if.check.chart", config={"displaylogo": False})
    st.caption(plain(causal_caption(table), limit=1_000))
    _downloads(stored, table, "check")
    with st.expander("Which experts were muted", icon=":material/volume_off:"):
        st.caption(
            "Chosen on one half of the texts, muted while the loss of the other half is measured, and the other way round."
        )
        st.dataframe(_experts(stored), hide_index=True, key="what-if.check.experts")
    with st.expander("New check", icon=":material/science:", expanded=False):
        show_check_form()


def _own() -> None:
    found = _last("own")
    if isinstance(found, Change):
        table = found.stored.table()
        st.markdown(plain(found.sentence, limit=1_500))
        st.caption(_identity(found.stored, table, "this tab's last change"))
        st.plotly_chart(interactive_causal.causal(table), key="what-if.own.chart", config={"displaylogo": False})
        st.caption(plain(causal_caption(table), limit=1_000))
        if found.written:
            st.markdown("##### Written with and without")
            st.html(
                side_by_side(
                    [(one.prompt, one.full, one.changed) for one in found.written], ("full model", "with the change")
                )
            )
            st.caption(
                "Marked: words that only one side has there; one text is one draw and proves nothing, the losses above are over many tokens."
            )
        _downloads(found.stored, table, "own")
    else:
        st.info(
            "Mute or force experts, or limit how many a token gets, and see what it costs each group and what the model then writes."
        )
    show_change_form()


def _last(form: str) -> StoredCheck | Change | None:
    """Result of this tab's last job of a form, kept when the list of jobs is cleared."""
    job = session.jobs().get(st.session_state.get(f"what-if.job.{form}", 0))
    snapshot = job.snapshot() if job is not None else None
    if snapshot is not None and snapshot.state == "done":
        st.session_state[f"what-if.result.{form}"] = snapshot.result
    found: StoredCheck | Change | None = st.session_state.get(f"what-if.result.{form}")
    return found


def _shipped() -> StoredCheck | None:
    try:
        return read_check(stored_checks.SHIPPED) if stored_checks.SHIPPED.is_file() else None
    except WorkbenchError as fault:
        st.warning(plain(str(fault), limit=400))
        return None


def _identity(stored: StoredCheck, table: CausalTable, origin: str) -> str:
    said = stored.settings
    muted = f"{said['share']:.0%} of the experts, {FAVOURITES[said['by']]}" if (table.own >= 0).any() else "as named"
    texts = f"{said['used']} of {count(said['known'], 'text')}"
    return f"{plain(said['model'])} on {plain(said['device'])} · {origin} · {texts}, n = {count(int(table.tokens.sum()), 'token')} · muted: {muted} · seed {said['seed']}"


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
