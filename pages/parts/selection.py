"""What is chosen on the Routing page, in the widgets and in the address bar.

The address carries the capture's id, numbers, and words of this program: a group stands there by its number, because its
name may come from the user's files. Three things have to agree: the address, the widgets, and what was chosen before the
user went to another page. The rule: widgets that changed win, else an address that changed wins, else nothing changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from workbench.analysis.coactivation import NORMALISATIONS
from workbench.analysis.load import BALANCE_MEASURES, HEATMAP_MEASURES
from workbench.analysis.select import all_sites, groups_with_tokens
from workbench.capture import Capture

PREFIX = "routing."
VIEWS = {
    "heatmap": "Heat map",
    "utilisation": "Utilisation",
    "overlap": "Overlap",
    "balance": "Balance",
    "coactivation": "Co-activation",
    "specialisation": "Specialisation",
    "more": "More measures",
}
MORE = ("iou-curve", "repetition", "vocabulary", "same-words", "affinity", "concentration", "first-choice")
NULLS = ("off", "labels", "untrained", "fixed-load")
BY = ("input", "next", "predicted")  # the id that a token is sorted by
MEASURES = tuple(name for name in HEATMAP_MEASURES if name != "specialisation")  # that one has a view of its own
ALL_PHASES = "all"
ORDERS = ("strongest", "random")
SAME, EVERY = "same", "every"  # filters of the tokens: the group of the figure, or all groups
TOP_Q = (5, 10, 25, 50)  # percent; 25 is that of the ERNIE 5.0 report, section 6.4.1
MAX_SITES = 24  # in an address; more make a figure that nobody reads anyway


@dataclass(frozen=True)
class Field:
    """One choice: its value when nothing is chosen, and how an address says it.

    Attributes:
        default: the value that is left out of the address.
        read: from the address to a value; raises ValueError for one that this capture does not have.
        write: from a value to the address.
    """

    default: Any
    read: Callable[[str], Any]
    write: Callable[[Any], str] = str


def _among(values: tuple[Any, ...], kind: Callable[[str], Any] = str) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        value = kind(text)
        if value not in values:
            raise ValueError(text)
        return value

    return read


def _slug(word: str) -> str:
    return word.replace(" ", "-").lower()


def fields(capture: Capture) -> dict[str, Field]:
    """Every choice that this capture allows, by the name that stands in the address."""
    groups = tuple(capture.group_index(name) for name in groups_with_tokens(capture))
    sites = all_sites(capture)
    most = capture.manifest.max_experts
    balance = {_slug(name): name for name in BALANCE_MEASURES}

    def read_sites(text: str) -> list[str]:
        chosen = [part for part in text.split(",") if part]
        if len(chosen) > MAX_SITES or not set(chosen) <= set(sites):
            raise ValueError(text)
        return chosen

    def read_expert(text: str) -> int | None:
        return _among(tuple(range(most)), int)(text)

    return {
        "view": Field(VIEWS["heatmap"], lambda text: VIEWS[_among(tuple(VIEWS))(text)], _view_slug),
        "group": Field(groups[0], _among(groups, int)),
        "measure": Field(MEASURES[0], _among(MEASURES)),
        "phase": Field(ALL_PHASES, _among((ALL_PHASES, *capture.phases))),
        "sites": Field([], read_sites, ",".join),
        "q": Field(25, _among(TOP_Q, int)),
        "balance": Field(next(iter(BALANCE_MEASURES)), lambda text: balance[_among(tuple(balance))(text)], _slug),
        "pairs": Field("lift", _among(NORMALISATIONS)),
        "site": Field(None, _among(sites)),
        "expert": Field(None, read_expert),
        "tokens": Field(SAME, _among((SAME, EVERY, *groups), _number_or_word)),
        "order": Field(ORDERS[0], _among(ORDERS)),
        "null": Field(NULLS[0], _among(NULLS)),
        "more": Field(MORE[0], _among(MORE)),
        "by": Field(BY[0], _among(BY)),
    }


def _number_or_word(text: str) -> int | str:
    return text if text in (SAME, EVERY) else int(text)


def _view_slug(label: str) -> str:
    return next(slug for slug, name in VIEWS.items() if name == label)


def key(name: str, prefix: str = PREFIX) -> str:
    """Key of the widget of a choice; every page has a prefix of its own."""
    return prefix + name


def from_address(params: Mapping[str, str], known: Mapping[str, Field]) -> dict[str, Any]:
    """The choices that an address makes; what it does not say, or says of another capture, is the default."""
    chosen = {}
    for name, field in known.items():
        chosen[name] = field.default
        if name in params:
            try:
                chosen[name] = field.read(params[name])
            except (ValueError, KeyError, StopIteration):  # a link by hand, or of another version
                continue
    return chosen


def to_address(
    capture_id: str, chosen: Mapping[str, Any], known: Mapping[str, Field], subject: str = "capture"
) -> dict[str, str]:
    """The address of these choices; defaults are left out. `subject` is what the id is of: "capture", or "run"."""
    params = {subject: capture_id}
    for name, field in known.items():
        value = chosen[name]
        if value != field.default and value is not None and not (name == "sites" and len(value) > MAX_SITES):
            params[name] = field.write(value)
    return params


def settle(
    capture_id: str,
    known: Mapping[str, Field],
    state: Any,
    address: Mapping[str, str],
    prefix: str = PREFIX,
    subject: str = "capture",
) -> dict[str, Any]:
    """Bring address, widgets and memory together before any widget is drawn; returns the choices, which it also sets in `state`.

    Args:
        capture_id: id of the open capture.
        known: `fields` of it.
        state: the tab's state, a mapping; widget values stand under `key(name, prefix)`.
        address: what the address bar says now.
        prefix: of the page. subject: what the id is of.
    """
    memory = state.get(prefix + "memory") or {}
    same_capture = memory.get("capture") == capture_id
    kept: dict[str, Any] = memory.get("chosen", {}) if same_capture else {}
    widgets = {name: state[key(name, prefix)] for name in known if key(name, prefix) in state} if same_capture else {}
    changed = any(value != kept.get(name) for name, value in widgets.items())
    told = {name: value for name, value in address.items() if name != subject}
    new_address = dict(address) != memory.get("address") and (bool(told) or not same_capture)
    if new_address and not changed:
        chosen = from_address(address, known)
    else:
        chosen = {name: field.default for name, field in known.items()} | kept | widgets
    chosen = {name: value if _allowed(value, known[name]) else known[name].default for name, value in chosen.items()}
    if "expert" in chosen and (chosen["site"] is None or chosen["expert"] is None):  # a cell is both or neither
        chosen["site"] = chosen["expert"] = None
    for name, value in chosen.items():
        state[key(name, prefix)] = value
    return chosen


def remember(
    capture_id: str, chosen: Mapping[str, Any], address: Mapping[str, str], state: Any, prefix: str = PREFIX
) -> None:
    """Keep the choices for the next run and for the way back from another page, where widgets have lost theirs."""
    state[prefix + "memory"] = {"capture": capture_id, "chosen": dict(chosen), "address": dict(address)}


def _allowed(value: Any, field: Field) -> bool:
    if value == field.default or value is None:
        return True
    try:
        return bool(field.read(field.write(value)) == value)
    except (ValueError, TypeError, KeyError, StopIteration):
        return False
