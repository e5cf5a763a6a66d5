"""Exchanges of blocks against every exchange there is, written out."""

from __future__ import annotations

from itertools import combinations, product
from math import comb

import numpy as np
import pytest
from scipy.stats import norm

from workbench.analysis.exchange import TAIL, exchange, exchange_pvalues
from workbench.analysis.nulls import dispersion

BLOCKS, EXPERTS = 6, 4


def sides(seed: int = 0, blocks: tuple[int, int] = (BLOCKS, BLOCKS)) -> list[np.ndarray]:
    """Two captures of one site and one group: int64 [Bk, 1, 1, E], as many choices in each block."""
    random = np.random.default_rng(seed)
    return [random.multinomial(40, [0.4, 0.3, 0.2, 0.1], size=number)[:, None, None] for number in blocks]


def first_load(count: np.ndarray) -> np.ndarray:
    """Share of the first expert, [..., S, G]."""
    return count[..., 0] / count.sum(axis=-1)


def p_of(one: np.ndarray, two: np.ndarray, paired: bool, draws: int) -> np.ndarray:
    places = exchange(one, two, paired, draws, seed=3)
    here, there = places.sums(slice(0, 1))
    gap = first_load(there) - first_load(here)
    return exchange_pvalues(gap[0], gap[1:], places.floor)


def test_same_documents_are_exchanged_by_coins() -> None:
    """All 64 ways to swap six blocks, one by one."""
    one, two = sides()
    share = [first_load(side)[:, 0, 0] for side in (one, two)]
    mine = abs(np.mean(share[1] - share[0]))
    ways = [
        np.mean([(b - a) * sign for a, b, sign in zip(*share, signs, strict=True)])
        for signs in product((1, -1), repeat=BLOCKS)
    ]
    exact = np.mean(np.abs(ways) >= mine - 1e-12)
    assert p_of(one, two, True, 20_000)[0, 0] == pytest.approx(exact, abs=0.01)


def test_other_documents_are_dealt_out_anew() -> None:
    """All 924 ways to take six of twelve blocks."""
    one, two = sides(5)
    pool = first_load(np.concatenate([one, two]))[:, 0, 0]
    mine = abs(pool[BLOCKS:].mean() - pool[:BLOCKS].mean())
    ways = []
    for chosen in combinations(range(2 * BLOCKS), BLOCKS):
        inside = np.isin(np.arange(2 * BLOCKS), chosen)
        ways.append(pool[~inside].mean() - pool[inside].mean())
    exact = np.mean(np.abs(ways) >= mine - 1e-12)
    assert p_of(one, two, False, 20_000)[0, 0] == pytest.approx(exact, abs=0.01)


def test_captures_of_unequal_size_are_brought_to_one() -> None:
    one, two = sides(2, (9, 4))
    two = two * 3
    places = exchange(one, two, False, 50, seed=0)
    assert places.pool.shape == (8, 1, 1, EXPERTS)
    here, there = (side.sum() for side in (places.pool[:4], places.pool[4:]))
    assert here == one.sum() == 9 * 40 and there == pytest.approx(here, abs=60)  # 480 kept with 3 of 4: sd 9.5
    assert (places.first.sum(axis=1) == 4).all()
    drawn_one, drawn_two = places.sums(slice(0, 1))
    assert (drawn_one + drawn_two == places.pool.sum(axis=0)).all()


def test_p_is_not_below_what_so_few_blocks_can_say() -> None:
    apart = np.zeros((BLOCKS, 1, 1, EXPERTS), dtype=np.int64)
    apart[..., 0] = 40
    other = np.roll(apart, 1, axis=-1)
    assert p_of(apart, other, True, 500)[0, 0] >= 2 / 2**BLOCKS
    assert p_of(apart, other, False, 500)[0, 0] >= 2 / comb(2 * BLOCKS, BLOCKS)
    one = exchange(apart, apart, True, 500, seed=0)
    assert one.floor[0, 0] == 2 / 2**BLOCKS
    assert exchange(apart, apart, False, 500, seed=0).floor[0, 0] == pytest.approx(2 / comb(2 * BLOCKS, BLOCKS))
    assert p_of(apart, apart, True, 500)[0, 0] == 1.0


def test_beyond_the_draws_the_normal_tail_goes_on() -> None:
    """Draws of a normal distribution have a p that is known."""
    draws = np.random.default_rng(1).normal(size=(2000, 300))
    nothing = np.zeros(300)
    for number in (1.0, 2.0, 3.0, 4.0, 5.0):
        p = exchange_pvalues(np.full(300, number), draws, nothing)
        true = 2 * norm.sf(number)
        assert (
            0.95 * true < np.median(p) < 1.2 * true
        )  # (r + 1) / (R + 1) errs to the safe side, by a tenth at ten draws
        assert 0.95 * true < p.mean() < 1.35 * true
    assert exchange_pvalues(np.array([9.0]), draws[:TAIL, :1], nothing[:1])[0] == 1 / (TAIL + 1)  # too few for a tail


def test_ties_count_against_a_find_unless_broken() -> None:
    draws = np.array([[0.0], [0.5], [-0.5], [0.5], [0.0], [0.25]] * 50)
    assert exchange_pvalues(np.array([0.5]), draws, np.zeros(1))[0] == pytest.approx(151 / 301)
    broken = [
        exchange_pvalues(np.array([0.5]), draws, np.zeros(1), ties=np.random.default_rng(seed))[0]
        for seed in range(400)
    ]
    assert np.mean(broken) == pytest.approx(0.5 * 151 / 301, abs=0.02)
    assert np.isnan(exchange_pvalues(np.array([np.nan]), draws, np.zeros(1))[0])
    assert np.isnan(exchange_pvalues(np.array([0.5]), np.full_like(draws, np.nan), np.zeros(1))[0])


def test_dispersion_is_the_spread_of_blocks_over_that_of_tokens() -> None:
    """Independent tokens give 1, documents that each repeat one token give their length."""
    random = np.random.default_rng(0)
    rate, length = np.array([0.4, 0.3, 0.2, 0.1]), 25
    tokens = np.full((200, 2), length)
    free = random.multinomial(length, rate, size=(200, 2))
    assert dispersion(free, tokens) == pytest.approx([1.0, 1.0], abs=0.2)
    alike = length * random.multinomial(1, rate, size=(200, 2))
    assert dispersion(alike, tokens) == pytest.approx([length, length], rel=0.12)
    block, few = alike[:5, :1] + free[:5, :1], 2 * tokens[:5, :1]
    mean = block.sum(axis=(0, 1)) / few.sum()
    square = sum((block[b, 0, e] - few[b, 0] * mean[e]) ** 2 for b in range(5) for e in range(4))
    expected = sum(few[b, 0] * (1 - 1 / 5) * mean[e] * (1 - mean[e]) for b in range(5) for e in range(4))
    assert dispersion(block, few)[0] == pytest.approx(square / expected) and square / expected > 3


def test_dispersion_is_one_where_blocks_differ_by_chance() -> None:
    random = np.random.default_rng(1)
    tokens = np.full((32, 400), 25)
    found = dispersion(random.multinomial(25, [0.4, 0.3, 0.2, 0.1], size=(32, 400)), tokens)
    assert (found == 1.0).mean() == pytest.approx(0.95, abs=0.03) and found.max() < 1.7
