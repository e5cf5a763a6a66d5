"""What every command shares: one JSON object at the end, errors in one sentence, Ctrl-C that keeps what was done."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, Any

import typer

JsonOption = Annotated[
    bool, typer.Option("--json", help="End with one JSON object on standard output, for other programs.")
]


class Output:
    """Words for people on standard output, or nothing but the result as JSON.

    Args:
        as_json: what `--json` says.
    """

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    def say(self, text: str = "") -> None:
        """A line for people; left out with --json."""
        if not self.as_json:
            typer.echo(text)

    def note(self, text: str) -> None:
        """A line on standard error, also with --json."""
        typer.echo(text, err=True)

    def result(self, value: Mapping[str, Any]) -> None:
        """The result: the last line of standard output with --json."""
        if self.as_json:
            typer.echo(json.dumps(value, ensure_ascii=False, default=str))


def quiet_libraries() -> None:
    """Keep the progress bars and notices of other libraries off the terminal, which has bars of its own."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


@contextmanager
def stop_on_interrupt(said: Callable[[], None], *, terminate: bool = False) -> Iterator[Callable[[], bool]]:
    """Yield a question "was Ctrl-C pressed?"; the first press only notes it, a second one stops at once.

    Args:
        said: called at the first press.
        terminate: SIGTERM, by which a machine that shuts down or a time limit ends programs, counts as a press too.
    """
    pressed = False

    def press(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True
        said()

    heard = [signal.SIGINT, signal.SIGTERM] if terminate else [signal.SIGINT]
    try:
        before = {number: signal.signal(number, press) for number in heard}
    except ValueError:  # not the main thread: the caller has its own way to stop
        yield lambda: False
        return
    try:
        yield lambda: pressed
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def fail(sentence: str) -> int:
    """Print one sentence on standard error; returns the exit status."""
    print(" ".join(sentence.split()), file=sys.stderr)  # noqa: T201 - the end of the program
    return 1
