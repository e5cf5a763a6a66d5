"""A carved checkpoint, loaded by transformers alone, gives the logits of the sub-model: every family that can be carved."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from probes import SubModel
from tests.elastic.carved import SPECS, judged, save_tiny, token_ids
from workbench.elastic.carve import carve
from workbench.elastic.families import RULES
from workbench.elastic.gather import carve_in_memory

QUICK = ("mixtral", "deepseek_v3", "gpt_oss")


def check(names: tuple[str, ...], tmp_path: Path) -> None:
    """Carve each family's tiny model, compare the judge's logits and the gathered model's with the sub-model's."""
    ids, wanted, carved = token_ids(), [], []
    for name in names:
        model = save_tiny(name, tmp_path / name)
        sub = SubModel.parse(SPECS[name])
        plan = sub.plan(model)
        with torch.no_grad():
            full = model(input_ids=ids).logits
            with plan.applied(model):
                wanted.append(model(input_ids=ids).logits)
            gathered = carve_in_memory(model, plan)
            torch.testing.assert_close(gathered(input_ids=ids).logits, wanted[-1], rtol=1e-5, atol=1e-6, msg=name)
            assert torch.equal(model(input_ids=ids).logits, full), f"{name}: gathering changed the full model"
        assert not torch.allclose(full, wanted[-1], atol=1e-3), (
            f"{name}: the sub-model is the full one, so nothing is tested"
        )
        done = carve(str(tmp_path / name), sub, tmp_path / f"{name}-small")
        assert done.bytes < done.bytes_before and list(done.cut.layers) == list(plan.layers[next(iter(plan.layers))])
        parameters = sum(tensor.numel() for tensor in gathered.parameters())
        assert parameters < sum(tensor.numel() for tensor in model.parameters())
        carved.append(done.out)
    for name, logits, expected in zip(names, judged(carved, tmp_path), wanted, strict=True):
        torch.testing.assert_close(
            logits, expected, rtol=1e-5, atol=1e-6, msg=lambda said, name=name: f"{name}: {said}"
        )


def test_quick_families_give_the_logits_of_the_sub_model(tmp_path: Path) -> None:
    check(QUICK, tmp_path)


@pytest.mark.full
def test_the_other_families_give_the_logits_of_the_sub_model(tmp_path: Path) -> None:
    check(tuple(name for name in SPECS if name not in QUICK), tmp_path)


def test_every_rule_is_tested() -> None:
    # The workbench's own model is held in tests/unified/test_sub_models.py: its checkpoint needs the workbench to load.
    assert {*SPECS, "unified_omni"} == set(RULES)
