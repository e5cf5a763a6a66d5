"""Colours, scales and labels that the page and the paper share.

Choices made here:
- One colour a modality, from the palette of Okabe and Ito (2008), which is told apart with any colour vision; understanding is
  solid, generation dashed or hatched in the same colour. Groups of another kind take the palette in the capture's order, with
  a new dash and marker each time it begins again, so that 20 groups differ in print too.
- Sequential scale: cividis (Nunez 2018). Diverging scale: ColorBrewer's PuOr, purple below and orange above its centre.
- Load is drawn as log2 of load over even load, so that half and double are equally far from the centre.
- Grey: too few tokens. Hatched: no such expert, or no tokens. Neither colour is on a scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10

import numpy as np

from workbench.analysis.affinity import AffinityTable
from workbench.analysis.load import BALANCE_MEASURES
from workbench.analysis.tables import BalanceTable, CoactivationTable, HeatmapTable, OverlapTable, UtilisationTable
from workbench.capture import Group, Site

MODALITY_COLOURS = {"text": "#0072B2", "image": "#E69F00", "video": "#009E73", "audio": "#CC79A7"}
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C6D31")
NEUTRAL = "#7A7F87"  # a group that is of no modality among groups that are, such as "unknown"
DASHES = ("solid", "dash", "dot", "dashdot")  # Plotly's names
HATCHES = ("", "/", "x", ".")  # Plotly's pattern shapes; matplotlib takes them too
MARKERS = ("circle", "square", "diamond", "triangle-up")

SIGNED = ("specialisation", "difference")  # measures that are a log2 already
FEW_COLOUR = "#BDBDBD"
ABSENT_COLOUR = "#8A8A8A"  # colour of the hatching on a white or dark ground

SEQUENTIAL = (
    "#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838",
)  # fmt: skip
DIVERGING = (
    "#2d004b", "#542788", "#8073ac", "#b2abd2", "#d8daeb", "#f7f7f7", "#fee0b6", "#fdb863", "#e08214", "#b35806", "#7f3b08",
)  # fmt: skip


@dataclass(frozen=True)
class GroupStyle:
    """How a group looks in every figure: colour, dash of its line, hatching of its bars, marker (Plotly's names)."""

    colour: str
    dash: str
    hatch: str
    marker: str


def group_styles(groups: Sequence[Group]) -> dict[str, GroupStyle]:
    """The look of every group of a capture, by name; give all groups, so that a choice among them changes no colour."""
    keys = [(group.modality, group.role == "generation") for group in groups if group.modality in MODALITY_COLOURS]
    # Modality colours only where they tell the groups apart: five languages of text are five colours, not one.
    by_modality = len(set(keys)) == len(keys) and 2 * len(keys) >= len(groups)
    styles: dict[str, GroupStyle] = {}
    others = 0
    for index, group in enumerate(groups):
        if not by_modality:
            turn, place = divmod(index, len(PALETTE))
            colour = PALETTE[place]
        elif group.modality in MODALITY_COLOURS:
            turn, colour = int(group.role == "generation"), MODALITY_COLOURS[group.modality]
        else:
            others += 1
            turn, colour = others + 1, NEUTRAL
        turn %= len(DASHES)
        styles[group.name] = GroupStyle(colour, DASHES[turn], HATCHES[turn], MARKERS[turn])
    return styles


@dataclass(frozen=True)
class Scale:
    """How numbers become colours.

    Attributes:
        colour: what is coloured, an array like the table's values (log2 where diverging), NaN where there is no number.
        low, high: ends of the colour range; centre: the level of "nothing special", or None for a sequential scale.
        ticks, labels: where the colour bar is labelled, in units of `colour`, and how.
        title: of the colour bar.
    """

    colour: np.ndarray
    low: float
    high: float
    centre: float | None
    ticks: tuple[float, ...]
    labels: tuple[str, ...]
    title: str

    @property
    def colours(self) -> tuple[str, ...]:
        return SEQUENTIAL if self.centre is None else DIVERGING


def heatmap_scale(tables: Sequence[HeatmapTable], limit: float | None = None) -> list[Scale]:
    """Scales of heat maps of one measure that are shown together: one range for all.

    Args:
        tables: of the same measure.
        limit: half range of a diverging scale in log2 units; default: enough for 98 % of the readable cells, 1 to 4.
    """
    readable = np.concatenate([table.values[~table.few].ravel() for table in tables])
    if tables[0].centre is None:
        return [_percent_scale(table.values, readable, table.unit) for table in tables]
    plain = tables[0].measure in SIGNED
    half = _half_range(readable if plain else _log2(readable), limit)
    return [_log2_scale(table.values if plain else _log2(table.values), half, table.unit) for table in tables]


def coactivation_scale(table: CoactivationTable, limit: float | None = None) -> Scale:
    """Scale of a co-activation square; lift diverges around the lift of all pairs together."""
    readable = table.values[~table.few]
    if table.normalise == "lift" and table.centre:
        around = _log2(table.values / table.centre)
        scale = _log2_scale(around, _half_range(around[~table.few], limit), "lift")
        labels = tuple(
            _sign(tick, scale.high) + f"{table.centre * 2.0**tick:.2g}" + ("" if tick else " (all pairs)")
            for tick in scale.ticks
        )
        return Scale(scale.colour, scale.low, scale.high, scale.centre, scale.ticks, labels, "lift, times independence")
    if table.normalise == "conditional":
        return _percent_scale(table.values, readable, table.unit)
    top = float(np.nanmax(readable, initial=1.0))
    ticks = round_ticks(top)
    return Scale(table.values, 0.0, top, None, ticks, tuple(f"{tick:,.0f}" for tick in ticks), table.unit)


def affinity_scale(table: AffinityTable, limit: float = 3.0) -> Scale:
    """Scale of the affinity to the next site: log2 of lift around 1, unrelated."""
    scale = _log2_scale(_log2(table.lift), limit, "lift")
    labels = tuple("1 (unrelated)" if label == "1 (even)" else label for label in scale.labels)
    return Scale(scale.colour, scale.low, scale.high, scale.centre, scale.ticks, labels, "lift, times unrelated")


def overlap_scale(table: OverlapTable, index: int) -> Scale:
    """Scale of the IoU panel of one site: 0 to 1 for all, with the chance level of every site on the colour bar."""
    levels = sorted({round(float(level), 3) for level in table.even_chance})
    ticks = [(0.0, "0"), (0.5, "0.5"), (1.0, "1")] + [(level, f"◄ chance {level:.2f}") for level in levels]
    # A number that the mark of a chance level would cover is left out.
    kept = [
        (tick, text) for tick, text in ticks if "chance" in text or all(abs(tick - level) > 0.04 for level in levels)
    ]
    return Scale(table.iou[index], 0.0, 1.0, None, tuple(t for t, _ in kept), tuple(text for _, text in kept), "IoU")


def _log2(values: np.ndarray) -> np.ndarray:
    """log2 with 0 kept as -infinity (drawn in the lowest colour, not as missing)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log2(values)


def _half_range(values: np.ndarray, limit: float | None) -> float:
    if limit is not None:
        return limit
    finite = np.abs(values[np.isfinite(values)])
    return float(np.clip(np.ceil(np.quantile(finite, 0.98)), 1, 4)) if finite.size else 1.0


def _log2_scale(values: np.ndarray, half: float, unit: str) -> Scale:
    colour = np.clip(values, -half, half)  # NaN stays NaN
    ticks = tuple(float(tick) for tick in range(-int(half), int(half) + 1))
    if "log2" in unit:
        labels = tuple(_sign(tick, half) + f"{tick:+g}" if tick else "0 (same)" for tick in ticks)
    else:
        labels = tuple(_sign(tick, half) + (f"{2.0**tick:g}" if tick >= 0 else f"1/{2.0**-tick:g}") for tick in ticks)
        labels = tuple("1 (even)" if label == "1" else label for label in labels)
    return Scale(colour, -half, half, 0.0, ticks, labels, unit)


def _sign(tick: float, half: float) -> str:
    """Says at both ends that what lies beyond has the same colour."""
    return "≥ " if tick >= half else "≤ " if tick <= -half else ""


def _percent_scale(values: np.ndarray, readable: np.ndarray, unit: str) -> Scale:
    top = float(np.nanmax(readable, initial=0.0)) or 1.0
    ticks = round_ticks(top)
    digits = max(0, -floor(log10(ticks[1])) - 2) if len(ticks) > 1 else 0
    return Scale(values, 0.0, top, None, ticks, tuple(f"{tick:.{digits}%}" for tick in ticks), unit)


def round_ticks(top: float, most: int = 6) -> tuple[float, ...]:
    """Round numbers from 0 up to `top`, in steps of 1, 2 or 5 times a power of ten, at most `most` of them."""
    power = 10.0 ** floor(log10(top))
    step = next(size for size in (power / 10 * base for base in (1, 2, 5, 10, 20, 50, 100)) if top / size < most)
    return tuple(float(round(index * step, 12)) for index in range(int(top / step + 1e-9) + 1))


# ---------------------------------------------------------------------------------------------- labels
def site_labels(sites: Sequence[Site]) -> tuple[str, ...]:
    """Tick labels of sites; the plain layer number where all sites are of one stack and part."""
    if len({(site.stack, site.part) for site in sites}) == 1:
        return tuple(str(site.layer) for site in sites)
    return tuple(site.label for site in sites)


def site_axis(sites: Sequence[Site]) -> str:
    """Title of an axis of sites: "layer", with stack and part where they say something and are the same for all."""
    strands = {(site.stack, site.part) for site in sites}
    if len(strands) > 1:
        return "site"
    stack, part = next(iter(strands))
    words = [word for word, plain in ((stack, "text"), (part, "mlp")) if word != plain]
    return "layer" + (f" ({', '.join(words)})" if words else "")


def thin_ticks(number: int, most: int) -> list[int]:
    """Indices to label, evenly spaced in steps of 1, 2, 5, 10, ..., at most `most` of `number`."""
    step = next(base * 10**power for power in range(9) for base in (1, 2, 5) if number / (base * 10**power) <= most)
    return list(range(0, number, step))


def balance_range(table: BalanceTable) -> list[float] | None:
    """Range of the value axis: up to the natural upper end, down to a round number below the smallest value."""
    measure = BALANCE_MEASURES[table.measure]
    finite = table.values[np.isfinite(table.values)]
    if not finite.size:
        return None
    if measure.upper is not None:
        low = max(0.0, np.floor(finite.min() * 10 - 0.2) / 10)
        return [float(low), measure.upper + 0.03 * (measure.upper - low)]
    top = max(float(finite.max()), float(table.even.max()))
    return [0.0, top * 1.05 or 1.0]


def utilisation_tops(table: UtilisationTable, same_scale: bool) -> np.ndarray:
    """Highest share of each group over its sites, in %, at least the chance level: float64 [G]; one for all if asked."""
    shares = 100 * np.where(np.isnan(table.share), 0.0, table.share)
    tops = np.maximum(shares.max(axis=(0, 2)), 100 * table.chance.max())
    return np.full_like(tops, tops.max()) if same_scale else tops


def site_places(strand: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Places of sites on an axis, with an empty place between strands: int64 [S], and the empty places."""
    jumps = np.concatenate([[0], np.diff(strand) != 0]).astype(np.int64)[: len(strand)]
    places = np.arange(len(strand)) + np.cumsum(jumps)
    return places, [int(place) - 1 for place in places[jumps == 1]]


def n_words(n: np.ndarray) -> str:
    """ "n = 300 tokens" or the range of n over sites, for a title."""
    low, high = (int(n.min()), int(n.max())) if n.size else (0, 0)
    return f"n = {low:,} tokens" if low == high else f"n = {low:,} to {high:,} tokens"


def column_of(table: HeatmapTable) -> str:
    """Words for the measure in a title."""
    return {
        "utilisation": "Load",
        "share": "Share of tokens",
        "mass": "Gate weight",
        "specialisation": "Specialisation",
        "difference": "Difference in load",
    }[table.measure]


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """[start, stop) of every unbroken run of True in a one-dimensional array."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], np.asarray(flags, dtype=bool), [False]]).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]
