"""Forced experts: every token gets them, in every family whose router chooses by `topk`; others are refused; nothing is left behind."""

from __future__ import annotations

import pytest
import torch

from probes import RoutingProbe, SubModel, SubModelError, find_sites
from probes.submodel.force import forced
from tests.probes.families.build import build
from tests.probes.families.catalogue import all_families, quick_or_full
from tests.probes.models import tiny

REFUSED = ("phimoe", "deepseek_v4", "doge", "zaya", "nllb_moe", "switch_transformers", "vitpose_backbone")


@pytest.mark.parametrize("name", quick_or_full(without=REFUSED))
def test_every_token_gets_the_forced_expert(name: str) -> None:
    """Counted by the probe, which reads what the experts receive."""
    built = build(all_families()[name])
    wanted = {one.site.id: one.site.experts - one.site.identity_experts - 1 for one in find_sites(built.model)}
    with (
        torch.no_grad(),
        RoutingProbe(built.model) as probe,
        forced(built.model, {site: [expert] for site, expert in wanted.items()}),
    ):
        built.model(**built.inputs)
    capture = probe.capture()
    for index, site in enumerate(capture.sites):
        tokens = int(capture.token_count[index].sum())
        assert int(capture.count[index, :, wanted[site.id]].sum()) == tokens, site.id


@pytest.mark.parametrize("name", REFUSED)
def test_other_routers_are_refused(name: str) -> None:
    built = build(all_families()[name])
    with (
        pytest.raises(SubModelError, match="leave"),
        torch.no_grad(),
        forced(built.model, {one.site.id: [0] for one in find_sites(built.model)}),
    ):
        built.model(**built.inputs)


def test_afterwards_the_model_is_as_it_was_also_after_an_error() -> None:
    model = tiny("mixtral")
    ids = torch.arange(5, 17).reshape(2, 6)
    before = [dict(module.__dict__) for module in model.modules()]
    with torch.no_grad():
        plain = model(ids).logits
        with pytest.raises(ZeroDivisionError), forced(model, {find_sites(model)[0].site.id: [1]}):
            changed = model(ids).logits
            1 / 0  # noqa: B018
        assert not torch.equal(changed, plain) and torch.equal(model(ids).logits, plain)
    assert [list(module.__dict__) for module in model.modules()] == [list(one) for one in before]


def test_together_with_a_sub_model_and_what_cannot_be() -> None:
    model = tiny("mixtral")
    site = find_sites(model)[1].site
    ids = torch.arange(5, 17).reshape(2, 6)
    with (
        torch.no_grad(),
        RoutingProbe(model) as probe,
        SubModel(experts={site.id: [0, 3, 5]}).applied(model),
        forced(model, {site.id: [5]}),
    ):
        model(ids)
    count = probe.capture().count.sum(axis=1)[1]
    assert count[5] == 12 and count.sum() == 24 and set(count.nonzero()[0]) <= {0, 3, 5}
    for experts, sentence in (
        ({site.id: [0, 1, 2]}, "force fewer"),
        ({site.id: [99]}, "name experts that there are"),
        ({"nowhere": [0]}, "no site 'nowhere'"),
    ):
        with pytest.raises(SubModelError, match=sentence), forced(model, experts):
            pass
