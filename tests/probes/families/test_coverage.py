"""The builders cover every model directory of transformers that routes tokens to experts."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.probes.families.build import build
from tests.probes.families.catalogue import QUICK, all_families
from tests.probes.families.observe import find_routers
from tests.probes.families.sweep import NOT_ROUTED, directories_that_speak_of_experts


def test_directories_that_speak_of_experts_are_built_or_named() -> None:
    """A directory that a newer transformers adds shows here: build it, or say in NOT_ROUTED why nothing is routed."""
    speaking = set(directories_that_speak_of_experts())
    covered = {
        type(router.module).__module__.split(".")[2]
        for family in all_families().values()
        for router in find_routers(build(family).model)
    }
    assert speaking - covered == set(NOT_ROUTED)
    assert covered <= speaking
    assert len(covered) == 73


def test_numbers_of_families() -> None:
    kinds = Counter(family.kind for family in all_families().values())
    assert kinds == {"backbone": 70, "multimodal": 26, "vision": 1}
    assert set(QUICK) <= set(all_families())


@pytest.mark.full
def test_no_family_has_an_expert_module_without_a_rule() -> None:
    """Every module named experts belongs to a router that the reference knows."""
    for name, family in all_families().items():
        model = build(family).model
        blocks = {router.block for router in find_routers(model)}
        for path, _ in model.named_modules():
            if path.split(".")[-1] == "experts":
                assert {path, path.rpartition(".")[0]} & blocks, f"{name}: {path} has no rule"
