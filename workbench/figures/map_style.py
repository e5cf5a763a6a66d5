"""Which points of a map share a look: classes by group, modality, role, layer or token, on the page and in print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workbench.analysis.projection import MapTable
from workbench.capture import CaptureError
from workbench.figures.curve_style import LAYERS
from workbench.figures.signs import word_of
from workbench.figures.style import MODALITY_COLOURS, NEUTRAL, PALETTE, group_styles

COLOURS_BY = ("group", "modality", "role", "layer", "token")
MOST_TOKENS = 7  # texts with a colour of their own: as many as the palette has
MOST_LAYERS = 8  # above, layers are coloured in as many bands


@dataclass(frozen=True)
class PointClass:
    """Points that look alike: a name for the legend, a colour, a marker (Plotly's name), their numbers."""

    name: str
    colour: str
    marker: str
    points: np.ndarray  # int64


def classes(table: MapTable, by: str, words: Sequence[str | None] | None = None) -> list[PointClass]:
    """The points of a map in classes, in the order of the legend; "other" and "unknown" come first, so that they lie below.

    Args:
        table: the map.
        by: one of `COLOURS_BY`. "layer" is for experts: a token passes every layer.
        words: a text a point, for "token"; default the column of that name.

    Raises:
        CaptureError: for another `by`, or a label that these points do not have.
    """
    rows = table.features.rows
    if by not in COLOURS_BY:
        raise CaptureError(f"Points are coloured by {', '.join(COLOURS_BY)}, not by '{by}': choose one of them.")
    if by == "token":
        return _by_token(
            list(words) if words is not None else list(rows["token"]) if "token" in rows else [None] * len(rows)
        )
    if by not in rows:
        raise CaptureError(
            "A token passes every layer, so only experts are coloured by layer: choose group, modality, role or token."
        )
    if by == "layer":
        return _by_layer(rows["layer"].to_numpy(dtype=np.int64))
    values = list(rows[by])
    looks: dict[str, tuple[str, str]] = {}
    if by == "group":
        looks = {name: (style.colour, style.marker) for name, style in group_styles(table.groups).items()}
        named = [group.name for group in table.groups if group.name in values]
    elif by == "modality":
        looks = {name: (colour, "circle") for name, colour in MODALITY_COLOURS.items()}
        named = [name for name in MODALITY_COLOURS if name in values]
    else:
        looks = {"understanding": (PALETTE[0], "circle"), "generation": (PALETTE[1], "square")}
        named = [name for name in looks if name in values]
    known = set(named)
    unknown = np.array([index for index, value in enumerate(values) if value not in known], dtype=np.int64)
    made = [PointClass("unknown", NEUTRAL, "circle-open", unknown)] if unknown.size else []
    return made + [PointClass(name, *looks[name], _where(values, name)) for name in named]


def _by_token(values: list[str | None]) -> list[PointClass]:
    counts: dict[str, int] = {}
    for value in values:
        if value is not None:
            counts[value] = counts.get(value, 0) + 1
    most = sorted(counts, key=lambda word: (-counts[word], word))[:MOST_TOKENS]
    rest = np.array([index for index, value in enumerate(values) if value not in most], dtype=np.int64)
    made = [PointClass("other tokens", "#B9BEC6", "circle", rest)] if rest.size else []
    return made + [
        PointClass(shown(word), PALETTE[index], "circle", _where(values, word)) for index, word in enumerate(most)
    ]


def shown(word: str) -> str:
    """A token's text for a legend: blanks can be seen, long ones are cut; "▦ picture" for a part of one."""
    part = word_of(word)
    if part is not None:
        return part
    seen = word.replace(" ", "␣").replace("\n", "↵").replace("\t", "→").replace("\r", "")
    return seen if len(seen) <= 20 else f"{seen[:19]}…"


def _by_layer(layers: np.ndarray) -> list[PointClass]:
    """A class a layer, or a class a band of neighbouring layers where there are many."""
    known = np.unique(layers)
    bands = np.array_split(known, min(MOST_LAYERS, len(known)))
    made = []
    for index, band in enumerate(bands):
        place = round(index / max(len(bands) - 1, 1) * (len(LAYERS) - 1))
        name = f"layer {band[0]}" if len(band) == 1 else f"layers {band[0]} to {band[-1]}"
        made.append(PointClass(name, LAYERS[place], "circle", np.flatnonzero(np.isin(layers, band))))
    return made


def _where(values: Sequence[str | None], name: str) -> np.ndarray:
    return np.array([index for index, value in enumerate(values) if value == name], dtype=np.int64)
