"""Training: how is the run going?

One sentence answers, then the curves. A run that is being written is followed: a fragment looks again every two seconds, reads
only what was appended, and has the page drawn anew if there was something.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import streamlit as st

from pages.parts import training_views as views
from pages.parts.faults import in_words
from pages.parts.frame import framed
from pages.parts.runs import Signature, capture_at, open_run, signature, silent_for, stamp
from pages.parts.selection import Field, key, remember, settle, to_address
from pages.parts.words import count, plain, seconds, shape
from workbench.capture import WorkbenchError
from workbench.training import Run
from workbench.training import places as runs
from workbench.training.places import RunPlace

PREFIX = "training."
SUBJECT = "runs"
EVERY = 2.0  # seconds between two looks at a run that is being written


def main() -> None:
    """Draw the page."""
    st.title("How is the run going?")
    at_hand = runs.run_places()
    if not at_hand:
        st.info(
            "No training run is at hand yet. Log one from your own loop as below: it shows up here with its first line. Or open a folder of runs."
        )
        _recipe()
        _opening()
        return
    linked = st.query_params.get("run")
    if linked and all(place.id != linked for place in at_hand):
        st.warning("The link names a run that is not on this machine; another one is shown.")
    place, other = _choose(at_hand, linked)
    chosen_runs = [place] if other is None else [place, other]
    before = [signature(one) for one in chosen_runs]  # before reading: what comes meanwhile is drawn next time
    try:
        first = open_run(place)
        others = [(other, open_run(other))] if other is not None else []
    except WorkbenchError as fault:
        st.error(in_words(fault, 500))
        _opening()
        return
    known = _fields(first, others)
    # One subject for all runs: the open tab and its measure stay when another run is chosen.
    chosen = settle(SUBJECT, known, st.session_state, st.query_params.to_dict(), PREFIX, "run")
    shown = [(place, first), *others]
    # What comes and grows stands in a container: below it all keeps its place, and with it what is being typed.
    with st.container():
        _body(shown)
        if any(run.info.state == "running" for _, run in shown):
            st.fragment(_watch, run_every=EVERY)(chosen_runs, before)
    with st.expander("Log a run of your own", icon=":material/edit_note:"):
        _recipe()
    with st.expander("Open a folder of runs", icon=":material/folder_open:"):
        _opening()
    chosen = {name: st.session_state[key(name, PREFIX)] for name in known}
    _write_address(place, other, chosen, known)


def _choose(at_hand: list[RunPlace], linked: str | None) -> tuple[RunPlace, RunPlace | None]:
    """The run and the one beside it, chosen in the sidebar."""
    ids = [place.id for place in at_hand]
    names = {place.id: _label(place) for place in at_hand}
    memory = st.session_state.get("training.choice", {})
    if key("id", PREFIX) not in st.session_state or st.session_state[key("id", PREFIX)] not in ids:
        st.session_state[key("id", PREFIX)] = next((one for one in (linked, memory.get("run")) if one in ids), ids[0])
        beside = st.query_params.get("beside") or memory.get("beside")
        st.session_state[key("beside", PREFIX)] = beside if beside in ids else None
    with st.sidebar:
        run = st.selectbox("Run", ids, key=key("id", PREFIX), format_func=names.__getitem__)
        rest = [one for one in ids if one != run]
        if st.session_state.get(key("beside", PREFIX)) not in rest:
            st.session_state[key("beside", PREFIX)] = None
        beside = st.selectbox(
            "Compare with",
            rest,
            key=key("beside", PREFIX),
            format_func=names.__getitem__,
            placeholder="no other run",
            disabled=not rest,
            help="The other run is drawn dotted."
            if rest
            else "There is only one run at hand: log or open another one.",
        )
    st.session_state["training.choice"] = {"run": run, "beside": beside}
    by_id = {place.id: place for place in at_hand}
    return by_id[run], by_id[beside] if beside else None


def _label(place: RunPlace) -> str:
    if place.info is None:
        return f"{place.name} (cannot be read)"
    word = "sample" if place.origin == "sample" else "" if place.info.state == "finished" else place.info.state
    return f"{place.name} ({word})" if word else place.name


def _fields(run: Run, others: list[tuple[RunPlace, Run]]) -> dict[str, Field]:
    """The choices of this page, by the name that stands in the address."""
    return {
        "view": Field(views.NAMES["overview"], views.NAMES.__getitem__, views.slug_of),
        "measure": Field(views.MEASURES[0], views.measure_of, views.measure_slug),
        "lines": Field("layers", views.among(("layers", "groups"))),
        "group": Field(-1, views.number),
    }


def _watch(shown: list[RunPlace], drawn: list[Signature]) -> None:
    """Look again, and draw the page anew only if something was written: figures are dear to a browser."""
    if [signature(place) for place in shown] != drawn:
        st.rerun()


def _body(shown: list[tuple[RunPlace, Run]]) -> None:
    """What the runs are, the answer, and the open tab."""
    for one, run in shown:
        _identity(one, run, many=len(shown) > 1)
    named = [(name, run) for name, (_, run) in zip(_names(shown), shown, strict=True)]
    for name, run in named:
        try:
            st.markdown((f"{plain(name)}: " if len(named) > 1 else "") + views.answer(run))
        except WorkbenchError as fault:
            st.info(in_words(fault, 500))
    tabs = st.tabs(list(views.NAMES.values()), key=key("view", PREFIX), on_change="rerun")
    slug = views.slug_of(st.session_state[key("view", PREFIX)])
    with tabs[list(views.NAMES).index(slug)]:
        try:
            views.show(slug, named)
        except WorkbenchError as fault:
            st.info(in_words(fault, 500))


def _names(shown: list[tuple[RunPlace, Run]]) -> list[str]:
    """Names of the runs for a legend, told apart where they are the same."""
    names = [place.name for place, _ in shown]
    return names if len(set(names)) == len(names) else [f"{name} ({number + 1})" for number, name in enumerate(names)]


def _identity(place: RunPlace, run: Run, many: bool) -> None:
    """The line that names what is shown."""
    info = run.info
    steps = f"step {run.step:,}" + (f" of {info.total_steps:,}" if info.total_steps else "")
    sites = ""
    if run.captures:
        path = run.captures[-1][1]
        # A damaged capture is said where its numbers would stand.
        with suppress(WorkbenchError):
            sites = f" · {shape(capture_at(str(path), stamp(path)).sites)}"
    mark = {"running": ":material/sync: running", "finished": ":material/check_circle: finished",
            "stopped": ":material/block: stopped"}[info.state]  # fmt: skip
    st.caption(
        f"{plain(place.name)} · {plain(info.model.id)}{sites} · {steps} · {count(len(run.captures), 'capture')} · {mark}"
    )
    if info.state == "stopped" and info.reason:
        st.warning(plain(info.reason, limit=400))
    quiet = silent_for(run)
    if quiet is not None:
        st.warning(
            f"Nothing was written{' to ' + plain(place.name) if many else ''} for {seconds(quiet)}: the training program may have ended "
            "without saying so. The curves stay as they are."
        )
    if run.skipped:
        st.warning(f"{count(run.skipped, 'line')} of the metrics could not be read and were left out.")


def _recipe() -> None:
    """How to write a log."""
    st.markdown(f"Runs are found below `{plain(str(runs.runs_root()))}`, or where you open them.")
    loop, trainer = st.columns(2)
    loop.markdown("**In a loop of your own**")
    loop.code(
        'from workbench.training import RoutingLog\n\nwith RoutingLog("my-run", model, evaluation=batch, every=100) as log:\n'
        '    for inputs in batches:\n        ...\n        log.step({"loss/text": text_loss}, loss=loss)',
        language="python",
    )
    trainer.markdown("**With the Trainer of transformers**")
    trainer.code(
        "from workbench.training import RoutingCallback\n\nTrainer(..., callbacks=[\n"
        '    RoutingCallback("my-run", evaluation=batch, every=100),\n])',
        language="python",
    )


def _opening() -> None:
    path = st.text_input(
        "Path of a run, or of a folder of runs",
        key="training.path",
        help="It stays where it is; only its path is remembered.",
    )
    if st.button(
        "Open", key="training.open", disabled=not path.strip(), help=None if path.strip() else "Type a path first."
    ):
        try:
            found = runs.remember(Path(path.strip()))
        except WorkbenchError as fault:
            st.error(in_words(fault, 400))
            return
        st.session_state.pop(key("id", PREFIX), None)
        st.session_state["training.choice"] = {"run": found[0] if found else None}
        st.query_params.clear()
        st.rerun()


def _write_address(place: RunPlace, other: RunPlace | None, chosen: dict[str, Any], known: dict[str, Field]) -> None:
    wanted = to_address(place.id, chosen, known, "run")
    if other is not None:
        wanted["beside"] = other.id
    if st.query_params.to_dict() != wanted:
        st.query_params.from_dict(wanted)
    remember(SUBJECT, chosen, wanted, st.session_state, PREFIX)


framed(main)
