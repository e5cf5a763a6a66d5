"""The causal table: sets of equal load, intervals and the sentence, against plain loops and made-up losses."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.analysis.causal import (
    LOAD_TOLERANCE,
    Losses,
    causal_table,
    favourites,
    pooled_load,
    sets_of_equal_load,
    verdict,
)
from workbench.capture import CaptureError


def test_favourites_are_those_with_most_choices_or_the_largest_preference() -> None:
    count = np.array([[50, 40, 5, 5], [60, 0, 30, 10]])
    assert favourites(count, 0.25).tolist() == [[True, False, False, False], [True, False, False, False]]
    # Expert 1 is group 0's alone; group 1 prefers 2 (30 against 5) over 3 (10 against 5).
    assert favourites(count, 0.25, "preferred").tolist() == [[False, True, False, False], [False, False, True, False]]
    assert favourites(count, 0.5, "preferred", np.array([True, False, True, True])).sum(axis=1).tolist() == [2, 2]
    assert favourites(count[:1], 0.25, "preferred").tolist() == [[True, False, False, False]]
    with pytest.raises(CaptureError, match="used or preferred"):
        favourites(count, 0.25, "loved")


def test_groups_weigh_the_same_in_the_load() -> None:
    count = np.array([[90, 10], [1, 1], [0, 0]])
    np.testing.assert_allclose(pooled_load(count), [(0.9 + 0.5) / 2, (0.1 + 0.5) / 2])
    assert pooled_load(np.zeros((2, 3))).tolist() == [0, 0, 0]


def test_random_sets_have_the_size_and_the_load_and_differ() -> None:
    random = np.random.default_rng(0)
    load = random.dirichlet(np.full(32, 0.5))
    mask = np.arange(32) < 30
    target = np.sort(load[:30])[-8:].sum() * 0.8
    sets = sets_of_equal_load(load, 8, target, 20, random, mask)
    assert sets.sum(axis=1).tolist() == [8] * 20 and not sets[:, 30:].any()
    assert np.abs(sets @ load - target).max() <= LOAD_TOLERANCE
    assert len({tuple(one) for one in sets.tolist()}) > 10, "many sets, not one again and again"
    again = sets_of_equal_load(load, 8, target, 20, np.random.default_rng(1), mask)
    assert (again == sets_of_equal_load(load, 8, target, 20, np.random.default_rng(1), mask)).all()
    with pytest.raises(CaptureError, match="there are 30"):
        sets_of_equal_load(load, 31, 0.5, 1, random, mask)


def test_every_expert_is_drawn_alike_where_loads_are_even() -> None:
    load = np.full(8, 1 / 8)
    sets = sets_of_equal_load(load, 2, 0.25, 4000, np.random.default_rng(0))
    np.testing.assert_allclose(sets.mean(axis=0), 0.25, atol=0.03)


def made(hurt: float, documents: int = 12, draws: int = 4, seed: int = 0) -> Losses:
    """Two groups; muting a group's own experts costs `hurt` nats a token more than random experts do (0.2)."""
    random = np.random.default_rng(seed)
    cells = tuple((f"{group}{number}", group) for group in ("x", "y") for number in range(documents))
    tokens = random.integers(50, 150, size=len(cells))
    full = tokens * random.normal(3.0, 0.3, size=len(cells))
    own = np.array([[0.2 + (hurt if group == row else 0.0) for _, group in cells] for row in ("x", "y")])
    changed = full + tokens * (own + random.normal(0, 0.05, size=own.shape))
    noise = random.normal(0, 0.05, size=(2, draws, len(cells)))
    return Losses(
        ("x", "y"),
        cells,
        tokens,
        full,
        changed,
        full + tokens * (0.2 + noise),
        np.full(2, 0.4),
        np.full((2, draws), 0.41),
    )


def test_values_are_sums_over_tokens_and_intervals_those_of_a_plain_loop() -> None:
    losses = made(0.3)
    table = causal_table(losses, resamples=4000, seed=3)
    inside = np.array([group == "x" for _, group in losses.cells])
    delta, n = (losses.changed[0] - losses.full)[inside], losses.tokens[inside]
    assert table.change.value[0, 0] == pytest.approx(delta.sum() / n.sum())
    assert table.full[0] == pytest.approx(losses.full[inside].sum() / n.sum())
    random = np.random.default_rng(99)
    loop, excess = [], []
    for _ in range(4000):
        at = random.integers(len(n), size=len(n))
        draw = random.integers(4, size=4)
        loop.append(delta[at].sum() / n[at].sum())
        other = np.mean([(losses.random[0, k] - losses.full)[inside][at].sum() / n[at].sum() for k in draw])
        excess.append(loop[-1] - other)
    np.testing.assert_allclose(
        [table.change.low[0, 0], table.change.high[0, 0]], np.quantile(loop, [0.025, 0.975]), atol=0.004
    )
    np.testing.assert_allclose(
        [table.excess.low[0, 0], table.excess.high[0, 0]], np.quantile(excess, [0.025, 0.975]), atol=0.006
    )
    frame = table.frame()
    assert len(frame) == 4 and frame["own_group"].sum() == 2
    row = frame[(frame["muted"] == "y") & (frame["group"] == "x")].iloc[0]
    assert row["change"] == table.change.value[1, 0] and row["n_documents"] == 12 and row["draws"] == 4


def test_the_sentence_says_hurts_or_does_not() -> None:
    yes, no = causal_table(made(0.3)), causal_table(made(0.0))
    assert yes.hurts(0) and yes.hurts(1)
    assert "hurts every group more than muting random experts of equal load" in verdict(yes)
    assert no.hurts(0) is False and "does not hurt it more" in verdict(no)
    assert "95% interval" in verdict(yes) and "4 random sets each, 24 documents" in verdict(yes)
    assert "chosen on the same documents" in verdict(causal_table(made(0.3), separate=False))
    mixed = made(0.3)
    mixed.changed[1] = made(0.0).changed[1]
    assert "1 of 2 groups" in verdict(causal_table(mixed)) and "for y it does not" in verdict(causal_table(mixed))


def test_the_claim_is_rarely_made_where_nothing_is() -> None:
    """Without an effect a group is said to be hurt in about 2.5 % of the cases (one side of a 95 % interval), by documents few."""
    said = [causal_table(made(0.0, documents=20, draws=8, seed=seed), resamples=200).hurts(0) for seed in range(200)]
    assert np.mean([bool(one) for one in said]) < 0.08


def test_no_interval_without_documents_or_draws() -> None:
    single = causal_table(made(0.3, documents=1))
    assert np.isnan(single.change.low).all() and single.hurts(0) is None and "cannot be said" in verdict(single)
    undrawn = made(0.3, draws=0)
    table = causal_table(undrawn)
    assert np.isnan(table.random.value).all() and not np.isnan(table.change.low).any() and table.hurts(0) is None
    assert np.isnan(causal_table(made(0.3, draws=1)).excess.low).all(), "one draw says nothing of other draws"
    with pytest.raises(CaptureError, match="at least 20 resamples"):
        causal_table(made(0.3), resamples=3)
