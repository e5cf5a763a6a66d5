"""Measures over token rows against a count in plain Python loops."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from tests.capture_factory import make_capture
from workbench.analysis.affinity import affinity_table, mutual_information
from workbench.analysis.concentration import concentration_table, rank_table
from workbench.analysis.frequency import frequency_table, within_id_shares
from workbench.analysis.repetition import repetition_table
from workbench.analysis.saturation import saturation_table
from workbench.analysis.vocabulary import vocabulary_table
from workbench.capture import Capture, CaptureError

TOKENS = 160


@pytest.fixture(scope="module")
def capture() -> Capture:
    return make_capture(3, 8, 2, TOKENS, 2, dropped_share=0.05)


def rows_of(capture: Capture) -> list[dict]:
    table = capture.tokens["text"]  # type: ignore[index]
    return sorted(table.to_pylist(), key=lambda row: (row["document"], row["position"]))


def kept(row: dict, site: str) -> list[int]:
    return [int(expert) for expert in row[f"experts_{site}"] if expert >= 0]


def test_saturation(capture: Capture) -> None:
    other = make_capture(3, 8, 2, TOKENS, 2, seed=9)
    table = saturation_table([other, capture], capture, names=("early", "late"))
    site, group = capture.sites[1].id, capture.groups[0]
    shares = [
        len(set(kept(a, site)) & set(kept(b, site))) / 2
        for a, b in zip(rows_of(other), rows_of(capture), strict=True)
        if a["group"] == group and kept(a, site) and kept(b, site)
    ]
    assert table.value[0, 1, 0] == pytest.approx(np.mean(shares))
    assert table.n[0, 1, 0] == len(shares)
    assert table.low[0, 1, 0] < table.value[0, 1, 0] < table.high[0, 1, 0]
    assert abs(table.chance[0, 1, 0] - table.value[0, 1, 0]) < 0.1  # unrelated draws
    assert len(table.frame()) == 2 * 3 * 2


def test_saturation_refuses_other_tokens_and_shapes(capture: Capture) -> None:
    with pytest.raises(CaptureError, match="no token in common|differ at the same place"):
        saturation_table([make_capture(3, 8, ["a", "b"], TOKENS)], capture)
    with pytest.raises(CaptureError, match="has 8 experts"):
        saturation_table([make_capture(3, 16, 2, TOKENS)], capture)
    with pytest.raises(CaptureError, match="no token rows"):
        saturation_table([make_capture(3, 8, 2, TOKENS, token_rows=False)], capture)


def test_repetition(capture: Capture) -> None:
    site, group = capture.sites[0].id, capture.groups[1]
    table = repetition_table(capture)
    first, share, left, right = [], [], [], []
    for a, b in pairwise(rows_of(capture)):
        one, two = kept(a, site), kept(b, site)
        if a["document"] == b["document"] and a["group"] == b["group"] == group and one and two:
            first.append(one[0] == two[0])
            share.append(len(set(one) & set(two)))
            left.append(one)
            right.append(two)
    assert table.n[0, 1] == len(first)
    assert table.first[0, 1] == pytest.approx(np.mean(first))
    assert table.shared[0, 1] == pytest.approx(np.mean(share) / 2)
    assert table.any[0, 1] == pytest.approx(np.mean([value > 0 for value in share]))
    every = [(a, b) for a in left for b in right]
    assert table.first_chance[0, 1] == pytest.approx(np.mean([a[0] == b[0] for a, b in every]))
    assert table.shared_chance[0, 1] == pytest.approx(np.mean([len(set(a) & set(b)) for a, b in every]) / 2)
    assert table.any_chance[0, 1] == pytest.approx(np.mean([bool(set(a) & set(b)) for a, b in every]), abs=0.006)


def test_affinity(capture: Capture) -> None:
    here, after = capture.sites[0].id, capture.sites[1].id
    table = affinity_table(capture, here)
    expected = np.zeros((8, 8), dtype=int)
    for row in rows_of(capture):
        for i in kept(row, here):
            for j in kept(row, after):
                expected[i, j] += 1
    assert np.array_equal(table.pairs, expected)
    assert (table.site.id, table.after.id) == (here, after)
    chose = sum(3 in kept(row, here) and bool(kept(row, after)) for row in rows_of(capture))
    assert table.conditional[3, 5] == pytest.approx(expected[3, 5] / chose)
    with pytest.raises(CaptureError, match="last of its stack"):
        affinity_table(capture, capture.sites[2].id)


def test_mutual_information_of_known_tables() -> None:
    assert mutual_information(np.eye(4)) == pytest.approx(2.0)
    assert mutual_information(np.ones((4, 4))) == pytest.approx(0.0)


def test_concentration(capture: Capture) -> None:
    site, group = capture.sites[2].id, capture.groups[0]
    shares, spreads = [], []
    for row in rows_of(capture):
        weights = [float(w) for w, e in zip(row[f"weights_{site}"], row[f"experts_{site}"], strict=True) if e >= 0]
        if row["group"] == group and sum(weights) > 0:
            part = [w / sum(weights) for w in weights]
            shares.append(max(part))
            spreads.append(-sum(p * math.log(p) for p in part if p > 0))
    table = concentration_table(capture)
    assert table.first_share[2, 0] == pytest.approx(np.mean(shares), abs=1e-4)
    assert table.effective[2, 0] == pytest.approx(np.mean(np.exp(spreads)), abs=1e-4)
    assert table.entropy[2, 0] == pytest.approx(np.mean(spreads) / math.log(2), abs=1e-4)


def test_ranks(capture: Capture) -> None:
    site = capture.sites[0].id
    table = rank_table(capture, site)
    expected = sum(row[f"experts_{site}"][1] == 4 for row in rows_of(capture) if row["group"] == capture.groups[1])
    assert table.count[1, 1, 4] == expected
    assert np.array_equal(table.count.sum(axis=1), capture.count[0])


@pytest.mark.parametrize("by", ["input", "next"])
def test_vocabulary(capture: Capture, by: str) -> None:
    site = capture.sites[0].id
    rows = rows_of(capture)
    seen: dict[int, list[list[int]]] = {}
    for index, row in enumerate(rows):
        if by == "next":
            follows = index + 1 < len(rows) and rows[index + 1]["document"] == row["document"]
            token = rows[index + 1]["token_id"] if follows else None
        else:
            token = row["token_id"]
        if token is not None and kept(row, site):
            seen.setdefault(token, []).append(kept(row, site))
    often = {token: lists for token, lists in seen.items() if len(lists) >= 10}
    best = [max(sum(e in one for one in lists) / len(lists) for e in range(8)) for lists in often.values()]
    table = vocabulary_table(capture, by=by)  # type: ignore[arg-type]
    assert table.ids[0] == len(often)
    assert table.value[0] == pytest.approx(np.mean(best))
    assert table.top["share"].iloc[0] == pytest.approx(max(best))
    with pytest.raises(CaptureError, match="predicted id"):
        vocabulary_table(capture, by="predicted")


def test_within_id_shares_by_hand() -> None:
    # id 0: group 0 twice, group 1 once; id 1: group 0 once, group 1 three times -> weights 1 and 1
    ids = np.array([[0], [1], [2], [2], [0], [0], [1]])
    token = np.array([0, 0, 0, 1, 1, 1, 1])
    label = np.array([0, 0, 1, 0, 1, 1, 1])
    got = within_id_shares(ids, token, label, 3)
    assert got[0] == pytest.approx([0.5, 0.5, 1.0])
    assert got[1] == pytest.approx([2 / 3, 1 / 3, 1.0])


def test_frequency_control_removes_what_only_words_explain() -> None:
    import pyarrow as pa

    base = make_capture(1, 8, 2, 1000, 1, logits=np.zeros((1, 2, 8)), coactivation=False)
    table = base.tokens["text"]  # type: ignore[index]
    random = np.random.default_rng(0)
    first = np.array([group == base.groups[0] for group in table["group"].to_pylist()])
    token = np.where(random.random(len(first)) < np.where(first, 0.8, 0.2), 0, 1)  # groups differ in their words only
    expert = np.where(random.random(len(first)) < 0.9, token, 1 - token)  # and the expert hangs on the word only
    site = base.sites[0].id
    table = table.set_column(table.column_names.index("token_id"), "token_id", pa.array(token, pa.int32()))
    name = f"experts_{site}"
    table = table.set_column(
        table.column_names.index(name), name, pa.array([[int(e)] for e in expert], pa.list_(pa.int16()))
    )
    load = {key: base.table(key).values for key in ("count", "mass", "tokens", "dropped", "skipped")}
    got = frequency_table(Capture(base.manifest, load, tokens={"text": table}), draws=50)
    assert got.divergence_raw[0, 0] > 0.1
    assert got.divergence_within[0, 0] < 0.01
    assert got.p[0, 0] > 0.02
    assert got.shared_ids[0, 0] == 2
