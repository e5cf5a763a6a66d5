"""Load, balance and their tables against plain loops over a list of choices."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from tests.capture_factory import make_capture, make_sites
from workbench.analysis.load import (
    BALANCE_MEASURES,
    balance_table,
    cv,
    dead_experts,
    effective_experts,
    entropy,
    heatmap_table,
    load_share,
    max_vio,
    normalised_entropy,
    token_share,
    utilisation,
    utilisation_table,
)
from workbench.capture import CaptureError

EXPERTS = 12


def choices(seed: int, number: int = 300) -> list[int]:
    random = np.random.default_rng(seed)
    return random.choice(EXPERTS - 2, size=number, p=random.dirichlet(np.ones(EXPERTS - 2))).tolist()


def counts(chosen: list[int]) -> np.ndarray:
    return np.array([chosen.count(expert) for expert in range(EXPERTS)])


@pytest.mark.parametrize("seed", range(5))
def test_against_loops(seed: int) -> None:
    chosen = choices(seed)
    count, times = counts(chosen), Counter(chosen)
    n = len(chosen)
    share = [times[expert] / n for expert in range(EXPERTS)]
    assert load_share(count).tolist() == pytest.approx(share)
    assert utilisation(count).tolist() == pytest.approx([part * EXPERTS for part in share])
    nats = -sum(part * math.log(part) for part in share if part > 0)
    assert entropy(count) == pytest.approx(nats)
    assert normalised_entropy(count) == pytest.approx(nats / math.log(EXPERTS))
    assert effective_experts(count) == pytest.approx(math.exp(nats))
    assert dead_experts(count) == sum(1 for expert in range(EXPERTS) if expert not in times)
    mean = n / EXPERTS
    variance = sum((times[expert] - mean) ** 2 for expert in range(EXPERTS)) / EXPERTS
    assert cv(count) == pytest.approx(math.sqrt(variance) / mean)
    assert max_vio(count) == pytest.approx(max(times.values()) / mean - 1)


def test_known_values() -> None:
    even, single = np.full(8, 5), np.array([0, 0, 40, 0, 0, 0, 0, 0])
    assert normalised_entropy(even) == pytest.approx(1)
    assert effective_experts(even) == pytest.approx(8)
    assert (cv(even), max_vio(even), dead_experts(even)) == (0, 0, 0)
    assert normalised_entropy(single) == 0
    assert effective_experts(single) == 1
    assert max_vio(single) == 7
    assert dead_experts(single) == 7
    assert cv(single) == pytest.approx(math.sqrt(7))


def test_no_choice_is_no_number() -> None:
    nothing = np.zeros(6, dtype=int)
    for measure in (load_share, utilisation, entropy, normalised_entropy, effective_experts, dead_experts, cv, max_vio):
        assert np.isnan(measure(nothing)).all(), measure.__name__


def test_a_mask_is_as_if_the_experts_were_not_there() -> None:
    count = np.array([5, 3, 0, 2, 99, 0])
    mask = np.array([True, True, True, True, False, False])
    for measure in (entropy, normalised_entropy, effective_experts, dead_experts, cv, max_vio):
        assert measure(count, mask) == pytest.approx(measure(count[:4])), measure.__name__
    assert np.isnan(load_share(count, mask)[4:]).all()
    assert load_share(count, mask)[:4].tolist() == pytest.approx([0.5, 0.3, 0, 0.2])


def test_share_of_tokens() -> None:
    exists = np.array([True, True, True])
    assert token_share(np.array([10, 5, 0]), np.array(10), exists).tolist() == [1.0, 0.5, 0.0]
    assert np.isnan(token_share(np.array([0, 0, 0]), np.array(0), exists)).all()


# ---------------------------------------------------------------------- tables
def brute(capture, site: str, group: str, phase: str | None = None) -> tuple[list[int], int]:  # type: ignore[no-untyped-def]
    """Choices and tokens of a group at a site, read row by row."""
    rows = capture.read_tokens(capture.site(site).stack).to_pydict()
    chosen, tokens = [], 0
    for of_group, in_phase, experts in zip(rows["group"], rows["phase"], rows[f"experts_{site}"], strict=True):
        if of_group == group and (phase is None or in_phase == phase):
            tokens += 1
            chosen += experts
    return chosen, tokens


@pytest.mark.parametrize("phase", [None, "prefill", "decode"])
def test_tables_against_the_rows(phase: str | None) -> None:
    capture = make_capture(sites=3, experts=EXPERTS, groups=3, seed=4)
    heat = heatmap_table(capture, "Image und.", phase=phase)
    share = utilisation_table(capture, ["text_1_mlp"], phase=phase)
    balance = balance_table(capture, phase=phase)
    for index, site in enumerate(capture.sites):
        chosen, tokens = brute(capture, site.id, "Image und.", phase)
        assert heat.n[index] == tokens
        assert heat.values[index].tolist() == pytest.approx(
            [chosen.count(e) / len(chosen) * EXPERTS for e in range(EXPERTS)]
        )
        for column, group in enumerate(balance.groups):
            own, _ = brute(capture, site.id, group.name, phase)
            assert balance.values[index, column] == pytest.approx(float(normalised_entropy(counts(own))))
    for column, group in enumerate(share.groups):
        chosen, tokens = brute(capture, "text_1_mlp", group.name, phase)
        assert share.share[0, column].tolist() == pytest.approx([chosen.count(e) / tokens for e in range(EXPERTS)])
    assert share.chance.tolist() == [2 / EXPERTS]


def test_frames_hold_what_the_arrays_do() -> None:
    capture = make_capture(sites=(*make_sites(2, 8), *make_sites(1, 4, stack="vision")), groups=2)
    heat = heatmap_table(capture, "Text")
    frame = heat.frame()
    assert len(frame) == 8 + 8 + 4
    row = frame[(frame.site == "vision_0_mlp") & (frame.expert == 3)].iloc[0]
    assert (row["value"], row["count"], row["n_tokens"]) == (heat.values[2, 3], heat.count[2, 3], heat.n[2])
    assert np.isnan(heat.values[2, 4:]).all(), "an expert that a site does not have is no zero"
    assert len(balance_table(capture).frame()) == 3 * 2


@pytest.mark.parametrize("measure", BALANCE_MEASURES)
def test_every_measure_of_balance_says_what_even_is(measure: str) -> None:
    table = balance_table(
        make_capture(logits=np.zeros((4, 4, 16)), tokens_per_group=20_000, token_rows=False), measure=measure
    )
    assert table.values == pytest.approx(np.broadcast_to(table.even[:, None], table.values.shape), abs=0.2)


def test_identity_experts_are_no_part_of_the_balance() -> None:
    with_identity = make_capture(make_sites(2, 10, identity_experts=2), groups=1, seed=5)
    table = balance_table(with_identity)
    assert table.experts.tolist() == [8, 8]
    assert table.values[0, 0] == pytest.approx(float(normalised_entropy(with_identity.count[0, 0, :8])))
    assert heatmap_table(with_identity, "Text").identity[0].tolist() == [False] * 8 + [True] * 2


def test_few_tokens_are_flagged_and_said() -> None:
    capture = make_capture(groups=2, tokens_per_group=[10, 500])
    few = heatmap_table(capture, "Text")
    assert few.few.all()
    assert "n = 10" in few.caption
    assert not heatmap_table(capture, "Image und.").few.any()


def test_unknown_names_are_refused() -> None:
    capture = make_capture()
    for act in (
        lambda: heatmap_table(capture, "nobody"),
        lambda: heatmap_table(capture, "Text", ["nowhere"]),
        lambda: heatmap_table(capture, "Text", phase="sleep"),
        lambda: heatmap_table(capture, "Text", measure="beauty"),
        lambda: balance_table(capture, measure="beauty"),
        lambda: utilisation_table(capture, groups=["nobody"]),
    ):
        with pytest.raises(CaptureError, match="choose"):
            act()
