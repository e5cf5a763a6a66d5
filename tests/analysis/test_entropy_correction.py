"""Corrections of entropy on known distributions: smaller error than the plain estimate, and formulas by hand."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.analysis.entropy_correction import chao_shen, grassberger, miller_madow, normalised
from workbench.analysis.load import entropy


@pytest.mark.parametrize("shape", ["even", "zipf"])
@pytest.mark.parametrize("per_expert", [1, 5])
def test_error_is_smaller_than_the_plain_one(shape: str, per_expert: int) -> None:
    share = np.ones(64) if shape == "even" else 1 / np.arange(1, 65)
    share = share / share.sum()
    truth = -(share * np.log(share)).sum()
    count = np.random.default_rng(0).multinomial(64 * per_expert, share, size=500)
    plain = abs(entropy(count).mean() - truth)
    for correct in (miller_madow, chao_shen, grassberger):
        assert abs(correct(count).mean() - truth) < plain / 1.5
    assert abs(grassberger(count).mean() - truth) < (0.12 if per_expert == 1 else 0.01)


def test_grassberger_is_its_series() -> None:
    # G(c) = psi(c) + (-1)^c int_0^1 x^(c-1) / (x + 1) dx, with psi from harmonic numbers
    x = (np.arange(200_000) + 0.5) / 200_000
    for c in (1, 2, 3, 6):
        psi = -np.euler_gamma + sum(1 / j for j in range(1, c))
        expected = psi + (-1) ** c * (x ** (c - 1) / (1 + x)).mean()
        one = np.log(c) - float(grassberger(np.array([c, 0])))
        assert one == pytest.approx(expected, abs=1e-6)


def test_miller_madow_knows_that_a_tokens_choices_differ() -> None:
    random = np.random.default_rng(1)
    ids = random.random((400, 100, 16)).argsort(axis=2)[..., :4]  # 400 draws of 100 tokens, 4 of 16 experts
    count = np.stack([np.bincount(one.ravel(), minlength=16) for one in ids])
    assert abs(miller_madow(count, top_k=4).mean() - np.log(16)) < abs(miller_madow(count).mean() - np.log(16))


def test_normalised_is_at_most_one() -> None:
    assert normalised(np.array([9.0]), 4)[0] == 1.0
    assert np.isnan(normalised(np.array([0.0]), 1)[0])
    assert np.isnan(grassberger(np.zeros(4)))
