"""The six views of routing: from the choices to a table, a figure, an answer, and what one can download."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pages.parts import answers
from pages.parts.selection import ALL_PHASES, VIEWS
from workbench.analysis.coactivation import coactivation_table
from workbench.analysis.load import balance_table, heatmap_table, utilisation_table
from workbench.analysis.overlap import overlap_table
from workbench.analysis.specialisation import specialisation_table
from workbench.capture import Capture
from workbench.figures import interactive

Cell = tuple[str, int]  # site id, expert


@dataclass(frozen=True)
class View:
    """One view.

    Attributes:
        slug: its name in addresses and files.
        label: its name on the tab.
        table: (capture, choices) -> table; raises CaptureError with a sentence where the capture cannot give it.
        figure: (table, chosen cell) -> Plotly figure.
        answer: table -> one sentence.
        cells: whether a click chooses an expert of a site.
        uses: the controls that change it.
    """

    slug: str
    label: str
    table: Callable[[Capture, Mapping[str, Any]], Any]
    figure: Callable[[Any, Cell | None], Any]
    answer: Callable[[Any], str]
    cells: bool
    uses: frozenset[str]


def phase_of(chosen: Mapping[str, Any]) -> str | None:
    """The chosen phase, None for all."""
    return None if chosen["phase"] == ALL_PHASES else chosen["phase"]


def sites_of(chosen: Mapping[str, Any]) -> Sequence[str] | None:
    """The chosen sites, None for the view's own choice."""
    return chosen["sites"] or None


def group_of(capture: Capture, chosen: Mapping[str, Any]) -> str:
    """Name of the chosen group."""
    return capture.groups[chosen["group"]]


def site_for_pairs(capture: Capture, chosen: Mapping[str, Any]) -> str:
    """The one site that co-activation shows: that of the chosen cell, else the first one chosen, else the middle one."""
    if chosen["site"] is not None:
        return str(chosen["site"])
    if chosen["sites"]:
        return str(chosen["sites"][0])
    return capture.sites[len(capture.sites) // 2].id


def _heatmap(capture: Capture, chosen: Mapping[str, Any]) -> Any:
    return heatmap_table(capture, group_of(capture, chosen), sites_of(chosen), phase_of(chosen), chosen["measure"])


def _utilisation(capture: Capture, chosen: Mapping[str, Any]) -> Any:
    return utilisation_table(capture, sites_of(chosen), phase=phase_of(chosen))


def _overlap(capture: Capture, chosen: Mapping[str, Any]) -> Any:
    return overlap_table(capture, sites_of(chosen), q=chosen["q"] / 100, phase=phase_of(chosen))


def _balance(capture: Capture, chosen: Mapping[str, Any]) -> Any:
    return balance_table(capture, sites_of(chosen), measure=chosen["balance"], phase=phase_of(chosen))


def _coactivation(capture: Capture, chosen: Mapping[str, Any]) -> Any:
    return coactivation_table(capture, site_for_pairs(capture, chosen), chosen["pairs"])


def _specialisation(capture: Capture, chosen: Mapping[str, Any]) -> Any:
    return specialisation_table(capture, group_of(capture, chosen), sites_of(chosen), phase=phase_of(chosen))


def _cells_figure(table: Any, cell: Cell | None) -> Any:
    return interactive.heatmap(table, selected=cell, height=heatmap_height(len(table.sites)))


def heatmap_height(sites: int) -> int:
    """Pixels: tall enough to click at and to stand beside the tokens, at most what a screen shows."""
    return min(max(170 + 12 * sites, 460), 740)


ALL = (
    View("heatmap", VIEWS["heatmap"], _heatmap, _cells_figure,
         answers.heatmap, True, frozenset({"group", "sites", "measure", "phase"})),
    View("utilisation", VIEWS["utilisation"], _utilisation, lambda table, cell: interactive.utilisation(table),
         answers.utilisation, False, frozenset({"sites", "phase"})),
    View("overlap", VIEWS["overlap"], _overlap, lambda table, cell: interactive.overlap(table),
         answers.overlap, False, frozenset({"sites", "phase", "q"})),
    View("balance", VIEWS["balance"], _balance, lambda table, cell: interactive.balance(table),
         answers.balance, False, frozenset({"sites", "phase", "balance"})),
    View("coactivation", VIEWS["coactivation"], _coactivation, lambda table, cell: interactive.coactivation(table),
         answers.coactivation, False, frozenset({"site", "pairs"})),
    View("specialisation", VIEWS["specialisation"], _specialisation,
         _cells_figure,
         answers.heatmap, True, frozenset({"group", "sites", "phase"})),
)  # fmt: skip


def by_label(label: str) -> View:
    """The view of a tab."""
    return next(view for view in ALL if view.label == label)
