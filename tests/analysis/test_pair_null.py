"""The null of co-activation, rotated labels and one-sentence summaries against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from tests.capture_factory import make_capture
from workbench.analysis.load import BALANCE_MEASURES, corrected_entropy, normalised_entropy
from workbench.analysis.nulls import rotated_counts
from workbench.analysis.pair_null import pair_band, quasi_independence
from workbench.analysis.pvalues import sign_pvalues
from workbench.analysis.significance import significance_table
from workbench.capture import CaptureError


def test_quasi_independence_keeps_row_sums_and_finds_what_made_the_table() -> None:
    made = np.array([3.0, 1.0, 0.5, 2.0, 0.0, 1.5])
    table = np.outer(made, made) * ~np.eye(6, dtype=bool)
    found = quasi_independence(table.sum(axis=1))
    assert found == pytest.approx(made, abs=1e-6)
    lopsided = quasi_independence(np.array([5.0, 4.0, 3.0]))
    assert (np.outer(lopsided, lopsided) * ~np.eye(3, dtype=bool)).sum(axis=1) == pytest.approx([5, 4, 3], abs=1e-3)


def test_pairs_without_affinity_are_not_marked_and_planted_ones_are() -> None:
    random = make_capture(1, 12, 2, 3000, 2, seed=4, logits=np.zeros((1, 2, 12)) + np.linspace(0, 1, 12))
    assert (
        int(np.triu(pair_band(random, "text_0_mlp").significant).sum()) <= 3
    )  # of 66, at a false-discovery rate of .05
    logits = np.full((1, 2, 12), 0.0)
    logits[0, 0, :2], logits[0, 1, 2:4] = 3.0, 3.0  # each group holds two experts that go together
    planted = pair_band(make_capture(1, 12, 2, 3000, 2, seed=4, logits=logits), "text_0_mlp")
    assert planted.significant[0, 1] and planted.ratio[0, 1] > 0 and planted.low[0, 1] > 0
    assert planted.significant[0, 2] and planted.ratio[0, 2] < 0
    assert "go together more" in planted.summary() and len(planted.frame()) == 66


def test_pair_band_counts_tokens_that_chose_both() -> None:
    capture = make_capture(1, 6, 2, 400, 3, seed=1)
    square = capture.coactivation
    assert square is not None
    got = pair_band(capture, "text_0_mlp")
    off = ~np.eye(6, dtype=bool)
    pairs = square[0] * off
    assert np.nansum(got.expected, axis=1) == pytest.approx(pairs.sum(axis=1), rel=1e-3)
    assert got.ratio[off] == pytest.approx(np.log2((pairs + 0.5) / (got.expected + 0.5))[off])
    with pytest.raises(CaptureError, match="token rows"):
        pair_band(make_capture(1, 6, 2, 400, 3, token_rows=False), "text_0_mlp")


@pytest.mark.parametrize("tokens", [1, 2, 37])
def test_rotated_labels_by_a_loop(tokens: int) -> None:
    random = np.random.default_rng(tokens)
    ids, label = random.integers(0, 9, size=(tokens, 3)), random.random(tokens) < 0.4  # 8 stands for none
    for shift, got in enumerate(rotated_counts(ids, label, 8)):
        expected = [0] * 8
        for token in range(tokens):
            if label[(token + shift) % tokens]:
                for expert in ids[token]:
                    if expert < 8:
                        expected[expert] += 1
        assert got.tolist() == expected


def test_sign_pvalues_by_hand() -> None:
    draws = np.array([[1.0, -1, np.nan], [2.0, 1, np.nan], [3.0, 2, np.nan], [4.0, 3, np.nan]])
    got = sign_pvalues(draws)
    assert got[:2].tolist() == pytest.approx([2 * 1 / 5, 2 * 2 / 5]) and np.isnan(got[2])


def test_corrected_entropy_is_a_balance_measure_less_biased_than_the_plain_one() -> None:
    assert "corrected entropy" in BALANCE_MEASURES
    random = np.random.default_rng(0)
    draws = random.multinomial(60, np.full(32, 1 / 32), size=400)  # even, few tokens: the truth is 1
    plain, better = normalised_entropy(draws).mean(), corrected_entropy(draws).mean()
    assert plain < 0.93 < better <= 1.0


def test_summary_says_how_many_and_what_not() -> None:
    same = significance_table(make_capture(2, 8, 2, 800, logits=np.zeros((2, 2, 8))), "IoU", resamples=50, draws=200)
    assert same.null is not None and same.null.name == "labels" and "no more than chance" in same.summary()
    logits = np.zeros((2, 3, 8))
    logits[:, 0, :2] = 3.0
    other = significance_table(make_capture(2, 8, 3, 1200, logits=logits), "utilisation", resamples=50, draws=200)
    said = other.summary([0])
    assert "groups differ" in said and "not shown by this" in said and "of 16 cells" in said
    assert "No null is drawn" in significance_table(make_capture(2, 8, 2, 800), null=None, resamples=50).summary()
