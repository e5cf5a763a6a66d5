"""How lines of a training run look, on the page and in print: one colour a name, one dash a run."""

from __future__ import annotations

from workbench.analysis.curves import ALL, CurvesTable
from workbench.figures.style import MODALITY_COLOURS, NEUTRAL, PALETTE, group_styles

# From the first layer to the last: violet to pink, none of the palette's colours, readable on white and on dark.
LAYERS = ("#7A5BD0", "#8A6FCB", "#9A80C9", "#AC86C4", "#BE83BC", "#D07CB0", "#E070A0", "#E85F8A")
INK = "#5B6470"  # the whole beside its parts: readable on white and on dark
RUN_DASHES = ("solid", "dot", "dash", "dashdot")


def line_colours(table: CurvesTable) -> dict[str, str]:
    """Line name -> colour: groups and modalities keep theirs, the whole is dark, chance is grey, others take the palette."""
    groups = {name: style.colour for name, style in group_styles(table.groups).items()} if table.groups else {}
    colours: dict[str, str] = {}
    others = 0
    names = list(dict.fromkeys(curve.name for curve in table.curves))
    layers = [name for name in names if name.startswith("layer ")]
    for name in names:
        if name in groups:
            colours[name] = groups[name]
        elif name == ALL:
            colours[name] = INK
        elif name == "chance":
            colours[name] = NEUTRAL
        elif name in layers:
            place = layers.index(name) / max(len(layers) - 1, 1)
            colours[name] = LAYERS[round(place * (len(LAYERS) - 1))]
        elif name in MODALITY_COLOURS:
            colours[name] = MODALITY_COLOURS[name]
        else:
            colours[name] = PALETTE[others % len(PALETTE)]
            others += 1
    return colours


def run_dash(table: CurvesTable, run: str, name: str) -> str:
    """Dash of a line: solid for the first run, others apart; chance is dashed in every run."""
    if name == "chance":
        return "dash"
    return RUN_DASHES[table.runs.index(run) % len(RUN_DASHES)]


def columns_of(panels: int) -> int:
    """Panels side by side."""
    return 1 if panels == 1 else 2 if panels in (2, 4) else 3
