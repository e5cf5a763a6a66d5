"""What the readers share: bounded text files, JSON, and faults in one sentence."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError

from workbench.extract.errors import ExtractError, RecordError, first_fault
from workbench.extract.records import LONG_NUMBER, MAX_LINE

MAX_FILE = 2**30  # bytes of a file that is read whole
MAX_UNPACKED = 4 * 2**30  # bytes that a .gz may unfold to


@contextmanager
def opened(path: Path, *, marked: bool = False) -> Iterator[IO[str]]:
    """A text file, gzip or plain, without translation of line ends.

    Args:
        marked: leave a byte order mark at its start where it is.

    Raises:
        RecordError: it is missing, not UTF-8, no gzip file, or damaged.
    """
    if not path.is_file():
        raise RecordError(f"The file '{path}' does not exist: check the path.")
    encoding = "utf-8" if marked else "utf-8-sig"
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rt", encoding=encoding, newline="") as packed:
                yield packed
        else:
            with path.open(encoding=encoding, newline="") as plain:
                yield plain
    except UnicodeDecodeError:
        raise RecordError(f"'{path.name}' is not UTF-8 text: save it as UTF-8.") from None
    except (gzip.BadGzipFile, EOFError):
        raise RecordError(f"'{path.name}' is no whole gzip file: get it again.") from None


def lines(path: Path) -> Iterator[str]:
    """Lines of a text file without their ends; only line feeds separate (a text may hold other separators)."""
    with opened(path) as file:
        size = 0
        while line := file.readline(MAX_LINE):
            size += len(line)
            if size > MAX_UNPACKED or (len(line) == MAX_LINE and not line.endswith("\n")):
                raise RecordError(
                    f"'{path.name}' is too large or has a line longer than {MAX_LINE // 2**20} MB: split it."
                )
            yield line.rstrip("\n").removesuffix("\r")


def whole(path: Path, *, marked: bool = False) -> str:
    """All text of a file, line ends untouched, a byte order mark at its start only if asked for."""
    if path.is_file() and path.stat().st_size > MAX_FILE:
        raise RecordError(f"'{path.name}' has more than {MAX_FILE // 2**30} GB: split it.")
    with opened(path, marked=marked) as file:
        return file.read()


def json_value(path: Path) -> Any:
    """A JSON file, or JSON lines as a list.

    Raises:
        RecordError: it is neither.
    """
    text = whole(path)
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return list(json_lines(path))
    except ValueError:
        raise RecordError(f"'{path.name}' {LONG_NUMBER}.") from None


def json_lines(path: Path) -> Iterator[Any]:
    """One JSON value a line; empty lines are passed over."""
    for number, line in enumerate(lines(path), start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except (json.JSONDecodeError, RecursionError):
                raise RecordError(
                    f"Line {number} of '{path.name}' is not JSON: expected one JSON object a line."
                ) from None
            except ValueError:
                raise RecordError(f"Line {number} of '{path.name}' {LONG_NUMBER}.") from None


@contextmanager
def expected(path: Path, what: str, place: str = "") -> Iterator[None]:
    """Turn whatever a badly formed file does to a reader into one sentence."""
    try:
        yield
    except ExtractError:
        raise
    except UnicodeDecodeError:  # a ValueError, of which the sentence below would tell the codec's words
        raise RecordError(f"'{path.name}' is not UTF-8 text: save it as UTF-8.") from None
    except ValidationError as fault:
        raise RecordError(f"{place or f'{path.name}'} is not {what}: {first_fault(fault)}.") from None
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, SyntaxError) as fault:
        words = str(fault).splitlines()[0][:160] if str(fault) else type(fault).__name__
        raise RecordError(
            f"{place or f'{path.name}'} is not {what} ({type(fault).__name__}: {words}): choose another format or correct the file."
        ) from None
