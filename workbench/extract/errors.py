"""Errors of extraction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from workbench.capture.errors import WorkbenchError, reason


class ExtractError(WorkbenchError):
    """Texts cannot be extracted from, read, written or scored."""


class SchemaError(ExtractError):
    """A schema is not one; the sentence says what is wrong with it."""


class RecordError(ExtractError):
    """An annotated text is not one, or its offsets do not fit its text."""


class EngineError(ExtractError):
    """An engine or its weights are not at hand, or cannot do what was asked."""


@contextmanager
def usable(device: str) -> Iterator[None]:
    """Say in a sentence that a model cannot be put on a device.

    Raises:
        EngineError: that device is not here, or the model does not fit on it.
    """
    try:
        yield
    except (RuntimeError, AssertionError) as fault:  # torch raises either
        raise EngineError(
            f"The device '{device}' cannot be used ({reason(fault)}): choose another one, for instance cpu."
        ) from None


# Classes of faults, by name because they are of libraries that this module does not load, that say that the hub was not asked at all.
_UNREACHED = frozenset(
    ("ConnectionError", "LocalEntryNotFoundError", "OfflineModeIsEnabled", "TimeoutError", "TransportError", "gaierror")
)


def no_model(who: str, model: str, fault: BaseException, hint: str = "check the name") -> EngineError:
    """The sentence for a model that is neither a folder nor on the hub, or that the hub could not be asked for.

    Args:
        who: whose model, "USM". fault: what the hub's client raised; it raises many kinds.
    """
    causes: list[BaseException] = []
    cause: BaseException | None = fault
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    if not Path(model).is_dir() and any(kind.__name__ in _UNREACHED for each in causes for kind in type(each).__mro__):
        return EngineError(
            f"'{model}' is no folder here, and the hub cannot be reached to look for it ({reason(causes[-1])}): name the folder of a {who} model, or connect this machine."
        )
    return EngineError(
        f"There is no {who} model '{model}', neither as a folder nor on the hub ({reason(fault)}): {hint}."
    )


_WORDS = {
    "extra_forbidden": "this key is not known, so remove it or correct its spelling",
    "model_type": "an object or a name was expected here",
    "missing": "it is missing",
    "string_pattern_mismatch": "a name with at least one visible character was expected here",
    "string_too_short": "a name with at least one visible character was expected here",
    "string_too_long": "at most {max_length} characters are taken here",
    "greater_than_equal": "a number of at least {ge:g} was expected here, but {came} came",
    "less_than_equal": "a number of at most {le:g} was expected here, but {came} came",
    "string_type": "a text was expected here, but {came} came",
    "int_type": "a whole number was expected here, but {came} came",
    "int_parsing": "a whole number was expected here, but {came} came",
    "float_parsing": "a number was expected here, but {came} came",
    "float_type": "a number was expected here, but {came} came",
    "tuple_type": "a list was expected here, but {came} came",
    "too_short": "a list of at least {min_length} was expected here",
    "dict_type": "an object with names as keys was expected here, but {came} came",
}


def first_fault(fault: ValidationError) -> str:
    """The first thing that pydantic found, as half a sentence: where, and what."""
    first = fault.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    words = _WORDS.get(first["type"])
    if words is None:
        what = first["msg"].removeprefix("Value error, ").rstrip(".")
    else:
        came = "null" if first["input"] is None else repr(first["input"])  # as JSON says it
        what = words.format(**first.get("ctx", {}), came=came if len(came) <= 60 else f"{came[:57]}…")
    return f"{where}: {what}" if where else what
