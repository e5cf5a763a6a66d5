"""Findings of a sweep to the rows of `curve.parquet`, and to `documents.parquet` beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.analysis.curve import DOCUMENTS_FILE, EVERY, draws, interval
from workbench.capture.schema import CURVE_FILE
from workbench.capture.write import whole_file
from workbench.elastic.journal import Found, kept_error
from workbench.elastic.latency import LatencyOptions, Quantiles, quantiles, shares
from workbench.elastic.points import FULL, Point
from workbench.elastic.texts import Texts

if TYPE_CHECKING:
    import pyarrow as pa

    from probes import SubModel


@dataclass(frozen=True)
class About:
    """What is the same for all rows of a curve.

    Attributes:
        model, revision, family, device, dtype: of the model.
        software: names and versions.
        latency: how was timed.
        created: ISO 8601.
        seed: of the resampling.
    """

    model: str
    revision: str | None
    family: str
    device: str
    dtype: str
    software: str
    latency: LatencyOptions
    created: str
    seed: int = 0


def rows_of(
    points: Sequence[Point], costs: Mapping[str, Any], texts: Texts, found: Found, about: About
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(rows of the curve, rows of the documents) for the sub-models whose losses are known on all batches."""
    whole = [point for point in points if len(found.losses.get(point.key, {})) == len(texts.batches)]
    rows: list[dict[str, Any]] = []
    documents: list[dict[str, Any]] = []
    for point in whole:
        loss, right = _sums(found, point.key, texts)
        rows.append(
            {
                **_axes(point, costs[point.key]),
                **_overall(loss, right, texts, about.seed),
                "quality": [*_quality(loss, right, texts, about.seed), *_tasks(found, point.key)],
                **_speed(found, point.key, about),
                "model": about.model, "revision": about.revision, "family": about.family,
                "device": about.device, "dtype": about.dtype, "software": about.software, "created": about.created,
                "capture": found.captures.get(point.key),
            }
        )  # fmt: skip
        documents += [
            {"sub_model": point.key, "document": document, "group": group, "tokens": int(texts.tokens[cell]),
             "loss": float(loss[cell]), "right": float(right[cell])}
            for cell, (document, group) in enumerate(texts.cells)
        ]  # fmt: skip
    return rows, documents


def _sums(found: Found, key: str, texts: Texts) -> tuple[np.ndarray, np.ndarray]:
    loss, right = np.zeros(len(texts.cells)), np.zeros(len(texts.cells))
    for cells, losses, rights in found.losses[key].values():
        loss[cells] += losses
        right[cells] += rights
    return loss, right


def exact(point: Point) -> SubModel:
    """The same sub-model with every layer and expert by number, so that it needs no ranking any more."""
    from probes import SubModel

    plan = point.plan
    return SubModel(layers=dict(plan.layers), experts=dict(plan.experts), top_k=dict(plan.top_k))


def _axes(point: Point, cost: Any) -> dict[str, Any]:
    layers = next(iter(point.plan.layers.values()), ())
    sizes = [len(experts) for experts in point.plan.experts.values()]
    return {
        "sub_model": point.key,
        "layers": point.layers,
        "experts": point.experts,
        "top_k": point.top_k,
        "full": point.full,
        "exact": exact(point).to_json(),
        "layers_kept": list(layers),
        "depth": len(layers),
        "experts_kept": max(sizes, default=0),
        "experts_a_token": max(point.plan.top_k.values(), default=0),
        "parameters_stored": cost.parameters_stored,
        "parameters_active": cost.parameters_active,
        "bytes_stored": cost.bytes_stored,
        "share_stored": cost.share_stored,
    }


def _overall(loss: np.ndarray, right: np.ndarray, texts: Texts, seed: int) -> dict[str, Any]:
    entries = {entry["measure"]: entry for entry in _quality(loss, right, texts, seed) if entry["group"] == EVERY}
    found: dict[str, Any] = {}
    for measure, entry in entries.items():
        found |= {measure: entry["value"], f"{measure}_low": entry["low"], f"{measure}_high": entry["high"]}
    return {**found, "documents": texts.documents, "tokens": int(texts.tokens.sum())}


def _quality(loss: np.ndarray, right: np.ndarray, texts: Texts, seed: int) -> list[dict[str, Any]]:
    """Loss and accuracy of every group, the pooled one first, with 95 % intervals over documents."""
    names = sorted({document for document, _ in texts.cells})
    number = {name: place for place, name in enumerate(names)}
    found = []
    for group in (EVERY, *texts.groups):
        cells = [cell for cell, (_, own) in enumerate(texts.cells) if group in (EVERY, own)]
        owner = np.array([number[texts.cells[cell][0]] for cell in cells])
        tokens = np.bincount(owner, texts.tokens[cells], len(names))
        kept = tokens > 0
        for measure, sums, better in (("loss", loss, "lower"), ("accuracy", right, "higher")):
            total = np.bincount(owner, sums[cells], len(names))
            low = high = None
            if kept.sum() > 1:
                ends = interval(draws(total[None, kept], tokens[kept], seed=seed))
                low, high = float(ends[0][0]), float(ends[1][0])
            found.append(
                {"group": group, "measure": measure, "value": float(total.sum() / tokens.sum()), "low": low, "high": high,
                 "better": better, "documents": int(kept.sum()), "tokens": int(tokens.sum())}
            )  # fmt: skip
    return found


def _tasks(found: Found, key: str) -> list[dict[str, Any]]:
    return [entry for measures in found.tasks.get(key, {}).values() for entry in measures]


def _speed(found: Found, key: str, about: About) -> dict[str, Any]:
    """Latency and memory, measured on gathered weights; nothing but the reason where they were not gathered."""
    options = about.latency
    timings, whole = found.timings.get(key, {}), found.timings.get(FULL, {})
    prefill = quantiles([[one] for _, (one, _) in sorted(timings.items())])
    decode = quantiles([many for _, (_, many) in sorted(timings.items())])
    memory = found.memory.get(key)
    of_full = {name: shares(_samples(timings, name), _samples(whole, name)) for name in ("prefill", "decode")}
    reason = found.masked.get(key)
    gathered = reason is None and (bool(timings) or memory is not None)
    if reason is None and not gathered:
        reason = "latency was not asked for" if not options.rounds else "not measured yet"
    return {
        "measured": "gathered" if gathered else "masked",
        "masked_because": None if gathered else reason,
        **_named("prefill_ms", prefill if gathered else None),
        **_named("decode_ms", decode if gathered else None),
        **{
            f"{name}_of_full{part}": value
            for name, share in of_full.items()
            for part, value in _ends(share if gathered else None)
        },
        "prefill_tokens_a_second": options.batch * options.length / prefill.p50 * 1e3 if gathered and prefill else None,
        "decode_tokens_a_second": options.batch / decode.p50 * 1e3 if gathered and decode else None,
        "memory_bytes": memory["weights"] + memory["other"] if gathered and memory else None,
        "memory_weights": memory["weights"] if gathered and memory else None,
        "memory_by": memory["how"] if gathered and memory else None,
        "latency_batch": options.batch,
        "latency_length": options.length,
        "latency_rounds": len(timings) if gathered else 0,
    }


def _samples(timings: Mapping[int, tuple[float, list[float]]], name: str) -> dict[int, list[float]]:
    """Round -> milliseconds of the prefill, or of the decode steps."""
    return {number: [prefill] if name == "prefill" else decode for number, (prefill, decode) in timings.items()}


def _ends(found: Quantiles | None) -> list[tuple[str, float | None]]:
    """Endings of the columns of a median with its interval."""
    low, high = (found.low, found.high) if found and not np.isnan(found.low) else (None, None)
    return [("", found.p50 if found else None), ("_low", low), ("_high", high)]


def _named(name: str, found: Quantiles | None) -> dict[str, Any]:
    return {
        f"{name}_p50": found.p50 if found else None,
        f"{name}_p90": found.p90 if found else None,
        f"{name}_low": found.low if found and not np.isnan(found.low) else None,
        f"{name}_high": found.high if found and not np.isnan(found.high) else None,
        f"{name}_n": found.n if found else 0,
    }


def schema() -> pa.Schema:
    """Columns of `curve.parquet`; the same whether or not a number is there."""
    import pyarrow as pa

    quality = pa.struct(
        [("group", pa.string()), ("measure", pa.string()), ("value", pa.float64()), ("low", pa.float64()), ("high", pa.float64()),
         ("better", pa.string()), ("documents", pa.int64()), ("tokens", pa.int64())]
    )  # fmt: skip
    text, whole, real = pa.string(), pa.int64(), pa.float64()
    speed = [(f"{name}_ms_{part}", real) for name in ("prefill", "decode") for part in ("p50", "p90", "low", "high")]
    return pa.schema(
        [
            *((name, text) for name in ("sub_model", "layers", "experts", "top_k")),
            ("full", pa.bool_()),
            ("exact", text), ("layers_kept", pa.list_(pa.int32())),
            *((name, whole) for name in ("depth", "experts_kept", "experts_a_token", "parameters_stored", "parameters_active", "bytes_stored")),
            ("share_stored", real),
            *((name, real) for name in ("loss", "loss_low", "loss_high", "accuracy", "accuracy_low", "accuracy_high")),
            ("documents", whole), ("tokens", whole), ("quality", pa.list_(quality)),
            ("measured", text), ("masked_because", text),
            *speed, ("prefill_ms_n", whole), ("decode_ms_n", whole),
            *((f"{name}_of_full{part}", real) for name in ("prefill", "decode") for part in ("", "_low", "_high")),
            ("prefill_tokens_a_second", real), ("decode_tokens_a_second", real),
            ("memory_bytes", whole), ("memory_weights", whole), ("memory_by", text),
            *((name, whole) for name in ("latency_batch", "latency_length", "latency_rounds")),
            *((name, text) for name in ("model", "revision", "family", "device", "dtype", "software", "created", "capture")),
        ]
    )  # fmt: skip


def write_curve(folder: Path, rows: Sequence[dict[str, Any]], documents: Sequence[dict[str, Any]]) -> Path:
    """Write both files, each in one step.

    Raises:
        CaptureError: if the disk is full; what stood there is then still there.
    """
    import pyarrow as pa

    _replace(folder / DOCUMENTS_FILE, pa.Table.from_pylist(list(documents)))
    return _replace(folder / CURVE_FILE, pa.Table.from_pylist(list(rows), schema=schema()))


def _replace(file: Path, table: pa.Table) -> Path:
    import pyarrow.parquet as pq

    try:
        with whole_file(file) as temporary:
            pq.write_table(table, temporary, compression="zstd")
    except OSError as fault:
        raise kept_error(fault, file.parent) from fault
    return file
