"""How tokens are drawn, against transformers' own warpers and the distribution itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import TemperatureLogitsWarper, TopPLogitsWarper

from workbench.live import LiveError, Sampling
from workbench.live.sampling import Picker, pick


def expected(scores: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """The distribution that `generate(do_sample=True)` draws from."""
    warped = TemperatureLogitsWarper(sampling.temperature)(None, scores)
    if sampling.top_p < 1:
        warped = TopPLogitsWarper(sampling.top_p)(None, warped)
    return warped.softmax(-1)[0]


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 0.9), (2.0, 0.4), (1.0, 0.01)])
def test_draws_follow_the_distribution_of_generate(temperature: float, top_p: float) -> None:
    scores = torch.randn(1, 12, generator=torch.Generator().manual_seed(4)) * 2
    sampling = Sampling(temperature=temperature, top_p=top_p)
    generator = torch.Generator().manual_seed(0)
    draws = pick(scores.expand(20_000, -1), sampling, generator).numpy()
    wanted = expected(scores, sampling).numpy()
    seen = np.bincount(draws, minlength=12)
    assert (seen[wanted == 0] == 0).all()
    # Five standard deviations of a binomial count.
    assert (np.abs(seen - 20_000 * wanted) <= 5 * np.sqrt(20_000 * wanted * (1 - wanted)) + 1).all()


def test_temperature_zero_takes_the_largest() -> None:
    scores = torch.tensor([[0.1, 3.0, 2.9]])
    assert pick(scores, Sampling(temperature=0), torch.Generator()).tolist() == [1]


def test_a_seed_is_its_own_whatever_else_draws() -> None:
    def draws(disturb: bool) -> list[int]:
        told: list[int] = []
        picker = Picker(Sampling(seed=7, temperature=1.0), "cpu", lambda token, _: told.append(int(token)))
        scores = torch.zeros(1, 50)
        for _ in range(30):
            if disturb:
                torch.rand(3)
            assert picker(torch.zeros(1, 1), scores).argmax() == told[-1]
        return told

    state = torch.get_rng_state()
    one = draws(False)
    assert torch.equal(torch.get_rng_state(), state)  # and it disturbs no other
    assert one == draws(True) and len(set(one)) > 5


@pytest.mark.parametrize("wrong", [{"max_new_tokens": -1}, {"temperature": -0.1}, {"top_p": 0.0}, {"top_p": 1.1}])
def test_values_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(LiveError, match="expected, but"):
        Sampling(**wrong)  # type: ignore[arg-type]
