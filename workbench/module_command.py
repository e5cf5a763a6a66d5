"""What the commands of single modules (``python -m workbench...``) share: an error ends in one sentence and a non-zero status."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from workbench.capture.errors import WorkbenchError

LAST_SEED = 2**32 - 1


def count(given: str) -> int:
    """An option that counts, at least 1."""
    number = int(given)
    if number < 1:
        raise argparse.ArgumentTypeError(f"a number of at least 1 is needed, not {number}")
    return number


def count_or_none(given: str) -> int:
    """An option that counts, at least 0; 0 where the option says what that means."""
    number = int(given)
    if number < 0:
        raise argparse.ArgumentTypeError(f"a number of at least 0 is needed, not {number}")
    return number


def seed(given: str) -> int:
    """An option that all chance follows from, a whole number that every generator takes."""
    number = int(given)
    if not 0 <= number <= LAST_SEED:
        raise argparse.ArgumentTypeError(f"a whole number from 0 to {LAST_SEED} is needed, not {number}")
    return number


def share(given: str) -> float:
    """An option that is a chance, from 0 to below 1."""
    number = float(given)
    if not 0 <= number < 1:
        raise argparse.ArgumentTypeError(f"a number from 0 to below 1 is needed, not {number}")
    return number


def positive(given: str) -> float:
    """An option that is a finite number above 0."""
    number = float(given)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"a number above 0 is needed, not {number}")
    return number


@dataclass
class Status:
    """Exit status of a command; 0 until something went wrong."""

    code: int = 0


@contextlib.contextmanager
def report(stopped: str = "Stopped.") -> Iterator[Status]:
    """Run a command's work: a :class:`WorkbenchError` or a failed write is printed to standard error as one sentence.

    Args:
        stopped: what to say when the user interrupts.
    """
    status = Status()
    try:
        yield status
    except WorkbenchError as error:
        print(error, file=sys.stderr)  # noqa: T201 - what the command says
        status.code = 1
    except OSError as error:
        print(  # noqa: T201
            f"Expected to read or write {error.filename or 'a file'}, but the system said '{error.strerror}': mend that and run again.",
            file=sys.stderr,
        )
        status.code = 1
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)  # noqa: T201
        status.code = 130
