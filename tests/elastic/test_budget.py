"""Pareto front and budget, against brute force over a small table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from workbench.analysis.curve import EVERY, Curve, curve_table, load_curve, make_curve, pareto_front
from workbench.capture.errors import CaptureError
from workbench.elastic.budget import best_within, parse_count, parse_size, sentence
from workbench.elastic.errors import BudgetError


def curve_of(loss: np.ndarray, cost: np.ndarray, tokens: np.ndarray | None = None) -> Curve:
    """A curve of P sub-models with loss [P, D] a document and a cost [P] in every column."""
    tokens = np.full(loss.shape[1], 100) if tokens is None else tokens
    rows: list[dict[str, Any]] = []
    documents: list[dict[str, Any]] = []
    for point in range(len(loss)):
        name = f"s{point}"
        value = float((loss[point] * tokens).sum() / tokens.sum())
        rows.append(
            {
                "sub_model": name, "layers": "all", "experts": "all", "top_k": str(point), "full": point == 0,
                "parameters_stored": int(cost[point]), "parameters_active": int(cost[point]), "bytes_stored": int(cost[point]),
                "memory_bytes": None, "decode_ms_p50": float(cost[point]), "decode_ms_low": float(cost[point]) - 1,
                "decode_ms_high": float(cost[point]) + 1, "device": "cpu", "documents": 4, "tokens": 3,
                "quality": [
                    {"group": EVERY, "measure": "loss", "value": value, "low": value - 0.1, "high": value + 0.1, "better": "lower",
                     "documents": len(tokens), "tokens": int(tokens.sum())},
                    {"group": EVERY, "measure": "accuracy", "value": -value, "low": None, "high": None, "better": "higher",
                     "documents": len(tokens), "tokens": int(tokens.sum())},
                ],
            }
        )  # fmt: skip
        documents += [
            {"sub_model": name, "document": f"d{number}", "group": "g", "tokens": int(tokens[number]),
             "loss": float(loss[point, number] * tokens[number]), "right": 0}
            for number in range(loss.shape[1])
        ]  # fmt: skip
    return make_curve(rows, pd.DataFrame(documents))


def test_the_front_by_brute_force() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        count = int(generator.integers(1, 12))
        x, y = generator.integers(0, 5, count).astype(float), generator.integers(0, 5, count).astype(float)
        expected = [
            not any((x[b] <= x[a] and y[b] <= y[a]) and (x[b] < x[a] or y[b] < y[a]) for b in range(count))
            for a in range(count)
        ]
        assert pareto_front(x, y).tolist() == expected


def test_the_choice_by_brute_force() -> None:
    generator = np.random.default_rng(1)
    for trial in range(30):
        loss, cost = generator.random((6, 5)) + 1, generator.permutation(6) * 100.0 + 100
        tokens = generator.integers(1, 50, 5)
        curve = curve_of(loss, cost, tokens)
        limit = float(generator.choice([150, 350, 600]))
        mean = (loss * tokens).sum(axis=1) / tokens.sum()
        inside = [point for point in range(6) if cost[point] <= limit]
        best = min(inside, key=lambda point: mean[point])
        choice = best_within(curve, "bytes_stored", limit, seed=trial)
        assert choice.sub_model == f"s{best}" and choice.candidates == len(inside) and choice.on_front
        assert choice.quality == pytest.approx(mean[best]) and choice.full_quality == pytest.approx(mean[0])
        # Exactly, over all 5^5 draws of five documents.
        every = np.stack(np.meshgrid(*[range(5)] * 5, indexing="ij"), axis=-1).reshape(-1, 5)
        sums, total = (loss * tokens)[inside][:, every].sum(axis=2), tokens[every].sum(axis=1)
        exact = (sums / total).argmin(axis=0)
        assert choice.sure == pytest.approx((exact == inside.index(best)).mean(), abs=0.05)
        if len(inside) == 1:
            assert choice.sure == 1 and choice.runner_up is None


def test_of_equal_ones_the_cheapest() -> None:
    curve = curve_of(np.array([[1.0, 2.0], [1.0, 2.0], [3.0, 3.0]]), np.array([300.0, 200.0, 100.0]))
    choice = best_within(curve, "parameters_active", 300)
    assert choice.sub_model == "s1" and choice.sure == 1
    table = curve_table(curve, "parameters_active")
    assert table.front.tolist() == [False, True, True]


def test_milliseconds_at_the_edge_are_said() -> None:
    curve = curve_of(np.array([[1.0, 2.0], [2.0, 2.0]]), np.array([10.0, 5.0]))
    choice = best_within(curve, "decode_ms_p50", 10.5)
    assert choice.at_the_edge and "reaches beyond" in sentence(choice)
    assert not best_within(curve, "decode_ms_p50", 12).at_the_edge
    assert best_within(curve, "decode_ms_p50", 12, measure="accuracy").sub_model == "s0"


def test_no_documents_no_claim() -> None:
    curve = curve_of(np.array([[1.0, 2.0], [2.0, 2.0]]), np.array([10.0, 5.0]))
    choice = best_within(Curve(curve.rows, curve.quality, None), "bytes_stored", 20)
    assert choice.sure is None and "no documents to say" in sentence(choice)


def test_what_cannot_be_answered_is_refused(tmp_path: Path) -> None:
    curve = curve_of(np.array([[1.0, 2.0], [2.0, 2.0]]), np.array([10e6, 5e6]))
    with pytest.raises(BudgetError, match=r"the cheapest, 's1', takes 5 MB"):
        best_within(curve, "bytes_stored", 1e6)
    with pytest.raises(BudgetError, match="measured peak memory"):
        best_within(curve, "memory_bytes", 1e6)
    with pytest.raises(CaptureError, match="no 'loss' of the group 'prose'"):
        best_within(curve, "bytes_stored", 1e8, group="prose")
    with pytest.raises(CaptureError, match="no cost 'weight'"):
        curve_table(curve, "weight")
    with pytest.raises(CaptureError, match="there is no curve.parquet"):
        load_curve(tmp_path)
    (tmp_path / "curve.parquet").write_bytes(b"no parquet")
    with pytest.raises(CaptureError, match="cannot be read as a curve"):
        load_curve(tmp_path)
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "curve.parquet")
    with pytest.raises(CaptureError, match="with the column 'sub_model'"):
        load_curve(tmp_path)


def test_sizes_and_counts() -> None:
    assert parse_size("3.5GB") == 3.5e9 and parse_size("2 GiB") == 2 * 2**30 and parse_size("900") == 900
    assert (
        parse_size("900 MB") == 9e8
        and parse_count("1.3B") == 1.3e9
        and parse_count("800M") == 8e8
        and parse_count("12") == 12
    )
    for words in ("", "much", "-3GB", "0", "GB"):
        with pytest.raises(BudgetError):
            parse_size(words)
