"""Intervals, nulls and p-values against brute force, and their calibration on routing drawn at random (seeded)."""

from __future__ import annotations

import numpy as np
import pytest

from tests.capture_factory import make_capture, make_logits, make_sites
from workbench.analysis.block_counts import Stopped, block_counts
from workbench.analysis.intervals import average_ranks, bootstrap, resample_weights, split_half
from workbench.analysis.iou_curve import iou_curve, iou_curve_table
from workbench.analysis.load import normalised_entropy
from workbench.analysis.nulls import fixed_load_null, label_null
from workbench.analysis.overlap import iou, overlap_table, top_experts
from workbench.analysis.pvalues import benjamini_hochberg, draw_pvalues
from workbench.analysis.significance import significance_table, verdict
from workbench.analysis.statistics import pair_divergence, statistic, top_sets
from workbench.analysis.untrained import untrained_null
from workbench.capture import Capture, CaptureError

EVEN = np.zeros((1, 2, 8))  # logits [S, G, E]: routing at random, the same for both groups


def random_capture(seed: int, tokens: int = 500, **more: object) -> Capture:
    return make_capture(1, 8, 2, tokens, 2, seed=seed, logits=EVEN, coactivation=False, **more)  # type: ignore[arg-type]


def test_top_sets_are_those_of_the_sorting_version() -> None:
    random = np.random.default_rng(0)
    count = random.integers(0, 4, size=(200, 3, 12))  # many ties and zeros
    mask = np.arange(12) < np.array([12, 9, 1])[:, None]
    for q in (0.1, 0.25, 0.5, 1.0):
        assert np.array_equal(top_sets(count, q, mask), top_experts(count, q, mask))


def test_pair_statistics_by_hand() -> None:
    count = np.array([[[4.0, 4, 0, 0], [0, 0, 4, 4], [4, 4, 0, 0]]])
    mask = np.ones((1, 1, 4), dtype=bool)
    assert pair_divergence(count, mask)[0].tolist() == pytest.approx([1.0, 0.0, 1.0])
    assert statistic("IoU", 0.5).compute(count, mask)[0].tolist() == [0.0, 1.0, 0.0]


def test_bootstrap_is_the_loop_over_resampled_blocks() -> None:
    counts = block_counts(random_capture(3))
    got = bootstrap(counts, statistic("normalised entropy"), resamples=50, method="percentile")
    filled = np.flatnonzero(counts.tokens.any(axis=(1, 2)))
    draws = []
    for weights in resample_weights(len(filled), 50, 0):
        blocks = np.repeat(filled, weights.astype(int))
        draws.append(normalised_entropy(counts.count[blocks].sum(axis=0)))
    assert got.low == pytest.approx(np.quantile(draws, 0.025, axis=0))
    assert got.high == pytest.approx(np.quantile(draws, 0.975, axis=0))
    assert got.value == pytest.approx(normalised_entropy(counts.chosen.count))


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(60):  # utilisation of expert 0 is 1 in truth
        counts = block_counts(random_capture(seed, 1500, token_rows=False))
        got = bootstrap(counts, statistic("utilisation"), resamples=200)
        covered += int(got.low[0, 0, 0] <= 1.0 <= got.high[0, 0, 0])
    assert covered >= 48  # 60 x .95 = 57; P(X < 48) < .0002 at .93


def test_few_blocks_are_refused_or_flagged() -> None:
    with pytest.raises(CaptureError, match="at least two blocks"):
        bootstrap(block_counts(random_capture(0, 50, blocks=1)), statistic("CV"))
    table = significance_table(random_capture(0, 150), null=None, resamples=20)
    assert "few blocks" in table.sentence(0, 0)


def test_effective_blocks_of_unequal_sizes() -> None:
    counts = block_counts(random_capture(1))
    n = counts.tokens[:, 0, 0].astype(float)
    assert counts.effective_blocks[0, 0] == pytest.approx(n.sum() ** 2 / (n**2).sum())


def test_average_ranks_share_ties() -> None:
    assert average_ranks(np.array([3.0, 1, 3, 2])).tolist() == [3.5, 1, 3.5, 2]


def test_split_half_tells_a_clear_preference_from_noise() -> None:
    clear = make_capture(1, 16, 2, 2000, 2, logits=make_logits(1, 2, 16, spread=3.0))
    noise = make_capture(1, 16, 2, 2000, 2, logits=np.zeros((1, 2, 16)))
    assert split_half(clear).rank.min() > 0.9
    assert abs(split_half(noise).rank.mean()) < 0.35
    assert split_half(clear).rank_full == pytest.approx(2 * split_half(clear).rank / (1 + split_half(clear).rank))


def test_pvalues_count_draws() -> None:
    low, high, two = draw_pvalues(np.array(2.0), np.array([1.0, 2.0, 3.0, 4.0]))
    assert (low, high, two) == (3 / 5, 4 / 5, 1.0)


def test_benjamini_hochberg_by_hand() -> None:
    got = benjamini_hochberg(np.array([0.01, np.nan, 0.04, 0.03]))
    assert got[[0, 2, 3]].tolist() == pytest.approx([0.03, 0.04, 0.04])
    assert np.isnan(got[1])


@pytest.mark.parametrize("null", ["fixed load", "rows", "cells", "shared documents"])
@pytest.mark.parametrize("name", ["Jensen-Shannon", "IoU"])
def test_p_is_uniform_when_groups_do_not_matter(null: str, name: str) -> None:
    how, ties, p = statistic(name), np.random.default_rng(1), []
    for seed in range(60):
        capture = random_capture(seed, 250)
        if null == "shared documents":
            capture = shared_documents(capture)
        counts = block_counts(capture)
        if null == "fixed load":
            band = fixed_load_null(counts, how, draws=99, seed=seed, ties=ties)
        else:
            band = label_null(capture, counts, how, draws=99, seed=seed, rows=null != "cells", ties=ties)
            assert ("segments" in band.units) == (null == "shared documents")
        p.append(float(band.p_low.ravel()[0]))
    ordered = np.sort(p)
    distance = np.max(np.abs(ordered - (np.arange(60) + 0.5) / 60))
    assert distance < 0.24  # Kolmogorov-Smirnov at .001 for 60 draws: 1.95 / sqrt(60) = .25


def shared_documents(capture: Capture) -> Capture:
    """The same routing, in documents whose tokens alternate between the groups in runs of ten (rows only)."""
    import pyarrow as pa

    table = capture.tokens["text"]  # type: ignore[index]
    n = table.num_rows
    order = np.random.default_rng(0).permutation(n)
    names = [capture.groups[g] for g in (np.arange(n) // 10) % 2]
    table = table.take(pa.array(order))
    for column, values in (
        ("document", [f"d{index // 50}" for index in range(n)]),
        ("position", np.arange(n, dtype=np.int32) % 50),
        ("group", names),
    ):
        table = table.set_column(table.column_names.index(column), column, pa.array(values))
    load = {name: capture.table(name).values for name in ("count", "mass", "tokens", "dropped", "skipped")}
    return Capture(capture.manifest, load, tokens={"text": table})


@pytest.mark.parametrize("null", ["fixed load", "labels"])
@pytest.mark.parametrize("rows", [True, False])
def test_planted_specialisation_is_found(null: str, rows: bool) -> None:
    logits = EVEN.copy()
    logits[0, 0, :2] = 2.0
    capture = make_capture(1, 8, 2, 1500, 2, logits=logits)
    table = significance_table(capture, "Jensen-Shannon", null=null, rows=rows, draws=200, resamples=50)  # type: ignore[arg-type]
    assert table.significant.all()
    assert "more than chance" in table.sentence(0, 0)


def test_untrained_null_lines_up_or_says_why_not() -> None:
    capture, counts = random_capture(0), block_counts(random_capture(0))
    same = untrained_null(capture, random_capture(0), counts, statistic("IoU"), resamples=50)
    assert same.observed == pytest.approx(same.mean)
    assert same.p.min() == 1.0
    with pytest.raises(CaptureError, match="8 experts in this capture and 16"):
        untrained_null(capture, make_capture(1, 16, 2), counts, statistic("IoU"))
    with pytest.raises(CaptureError, match="no site"):
        untrained_null(capture, make_capture(make_sites(1, 8, first_layer=7), groups=2), counts, statistic("IoU"))
    with pytest.raises(CaptureError, match="none was given"):
        untrained_null(capture, (), counts, statistic("IoU"))


def test_iou_curve_is_the_overlap_at_every_q() -> None:
    capture = make_capture(1, 16, 3, 400)
    table = iou_curve_table(capture, capture.sites[0].id, draws=20)
    for size in (1, 4, 7, 16):
        plain = overlap_table(capture, capture.sites[0].id, q=size / 16)
        assert table.iou[:, size - 1] == pytest.approx(plain.iou[0][table.first, table.second])
        assert table.chance[:, size - 1] == pytest.approx(plain.chance[0][table.first, table.second])
    count = np.array([[3, 0, 1, 0], [0, 2, 1, 0]])  # never chosen experts are in no set
    expected = [iou(*top_experts(count, size / 4)) for size in (1, 2, 3, 4)]
    assert iou_curve(count)[0][0] == pytest.approx(np.array(expected))


@pytest.mark.parametrize("name", ["normalised entropy", "IoU", "utilisation", "specialisation"])
def test_table_has_a_row_for_every_cell(name: str) -> None:
    capture = make_capture(2, 16, 3, 300)
    table = significance_table(capture, name, null="fixed load", resamples=30, draws=30)
    frame = table.frame()
    assert len(frame) == table.value.size
    assert (frame["p"].dropna() > 0).all()
    assert ((table.low <= table.high) | np.isnan(table.low)).all()


def test_cancel_and_bad_choices_are_one_sentence() -> None:
    capture = random_capture(0)
    with pytest.raises(Stopped):
        significance_table(capture, cancelled=lambda: True)
    with pytest.raises(CaptureError, match="not for 'mood'"):
        significance_table(capture, "mood")
    with pytest.raises(CaptureError, match="needs token rows"):
        significance_table(random_capture(0, token_rows=False), null="labels", rows=True, resamples=20)


def test_verdict_words() -> None:
    few = verdict("X", 0.5, (0.4, 0.6), 3, few=True)
    assert "too few" in few
    inside = verdict("X", 0.5, (0.4, 0.6), 900, null=("fixed load", 0.5, 0.4, 0.6), p=0.8, chance=0.5)
    assert "cannot be told" in inside and "holds the 0.50 of two random sets" in inside
    assert "avoid" in verdict("X", 0.05, (0.01, 0.08), 900, chance=0.16)
    assert "no number" in verdict("X", float("nan"), (0.0, 0.0), 0)


def test_iou_curve_finds_planted_pairs_among_many() -> None:
    """Ten pairs, corrected: draws must be many enough that a corrected p can be small at all."""
    logits = np.zeros((1, 5, 20))
    for group in range(5):
        logits[0, group, 4 * group : 4 * group + 4] = 4.0
    apart = make_capture(1, 20, 5, 400, logits=logits)
    table = iou_curve_table(apart, apart.sites[0].id)
    assert "10 of 10 pairs" in table.summary() and "(10 less, 0 more" in table.summary()
    one = np.zeros((1, 5, 20))
    one[0, 0, :4] = 4.0
    single = make_capture(1, 20, 5, 400, logits=one)
    found = iou_curve_table(single, single.sites[0].id)
    raw = np.minimum(1, 2 * np.minimum(found.p_low, found.p_high))
    ranked = raw[np.argsort(raw)] * len(raw) / np.arange(1, len(raw) + 1)
    assert np.sort(found.p_adjusted) == pytest.approx(np.minimum.accumulate(ranked[::-1])[::-1].clip(max=1))
    assert {(int(a), int(b)) for a, b in zip(found.first, found.second, strict=True) if a == 0} == {
        (int(found.first[at]), int(found.second[at])) for at in np.flatnonzero(found.p_adjusted <= 0.05) if found.first[at] == 0
    }  # fmt: skip
