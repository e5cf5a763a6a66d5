"""Captured ids and weights equal a computation of their own, family by family; so do counts, sums and co-activation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from probes import RoutingProbe
from tests.probes.families.build import Built, build
from tests.probes.families.catalogue import all_families, quick_or_full
from tests.probes.families.compare import assert_counts, assert_same_choices, expected_rows, rows_of
from tests.probes.families.observe import find_routers
from workbench.capture import Capture

# Families with choices that lead to no expert: "dropped" by a capacity limit, "skipped" by a class that means none.
LOSES = {"nllb_moe": "dropped", "switch_transformers": "dropped", "zaya": "skipped"}


@pytest.mark.parametrize("name", quick_or_full())
def test_ids_weights_and_counts(name: str) -> None:
    built = build(all_families()[name])
    expected = expected_rows(built)
    capture = record(built)
    assert sorted(site.module for site in capture.sites) == sorted(router.block for router in find_routers(built.model))
    assert expected, "no router of this family ran: its rule is missing"
    for site in capture.sites:
        if site.module not in expected:  # the vision experts of ERNIE 4.5 VL see nothing of a prompt without image
            assert capture.token_count[capture.site_index(site.id)].sum() == 0
            continue
        rows = rows_of(capture, site)
        assert_same_choices(rows, expected[site.module], f"{name}, {site.id}")
        assert_counts(capture, site, expected[site.module], rows.groups)
    lost = {kind: int(getattr(capture, kind).sum()) for kind in ("dropped", "skipped")}
    assert {kind for kind, number in lost.items() if number} == ({LOSES[name]} if name in LOSES else set())


def record(built: Built) -> Capture:
    """One forward pass under the probe, a group a row of the batch."""
    rows = len(next(iter(built.inputs.values())))
    with RoutingProbe(built.model, tokens=True, groups=[f"row {row}" for row in range(rows)]) as probe, torch.no_grad():
        built.model(**built.inputs)
    return probe.capture()


def test_output_is_the_same_with_and_without_the_probe() -> None:
    for name in ("deepseek_v4", "llama4_text", "ernie4_5_vl_moe"):
        built = build(all_families()[name])
        with torch.no_grad():
            before = built.model(**built.inputs).logits
            with RoutingProbe(built.model):
                during = built.model(**built.inputs).logits
            after = built.model(**built.inputs).logits
        assert torch.equal(before, during)
        assert torch.equal(before, after)


def test_longcat_identity_experts_are_counted_as_experts() -> None:
    built = build(all_families()["longcat_flash"])
    capture = record(built)
    site = capture.sites[0]
    assert (site.experts, site.identity_experts) == (10, 2)
    chosen = np.concatenate([choice.ids.ravel() for choice in expected_rows(built).values()])
    assert capture.count[:, :, 8:].sum() == (chosen >= 8).sum() > 0
