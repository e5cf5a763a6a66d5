"""The clock and the memory watch: medians, intervals, interleaving, and what they count."""

from __future__ import annotations

import gc
import math
import statistics
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from probes import SubModel
from tests.probes.families.build import build
from tests.probes.families.catalogue import all_families
from workbench.elastic import latency
from workbench.elastic.errors import CarveError, SweepError
from workbench.elastic.gather import carve_in_memory
from workbench.elastic.latency import (
    Gathered,
    LatencyOptions,
    Timing,
    gatherable,
    measure,
    quantiles,
    shares,
    time_visit,
    visits,
)
from workbench.elastic.live_memory import peak_memory, weight_bytes


def model_of(name: str) -> Any:
    return build(all_families()[name]).model


def test_quantiles_are_numpys_and_the_interval_is_that_of_stretches() -> None:
    generator = np.random.default_rng(0)
    rounds = [list(generator.normal(10 + shift, 0.1, 5)) for shift in generator.normal(0, 1, 16)]
    found = quantiles(rounds)
    every = np.concatenate(rounds)
    assert found is not None and found.n == 80
    assert found.p50 == np.median(every) and found.p90 == np.quantile(every, 0.9)
    # By hand: 16 rounds are eight stretches of two; t of seven degrees of freedom is 2.8412 at 0.9875 (R: qt(.9875, 7)).
    medians = [statistics.median(rounds[place] + rounds[place + 1]) for place in range(0, 16, 2)]
    factor = math.exp(2.8412 * math.sqrt(2) * statistics.stdev([math.log(one) for one in medians]))
    assert found.low == pytest.approx(found.p50 / factor, rel=1e-4)
    assert found.high == pytest.approx(found.p50 * factor, rel=1e-4)
    # Samples of one round are no evidence by themselves: repeating each sample changes nothing.
    again = quantiles([row * 3 for row in rounds])
    assert again is not None and (again.low, again.high) == (found.low, found.high)
    one = quantiles([[3.0, 4.0]])
    assert one is not None and np.isnan(one.low) and one.p50 == 3.5
    assert quantiles([]) is None and quantiles([[]]) is None


def steady(generator: np.random.Generator, rounds: int) -> np.ndarray:
    """A machine whose rounds differ by chance alone."""
    return generator.normal(0, 0.02, rounds)


def wandering(generator: np.random.Generator, rounds: int) -> np.ndarray:
    """Load that remembers the last ten rounds or so, with chance on top."""
    keep, made = math.exp(-1 / 10), [generator.normal()]
    for step in generator.normal(0, math.sqrt(1 - keep**2), rounds - 1):
        made.append(keep * made[-1] + step)
    return 0.02 * np.array(made) + generator.normal(0, 0.01, rounds)


def walking(generator: np.random.Generator, rounds: int) -> np.ndarray:
    """A machine that grows warm: each round starts from the last one."""
    return np.cumsum(generator.normal(0, 0.004, rounds)) + generator.normal(0, 0.02, rounds)


def flickering(generator: np.random.Generator, rounds: int) -> np.ndarray:
    """Power that falls as one over the frequency, over a time much longer than a run."""
    size = 2048
    waves = generator.normal(size=size // 2 + 1) + 1j * generator.normal(size=size // 2 + 1)
    waves[1:] /= np.sqrt(np.arange(1, size // 2 + 1))
    waves[0] = 0
    start = generator.integers(0, size - rounds)
    return np.fft.irfft(waves, size)[start : start + rounds] * size * 0.005 + generator.normal(0, 0.01, rounds)


@pytest.mark.parametrize("machine", [steady, wandering, walking, flickering])
@pytest.mark.parametrize("rounds", [5, 10, 15])
def test_each_of_two_runs_falls_into_the_interval_of_the_other(machine: Callable[..., Any], rounds: int) -> None:
    """Runs one after another, on machines that drift within a run as they do between runs."""
    generator, agree, trials = np.random.default_rng(rounds), 0, 400
    for _ in range(trials):
        both = np.exp(machine(generator, 2 * rounds))[:, None] * 10
        one, two = quantiles(both[:rounds].tolist()), quantiles(both[rounds:].tolist())
        assert one is not None and two is not None
        agree += one.low <= two.p50 <= one.high and two.low <= one.p50 <= two.high
    assert agree / trials >= 0.93  # 0.95 less two standard errors of the 400 trials


def test_a_load_that_comes_after_a_run_is_not_foreseen() -> None:
    """What the interval does not say: a machine that is steady and then suddenly slower."""
    generator = np.random.default_rng(5)
    one, two = (quantiles((level * np.exp(steady(generator, 15)))[:, None].tolist()) for level in (10, 20))
    assert one is not None and two is not None and one.high < two.p50


def test_shares_of_the_whole_models_time_are_taken_round_by_round() -> None:
    generator = np.random.default_rng(2)
    load = np.repeat((1.0, 3.0), 10)  # the machine slows down in the middle
    whole = {number: list(20 * load[number] * generator.normal(1, 0.01, 5)) for number in range(20)}
    own = {number: list(8 * load[number] * generator.normal(1, 0.01, 5)) for number in range(20)}
    found = shares(own, whole)
    assert found is not None and found.n == 20
    by_hand = [np.median(own[number]) / np.median(whole[number]) for number in range(20)]
    assert found.p50 == np.median(by_hand) == pytest.approx(0.4, rel=0.01)
    assert 0.38 < found.low < found.p50 < found.high < 0.42  # the load, which trebled, is not in it
    # Only rounds that have both count; without any there is no share.
    part = shares({0: own[0], 1: own[1]}, {1: whole[1], 2: whole[2]})
    assert part is not None and (part.n, part.p50) == (1, by_hand[1]) and np.isnan(part.low)
    assert shares({0: own[0]}, {}) is None


def test_rounds_are_interleaved_and_each_has_its_own_order() -> None:
    keys = [f"s{number}" for number in range(8)]
    made = list(visits(keys, LatencyOptions(rounds=5)))
    rounds = [[key for number, key in made if number == turn] for turn in range(5)]
    assert all(sorted(row) == keys for row in rounds)
    assert [number for number, _ in made] == sorted(number for number, _ in made)  # a round ends before the next begins
    assert len({tuple(row) for row in rounds}) > 1
    assert made == list(visits(list(reversed(keys)), LatencyOptions(rounds=5)))  # resumed: the same order
    with pytest.raises(SweepError, match="--rounds"):
        LatencyOptions(rounds=-1)


def test_only_what_is_wanted_is_visited_and_stopping_is_heard() -> None:
    model = model_of("qwen3_moe")
    plans = {words: SubModel.parse(words).plan(model) for words in ("full", "layers=first:2", "top_k=1")}
    gathered = Gathered(model, plans)
    ids = torch.randint(5, 90, (1, 8))
    seen: list[tuple[int, str, Timing]] = []
    options = LatencyOptions(rounds=2, steps=3, length=8)
    wanted = list(visits(list(plans), options))
    failed: list[str] = []

    def go(stop_after: int) -> bool:
        return measure(
            gathered, ids, options, wanted, lambda *found: seen.append(found), lambda key, why: failed.append(key),
            lambda: len(seen) >= stop_after,
        )  # fmt: skip

    assert not go(2) and len(seen) == 2
    seen.clear()
    assert go(100)
    assert Counter(key for _, key, _ in seen) == dict.fromkeys(plans, 2) and not failed
    assert all(timing.prefill > 0 and len(timing.decode) == 3 and min(timing.decode) > 0 for _, _, timing in seen)
    assert set(gathered.kept) == set(plans)


def test_weights_that_are_gathered_are_really_gone() -> None:
    """What the clock runs has fewer layers and experts, not the full model with a mask."""
    model = model_of("qwen3_moe")
    plan = SubModel.parse("layers=first:2 experts=0-2").plan(model)
    small: Any = carve_in_memory(model, plan)
    assert len(small.model.layers) == 2
    assert small.model.layers[0].mlp.experts.gate_up_proj.shape[0] == 3
    assert small.model.layers[0].mlp.gate.weight.shape[0] == 3
    assert (
        small.model.embed_tokens.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    )  # shared, not copied
    assert model.model.embed_tokens.weight.requires_grad


def test_families_and_models_that_cannot_be_gathered_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("phimoe")
    plans = {"small": SubModel(layers="first:2").plan(model)}
    assert "type 'phimoe' cannot be carved yet" in gatherable(model, plans)["small"]
    model = model_of("qwen3_moe")
    plans = {"uneven": SubModel.parse("top_k@text_0_mlp=1").plan(model), "even": SubModel(top_k=1).plan(model)}
    assert list(gatherable(model, plans)) == ["uneven"]
    monkeypatch.setattr(model, "is_quantized", True, raising=False)
    with pytest.raises(CarveError, match="quantised"):
        carve_in_memory(model, plans["even"])


def test_peak_memory_by_hand() -> None:
    layer = torch.nn.Linear(10, 1000, bias=False)  # 40 kB

    def work() -> None:
        with torch.inference_mode():
            one = layer(torch.zeros(1000, 10))  # 4 MB; the 40 kB in front go at once
            two = one + 1  # + 4 MB: the peak
            del one
            three = two.view(-1)  # no memory of its own
            (three * 2).add_(1)  # 4 MB again, after 4 MB went

    found = peak_memory(layer, work)
    assert (found.weights, found.other) == (40_000, 8_000_000) and found.total == 8_040_000
    assert "live tensors" in found.how

    def many() -> None:
        for _ in range(5):
            torch.zeros(1000, 1000)

    assert peak_memory(layer, many).other == 4_000_000


def test_weights_count_once() -> None:
    model = model_of("ernie4_5_moe")  # tied embeddings
    assert model.config.tie_word_embeddings
    by_hand = sum(tensor.numel() * tensor.element_size() for tensor in model.parameters())
    buffers = sum(tensor.numel() * tensor.element_size() for tensor in model.buffers())
    assert weight_bytes(model) == by_hand + buffers


def test_a_visit_decodes_with_a_cache() -> None:
    model = model_of("qwen3_moe")
    shapes: list[tuple[int, ...]] = []
    handle = model.model.embed_tokens.register_forward_hook(
        lambda module, given, out: shapes.append(tuple(given[0].shape))
    )
    time_visit(model, torch.randint(5, 90, (2, 7)), 3)
    handle.remove()
    warm = [(2, 7), (2, 1), (2, 1)]
    assert shapes == [*warm, (2, 7), (2, 1), (2, 1), (2, 1)]


def test_garbage_is_not_collected_while_the_clock_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bool, bool]] = []

    def visit(*_: Any) -> Timing:
        seen.append((gc.isenabled(), gc.get_freeze_count() > 100_000))
        return Timing(1.0, (1.0,))

    monkeypatch.setattr(latency, "time_visit", visit)
    model, before = model_of("mixtral"), gc.get_freeze_count()
    gathered, options = Gathered(model, {"full": SubModel().plan(model)}), LatencyOptions(rounds=2, steps=1)
    assert measure(
        gathered,
        torch.zeros(1, 4),
        options,
        list(visits(["full"], options)),
        lambda *_: None,
        lambda *_: None,
        lambda: False,
    )
    assert seen == [(False, True)] * 2 and gc.isenabled() and gc.get_freeze_count() == before
