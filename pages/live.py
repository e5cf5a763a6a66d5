"""Live: what happens as a model reads and writes this?

The prompt above, the player below it, then the tokens coloured by expert, the experts of all layers filling, and the route of
one token. The model runs in a thread of its own; a fragment looks at it about twice a second, less often where drawing takes long, and
stops looking when it rests.
"""

from __future__ import annotations

import time

import streamlit as st

from pages.parts.frame import framed
from pages.parts.live_choices import ALL, keep_texts, key, remember_texts, settle, show_settings, write_address
from pages.parts.live_form import show_form
from pages.parts.live_player import at_rest, replay_tick_of, show_player, tick_of
from pages.parts.live_view import show_run
from pages.parts.words import plain, shape
from workbench import session
from workbench.live_runs import Live, LiveSnapshot

TEXTS = ("text.a", "text.b", "other")
LOADING_TICK = 1.0  # seconds between two looks while a model loads, which needs the processor itself


def main() -> None:
    """Draw the page."""
    started = st.session_state.pop(key("started"), None)
    if started is not None:
        _begin(started)
    settle()
    keep_texts(*TEXTS)
    st.title("Watch a model read and write")
    live = session.live_runs().get(st.session_state[key("run")])
    snapshot = live.snapshot() if live is not None else None
    with st.sidebar:
        model, options = show_settings()
    with st.expander("What the model reads", expanded=live is None, icon=":material/edit:"):
        show_form(model, options, busy=snapshot is not None and not snapshot.finished)
    remember_texts(*TEXTS)
    if live is None or snapshot is None:
        _nothing()
        write_address()
        return
    every = _tick(live, snapshot)
    st.fragment(_watch, run_every=every)(live, every)


def _tick(live: Live, snapshot: LiveSnapshot) -> float | None:
    """Seconds until the next look; None where nothing changes by itself."""
    cost = st.session_state.get(key("cost"), 0.0)
    if at_rest(live, snapshot):
        return replay_tick_of(cost) if st.session_state.get(key("replay")) else None
    return LOADING_TICK if snapshot.state in ("waiting", "loading") else tick_of(cost)


def _begin(run: str) -> None:
    """Show the run that was just started, from its newest token on."""
    state = st.session_state
    state[key("run")] = run
    state[key("token")], state[key("lane")], state[key("only")] = None, 0, ALL
    state[key("replay")], state[key("length")], state[key("cost")] = False, None, 0.0


def _nothing() -> None:
    if st.session_state[key("run")] is not None:
        st.info(
            "The run of this link is no longer held: the program was started anew, or newer runs took its place. Start another one above."
        )
        return
    st.info(
        "Nothing is running yet. Press “Read and write” above: each token then shows the experts that it chooses, layer by layer, while "
        "the model reads your text and writes on."
    )


def _watch(live: Live, every: float | None) -> None:
    """The part that is drawn anew while the run goes on.

    Args:
        live: the run.
        every: seconds between two pictures; the whole page is drawn when that has to change.
    """
    from pages.parts.live_keep import show_keep

    begun = time.perf_counter()
    snapshot = live.snapshot()
    _identity(live, snapshot)
    at = show_player(live, snapshot)
    if any(len(trace) for trace in snapshot.traces):
        show_run(snapshot.id, snapshot.traces, at, snapshot.patches)
        show_keep(live, snapshot)
    elif snapshot.finished and not snapshot.error:
        st.info("The run was stopped before it had read anything: start another one above.")
    write_address()
    # It only grows during a run: a pace that went up and down would draw the whole page each time.
    state = st.session_state
    state[key("cost")] = max(state.get(key("cost"), 0.0), time.perf_counter() - begun)
    if _tick(live, snapshot) != every:
        st.rerun()


def _identity(live: Live, snapshot: LiveSnapshot) -> None:
    """The line that names what is shown."""
    said = [plain(snapshot.model.id if snapshot.model is not None else live.order.model)]
    if snapshot.model is not None:
        said.append(plain(f"{snapshot.model.device} {snapshot.model.dtype}"))
    if snapshot.traces:
        said.append(shape(snapshot.traces[0].sites))
        read = sum(int((~trace.written).sum()) for trace in snapshot.traces)
        said.append(f"n = {read:,} read + {snapshot.written:,} written")
    if snapshot.memory:
        said.append(plain(f"estimated {snapshot.memory}", limit=300))
    st.caption(" · ".join(said))


framed(main)
