"""The curve of a model's sub-models: quality against what each costs, its Pareto front, and how sure a difference is.

A curve is `curve.parquet` (docs/elastic.md names every column), with `documents.parquet` beside it: loss and right
predictions of every document under every sub-model, which intervals and comparisons draw from.

Letters: P sub-models, D documents, R resamples.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from workbench.analysis.intervals import resample_weights
from workbench.capture.errors import CaptureError, reason
from workbench.capture.schema import CURVE_FILE

DOCUMENTS_FILE = "documents.parquet"
TIMES = ("_ms_p50", "_of_full")  # endings of the columns that are times
EVERY = "all inputs"  # the group that pools all groups
RESAMPLES = 1000
REQUIRED = ("sub_model", "layers", "experts", "top_k", "full", "parameters_stored", "parameters_active", "quality")


class Cost(NamedTuple):
    """A column that says what a sub-model costs: its title, unit, divisor to that unit, columns of the interval."""

    title: str
    unit: str
    scale: float
    low: str | None = None
    high: str | None = None


COSTS: dict[str, Cost] = {
    "decode_ms_p50": Cost("Time to write a token", "ms", 1.0, "decode_ms_low", "decode_ms_high"),
    "prefill_ms_p50": Cost("Time to read the prompt", "ms", 1.0, "prefill_ms_low", "prefill_ms_high"),
    "decode_of_full": Cost(
        "Time to write a token", "of the whole model's", 1.0, "decode_of_full_low", "decode_of_full_high"
    ),
    "prefill_of_full": Cost(
        "Time to read the prompt", "of the whole model's", 1.0, "prefill_of_full_low", "prefill_of_full_high"
    ),
    "parameters_active": Cost("Active parameters", "million", 1e6),
    "parameters_stored": Cost("Stored parameters", "million", 1e6),
    "bytes_stored": Cost("Weights", "MB", 1e6),
    "memory_bytes": Cost("Peak memory", "MB", 1e6),
}
MEASURES = {"loss": ("Loss", "nats a token"), "accuracy": ("Next token right", "share of tokens")}
# What the unified model foresees beside text tokens: bits of cells, codes of sounds (workbench/elastic/samples.py).
UNIFIED = "unified_omni"
UNIFIED_UNITS = {
    "Image gen.": ("nats a bit", "share of bits"),
    "Video gen.": ("nats a bit", "share of bits"),
    "Audio": ("nats a code or token", "share of codes and tokens"),
    EVERY: ("nats a prediction", "share of predictions"),
}


@dataclass(frozen=True)
class Curve:
    """A curve, read.

    Attributes:
        rows: a row a sub-model, the columns of the file without `quality`.
        quality: long form: sub_model, group, measure, value, low, high, better, documents, tokens.
        documents: sub_model, document, group, tokens, loss, right; None if the file was not there.
    """

    rows: pd.DataFrame
    quality: pd.DataFrame
    documents: pd.DataFrame | None

    @property
    def groups(self) -> list[str]:
        """Names of the groups, the pooled one first."""
        return list(dict.fromkeys(self.quality["group"]))

    @property
    def measures(self) -> list[str]:
        """What was measured of quality: "loss", "accuracy", and the tasks."""
        return list(dict.fromkeys(self.quality["measure"]))

    @property
    def costs(self) -> list[str]:
        """The columns of `COSTS` of which at least one sub-model has a number."""
        return [name for name in COSTS if name in self.rows and self.rows[name].notna().any()]


def load_curve(path: str | Path) -> Curve:
    """Read a curve.

    Args:
        path: the folder of a sweep, a capture folder with a curve, or the parquet file itself.

    Raises:
        CaptureError: if there is none, or it is no curve.
    """
    import pyarrow.parquet as pq

    path = Path(path)
    file = path / CURVE_FILE if path.is_dir() else path
    if not file.is_file():
        raise CaptureError(
            f"A curve was expected at '{path}', but there is no {CURVE_FILE}: make one with `workbench sweep`, or name its folder."
        )
    try:
        table = pq.read_table(file)
        beside = file.parent / DOCUMENTS_FILE
        documents = pq.read_table(beside).to_pandas() if beside.is_file() else None
    except Exception as fault:  # pyarrow raises errors of its own, and the system's
        raise CaptureError(f"'{file}' cannot be read as a curve ({reason(fault)}): make it again.") from fault
    return make_curve(table.to_pylist(), documents, str(file))


def make_curve(rows: list[dict[str, Any]], documents: pd.DataFrame | None = None, name: str = "the table") -> Curve:
    """A curve from rows with the columns of the file.

    Raises:
        CaptureError: if a column is missing or there is no row.
    """
    missing = [column for column in REQUIRED if not rows or column not in rows[0]]
    if missing:
        raise CaptureError(
            f"A curve has a row a sub-model with the column '{missing[0]}', but {name} has none: make it with `workbench sweep`."
        )
    quality = [{"sub_model": row["sub_model"], **entry} for row in rows for entry in row["quality"]]
    flat = [{column: value for column, value in row.items() if column != "quality"} for row in rows]
    return Curve(pd.DataFrame(flat), pd.DataFrame(quality), documents)


# ------------------------------------------------------------------ one picture
@dataclass(frozen=True)
class CurveTable:
    """Quality against one cost, a point a sub-model that has both.

    Attributes:
        names: words of each sub-model. axes: [P] (layers, experts, top-k) in words.
        depth, experts, chosen: [P] layers kept, experts of a layer kept, experts a token; NaN where not told.
        x, x_low, x_high: cost in `unit`; NaN where there is no interval. y, y_low, y_high: quality.
        front: whether a point is on the Pareto front. full: whether it is the whole model.
        documents, tokens: n behind y.
        cost, measure, group: what is shown. better: "lower" or "higher" y.
        x_title, y_title, caption: words.
    """

    names: list[str]
    axes: list[tuple[str, str, str]]
    depth: np.ndarray
    experts: np.ndarray
    chosen: np.ndarray
    x: np.ndarray
    x_low: np.ndarray
    x_high: np.ndarray
    y: np.ndarray
    y_low: np.ndarray
    y_high: np.ndarray
    front: np.ndarray
    full: np.ndarray
    documents: np.ndarray
    tokens: np.ndarray
    cost: str
    measure: str
    group: str
    better: str
    x_title: str
    y_title: str
    caption: str

    def frame(self) -> pd.DataFrame:
        """Long form, for csv and parquet."""
        layers, experts, top_k = zip(*self.axes, strict=True) if self.axes else ((), (), ())
        return pd.DataFrame(
            {
                "sub_model": self.names, "layers": layers, "experts": experts, "top_k": top_k,
                "depth": self.depth, "experts_kept": self.experts, "experts_a_token": self.chosen,
                "group": self.group, "measure": self.measure, "value": self.y, "value_low": self.y_low, "value_high": self.y_high,
                "cost": self.cost, "cost_value": self.x, "cost_low": self.x_low, "cost_high": self.x_high,
                "pareto_front": self.front, "full": self.full, "documents": self.documents, "tokens": self.tokens,
            }
        )  # fmt: skip


def measure_words(curve: Curve, measure: str, group: str) -> tuple[str, str]:
    """(title, unit) of a measure of quality: what the unified model foresees, and so the unit, is another in each group."""
    if measure in MEASURES and group in UNIFIED_UNITS and set(curve.rows.get("family", [])) == {UNIFIED}:
        return {"loss": "Loss", "accuracy": "Foreseen rightly"}[measure], UNIFIED_UNITS[group][measure != "loss"]
    return MEASURES.get(measure, (measure, "score"))


def curve_table(curve: Curve, cost: str = "parameters_active", group: str = EVERY, measure: str = "loss") -> CurveTable:
    """The points of one picture.

    Args:
        cost: a key of `COSTS`. group: one of `curve.groups`. measure: one of `curve.measures`.

    Raises:
        CaptureError: if the curve has none of these.
    """
    if cost not in COSTS or cost not in curve.rows:
        raise CaptureError(f"The curve has no cost '{cost}': choose one of {', '.join(curve.costs)}.")
    chosen = curve.quality[(curve.quality["group"] == group) & (curve.quality["measure"] == measure)]
    if chosen.empty:
        raise CaptureError(
            f"The curve has no '{measure}' of the group '{group}': choose among {', '.join(curve.groups)} and {', '.join(curve.measures)}."
        )
    own = curve.rows.drop(columns=[name for name in chosen.columns if name in curve.rows and name != "sub_model"])
    both = own.merge(chosen, on="sub_model", how="inner")
    both = both[both[cost].notna() & both["value"].notna()].reset_index(drop=True)
    known, better = COSTS[cost], str(chosen["better"].iloc[0])
    x, y = _floats(both, cost) / known.scale, _floats(both, "value")
    title, unit = measure_words(curve, measure, group)
    return CurveTable(
        names=list(both["sub_model"]),
        axes=list(zip(both["layers"], both["experts"], both["top_k"], strict=True)),
        depth=_floats(both, "depth"),
        experts=_floats(both, "experts_kept"),
        chosen=_floats(both, "experts_a_token"),
        x=x,
        x_low=_floats(both, known.low) / known.scale,
        x_high=_floats(both, known.high) / known.scale,
        y=y,
        y_low=_floats(both, "low"),
        y_high=_floats(both, "high"),
        front=pareto_front(x, y if better == "lower" else -y),
        full=both["full"].to_numpy(dtype=bool),
        documents=_floats(both, "documents"),
        tokens=_floats(both, "tokens"),
        cost=cost,
        measure=measure,
        group=group,
        better=better,
        x_title=f"{known.title} ({known.unit})",
        y_title=f"{title} ({unit})",
        caption=_caption(curve, both, cost, measure, group),
    )


def _floats(frame: pd.DataFrame, column: str | None) -> np.ndarray:
    if column is None or column not in frame:
        return np.full(len(frame), np.nan)
    return frame[column].to_numpy(dtype=np.float64, na_value=np.nan)


def _caption(curve: Curve, both: pd.DataFrame, cost: str, measure: str, group: str) -> str:
    left = len(curve.rows) - len(both)
    documents = int(both["documents"].max()) if len(both) and both["documents"].notna().any() else 0
    device = ", ".join(dict.fromkeys(str(name) for name in both.get("device", []) if name))
    clock = (
        f", cost measured on {device} with weights gathered"
        if cost.endswith((*TIMES, "memory_bytes")) and device
        else ""
    )
    missing = f", {left} sub-models without such a number are not shown" if left else ""
    bars = "over documents, those of times for a further run" if cost.endswith(TIMES) else "over documents"
    return (
        f"Each point is a sub-model cut from the same weights without further training: {measure} on {documents} documents ({group}), bars are 95 % "
        f"intervals {bars}{clock}{missing}; it does not show what training could recover, nor other texts."
    )


def pareto_front(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Which points no other point beats: none is as low in x and y and lower in one of them. [P], [P] -> bool [P]."""
    order = np.lexsort((y, x))
    found = np.zeros(len(x), dtype=bool)
    best, best_x = np.inf, np.nan
    for place in order:
        if y[place] < best or (y[place] == best and x[place] == best_x):
            found[place] = True
            best, best_x = y[place], x[place]
    return found


# ------------------------------------------------------------------ how sure
def document_sums(curve: Curve, names: list[str], group: str, measure: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Sums [P, D] of a measure over each document's tokens, and its tokens [D]; None where the curve does not hold them."""
    column = {"loss": "loss", "accuracy": "right"}.get(measure)
    if curve.documents is None or column is None:
        return None
    rows = curve.documents if group == EVERY else curve.documents[curve.documents["group"] == group]
    sums = rows.pivot_table(index="sub_model", columns="document", values=column, aggfunc="sum", observed=True)
    tokens = rows.pivot_table(index="sub_model", columns="document", values="tokens", aggfunc="sum", observed=True)
    if not set(names) <= set(sums.index):
        return None
    return sums.loc[names].to_numpy(dtype=np.float64), tokens.loc[names[0]].to_numpy(dtype=np.float64)


def draws(sums: np.ndarray, tokens: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Means a token under resampled documents: [P, D], [D] -> [R, P]; the same documents are drawn for every sub-model.

    Documents are drawn, not tokens: those of one document go together (Efron and Tibshirani 1993, chapter 8).
    """
    weights = resample_weights(len(tokens), resamples, seed)
    total = weights @ tokens
    return np.asarray((weights @ sums.T) / np.where(total > 0, total, np.nan)[:, None])


def interval(drawn: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval of draws [R, P] -> two [P]."""
    low, high = np.nanquantile(drawn, ((1 - level) / 2, 1 - (1 - level) / 2), axis=0)
    return low, high
