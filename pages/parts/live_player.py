"""The player of the Live page: what the run is doing, its buttons, and the slider that goes back and forth in it."""

from __future__ import annotations

import time

import streamlit as st

from pages.parts.faults import in_words
from pages.parts.live_choices import key
from pages.parts.words import count, plain, seconds
from workbench.live_runs import Live, LiveSnapshot

TICKS = (0.5, 1.0, 2.0)  # seconds between two looks at a run that goes on
DRAWING_SHARE = 0.05  # of the time may go into drawing, which shares the processor with the model
REPLAY_TICKS = (0.25, 0.5, 1.0)  # seconds between two pictures of a replay
REPLAY_SHARE = 0.5  # of a replay's time may go into drawing: no model runs, but buttons wait for a picture to be drawn
REPLAY_SECONDS = 15.0  # that a replay of a long run takes; a short one shows a token a picture
PATIENCE = 2.0  # seconds that a press of Step or Pause waits for the model to come to rest
LABELS = {"done": "Done", "stopped": "Stopped", "failed": "Failed"}


def at_rest(live: Live, snapshot: LiveSnapshot) -> bool:
    """Whether nothing will change until a button is pressed."""
    return snapshot.finished or (snapshot.paused and live.control.holding and live.control.would_hold())


def tick_of(cost: float) -> float:
    """Seconds between two looks where drawing one takes `cost` seconds."""
    return next((tick for tick in TICKS if cost <= DRAWING_SHARE * tick), TICKS[-1])


def replay_tick_of(cost: float) -> float:
    """Seconds between two pictures of a replay where drawing one takes `cost` seconds."""
    return next((tick for tick in REPLAY_TICKS if cost <= REPLAY_SHARE * tick), REPLAY_TICKS[-1])


def replay_step(tokens: int, cost: float) -> int:
    """Tokens by which a replay of so many goes on from one picture to the next."""
    return max(1, round(tokens * replay_tick_of(cost) / REPLAY_SECONDS))


def show_player(live: Live, snapshot: LiveSnapshot) -> int:
    """Draw status, buttons and slider; returns how many tokens of each sequence are to be seen."""
    _status(live, snapshot)
    tokens = max((len(trace) for trace in snapshot.traces), default=0)
    rest = at_rest(live, snapshot)
    row = st.container(horizontal=True, vertical_alignment="center", key="live.buttons")
    _buttons(row, live, snapshot)
    return _slider(row, tokens, rest)


def _status(live: Live, snapshot: LiveSnapshot) -> None:
    if snapshot.error:
        st.error(in_words(_as_uploaded(live, snapshot.error), 700))
        return
    pace = snapshot.tokens_per_second
    rate = f" · {pace:,.{0 if pace >= 10 else 1}f} tokens/s" if snapshot.written else ""
    worked = f" · {seconds(snapshot.seconds)} of the model's time" if snapshot.seconds else ""
    how_far = f"{snapshot.written:,} of at most {count(snapshot.most, 'token')} written{rate}{worked}"
    if snapshot.finished:
        ended = " · the model ended its text" if snapshot.state == "done" and snapshot.written < snapshot.most else ""
        st.progress(1.0, text=f"{LABELS[snapshot.state]} · {how_far}{ended}")
    elif snapshot.state in ("waiting", "loading"):
        st.progress(0.0, text=plain(snapshot.step, limit=300))
    else:
        word = "Stopping" if snapshot.stopping else "Paused" if snapshot.paused else snapshot.step
        if snapshot.written or not snapshot.most:
            st.progress(
                snapshot.written / snapshot.most if snapshot.most else snapshot.read, text=f"{word} · {how_far}"
            )
        else:
            st.progress(snapshot.read, text=f"{word} · the prompt has gone through {snapshot.read:.0%} of the layers")


def _as_uploaded(live: Live, sentence: str) -> str:
    """A sentence that names files as they were uploaded: their folder here is none of the user's."""
    for prompt in live.order.prompts:
        for file in prompt.files:
            sentence = sentence.replace(str(file), file.name)
    return sentence


def _buttons(row: object, live: Live, snapshot: LiveSnapshot) -> None:
    over = "The run has ended: use Replay or the slider, or start another." if snapshot.finished else None
    early = snapshot.state in ("waiting", "loading")
    why = over or ("It has not begun to read." if early else None)
    if snapshot.paused:
        row.button(  # type: ignore[attr-defined]
            "Play",
            key=key("play"),
            icon=":material/play_arrow:",
            disabled=why is not None,
            help=why,
            on_click=_play,
            args=(live,),
        )
    else:
        row.button(  # type: ignore[attr-defined]
            "Pause", key=key("pause"), icon=":material/pause:", disabled=why is not None,
            help=why or "Holds the model itself: nothing is computed until Play or Step.", on_click=_pause, args=(live,),
        )  # fmt: skip
    row.button(  # type: ignore[attr-defined]
        "Step", key=key("step"), icon=":material/skip_next:", disabled=why is not None,
        help=why or "One pass of the model: reads the prompt, or writes one token; pauses a run that plays.",
        on_click=_step, args=(live,),
    )  # fmt: skip
    row.button(  # type: ignore[attr-defined]
        "Stop", key=key("stop"), icon=":material/stop:", disabled=snapshot.finished or snapshot.stopping,
        help=over or ("It stops after the pass that is being made." if snapshot.stopping else "Ends the run; what was written stays."),
        on_click=_stop, args=(live,),
    )  # fmt: skip
    replaying = bool(st.session_state.get(key("replay")))
    empty = not any(len(trace) for trace in snapshot.traces)
    held = None if at_rest(live, snapshot) else "Pause or stop the run first."
    why_replay = "There is nothing to replay: no token was read." if empty and held is None else held
    # A key each, as Play and Pause have: a press of Hold that comes after the replay's end must not begin it anew.
    row.button(  # type: ignore[attr-defined]
        "Hold" if replaying else "Replay", key=key("hold" if replaying else "replaying"), icon=":material/replay:",
        disabled=why_replay is not None,
        help=why_replay or "Shows the run again from its first token; the model does not run.", on_click=_replay, args=(not replaying,),
    )  # fmt: skip


def _slider(row: object, tokens: int, rest: bool) -> int:
    """The token up to which the run is shown; it follows the newest one while the run goes on."""
    state = st.session_state
    if not rest or state.get(key("length")) != tokens:
        state[key("at")], state[key("length")] = tokens, tokens
        state[key("replay")] = False
    elif state.get(key("replay")):
        state[key("at")] = min(state.get(key("at"), 0) + replay_step(tokens, state.get(key("cost"), 0.0)), tokens)
        state[key("replay")] = state[key("at")] < tokens
    state[key("at")] = min(state.get(key("at"), tokens), tokens)
    at = row.slider(  # type: ignore[attr-defined]
        "Tokens shown", 0, max(tokens, 1), key=key("at"), disabled=not rest or not tokens,
        help=None if rest and tokens else "The newest token is shown while the run goes on: pause or stop it to go back.",
        width="stretch",
    )  # fmt: skip
    return int(at)


# ---------------------------------------------------------------------- what the buttons do
def _play(live: Live) -> None:
    live.control.play()


def _pause(live: Live) -> None:
    live.control.pause()
    _settle(live)


def _step(live: Live) -> None:
    live.control.step()
    _settle(live)


def _stop(live: Live) -> None:
    live.control.stop()
    live.wait(PATIENCE)


def _settle(live: Live) -> None:
    """Wait a moment for the pass that is being made, so that the page shows its token at once."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and not at_rest(live, live.snapshot()):
        time.sleep(0.02)


def _replay(on: bool) -> None:
    state = st.session_state
    state[key("replay")] = on
    if on and state.get(key("at"), 0) >= state.get(key("length"), 0):
        state[key("at")] = 0
