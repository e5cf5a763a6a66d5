"""What a description means for a model, and why it cannot be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from probes import RoutingProbe, SubModel, SubModelError
from probes.submodel.plan import Plan
from tests.probes.families.build import VOCABULARY, build, tiny_config
from tests.probes.families.catalogue import all_families
from tests.probes.models import ListBlock, ListModel
from tests.probes.submodels.cases import built

SITES = tuple(f"text_{layer}_mlp" for layer in range(4))


def plan(words: str, name: str = "mixtral", ranking: Any = None) -> Plan:
    return SubModel.parse(words).plan(built(name).model, ranking)


def test_the_full_model() -> None:
    found = plan("full")
    assert found == Plan({"text": (0, 1, 2, 3)}, dict.fromkeys(SITES, tuple(range(8))), dict.fromkeys(SITES, 2))


@pytest.mark.parametrize(
    ("words", "layers"),
    [
        ("layers=first:2", (0, 1)),
        ("layers=even:1", (0,)),
        ("layers=even:2", (0, 3)),
        ("layers=even:3", (0, 2, 3)),
        ("layers=even:4", (0, 1, 2, 3)),
        ("layers=1,3", (1, 3)),
        ("layers@text=1,3", (1, 3)),
    ],
)
def test_layers(words: str, layers: tuple[int, ...]) -> None:
    found = plan(words)
    assert found.layers == {"text": layers}
    assert list(found.experts) == list(found.top_k) == [f"text_{layer}_mlp" for layer in layers]


def test_the_most_important_layers() -> None:
    assert plan("layers=important:2", ranking={"text": [0.1, 0.4, 0.4, 0.2]}).layers == {"text": (1, 2)}
    assert plan("layers=important:1", ranking={"text": [0.1, 0.4, 0.4, 0.2]}).layers == {
        "text": (1,)
    }  # ties: the first


def test_a_share_by_a_ranking_of_ones_own() -> None:
    ranking = {site: np.roll(np.arange(8.0), layer) for layer, site in enumerate(SITES)}
    found = plan("experts=share:0.25:norm", ranking=ranking)
    assert found.experts == {SITES[0]: (6, 7), SITES[1]: (0, 7), SITES[2]: (0, 1), SITES[3]: (1, 2)}
    assert len(plan("experts=share:0.3:norm", ranking=ranking).experts[SITES[0]]) == 2  # 2.4, rounded
    assert len(plan("experts=share:0.32:norm", ranking=ranking).experts[SITES[0]]) == 3  # 2.56


@pytest.mark.parametrize("by", ["count", "mass"])
def test_a_share_by_a_capture(by: str) -> None:
    model, inputs = built("mixtral").model, built("mixtral").inputs
    with torch.no_grad(), RoutingProbe(model, groups=["a", "b"]) as probe:
        model(**inputs)
    capture = probe.capture()
    table = getattr(capture, by).sum(axis=1)  # [site, expert]
    found = plan(f"experts=share:0.5:{by}", ranking=capture)
    for row, site in enumerate(SITES):
        kept = set(found.experts[site])
        gone = set(range(8)) - kept
        assert len(kept) == 4 and min(table[row][list(kept)]) >= max(table[row][list(gone)])


def test_random_experts_depend_on_seed_and_site_alone() -> None:
    first, again, other = (plan(f"experts=share:0.5:random:{seed}").experts for seed in (1, 1, 2))
    assert first == again and first != other
    assert len({first[site] for site in SITES}) > 1
    with_fewer_layers = plan("layers=0,2 experts=share:0.5:random:1").experts
    assert with_fewer_layers == {site: first[site] for site in (SITES[0], SITES[2])}
    nested = plan("experts=share:0.25:random:1").experts
    assert all(set(nested[site]) <= set(first[site]) for site in SITES)


def test_patterns_and_names() -> None:
    found = plan("experts@text_1_mlp=0,1 experts@text_*=0-3 top_k@*_0_*=1")
    assert [found.experts[site] for site in SITES] == [(0, 1, 2, 3), (0, 1), (0, 1, 2, 3), (0, 1, 2, 3)]
    assert found.top_k == {SITES[0]: 1, SITES[1]: 2, SITES[2]: 2, SITES[3]: 2}


def test_groups_of_experts_keep_equal_numbers() -> None:
    ranking = {f"text_{layer}_mlp": np.arange(8.0) for layer in range(4)}
    assert plan("experts=share:0.5:norm", "deepseek_v3", ranking).experts["text_1_mlp"] == (2, 3, 6, 7)


def test_identity_experts_stay() -> None:
    assert plan("experts=0-3", "longcat_flash").experts["text_0_mlp"] == (0, 1, 2, 3, 8, 9)


@pytest.mark.full
def test_towers_change_only_by_name() -> None:
    found = plan("layers=first:1", "dots3_note")
    assert found.layers == {"vision": (0, 1), "text": (0,)}
    assert plan("layers@vision=first:1", "dots3_note").layers == {"vision": (0,), "text": (0, 1, 2, 3)}


IMPOSSIBLE = [
    ("mixtral", "layers=first:5", "5 layers of stack 'text' were asked for, but it has 4"),
    ("mixtral", "layers=0,4", "its layers are 0 to 3"),
    ("mixtral", "layers@vision=0", "this model has text"),
    ("mixtral", "layers=important:2", "rank_layers"),
    ("mixtral", "experts=share:0.5:mass", "rank_experts"),
    ("mixtral", "experts=0,8", "its experts are 0 to 7"),
    ("mixtral", "experts@text_9_mlp=0", "names the site 'text_9_mlp'"),
    ("mixtral", "layers=first:1 experts@text_2_mlp=0,1", "its layer is left out"),
    ("mixtral", "experts=3", "chooses 2 experts a token, but only 1 are left"),
    ("mixtral", "experts=share:0.1:random", "chooses 2 experts a token, but only 1 are left"),
    ("mixtral", "top_k=3", "at most the 2 experts a token"),
    ("deepseek_v3", "experts=0-3,4", "group 1 keeps 1"),
    ("deepseek_v3", "layers=first:1 top_k@text_1_mlp=1", "its layer is left out"),
    ("longcat_flash", "top_k=1", "at least 2"),
    ("diffusion_gemma", "layers@encoder=first:2", "must keep the same layers"),
]


@pytest.mark.parametrize(("name", "words", "sentence"), IMPOSSIBLE)
def test_the_impossible_is_said_in_one_sentence(name: str, words: str, sentence: str) -> None:
    with pytest.raises(SubModelError, match=sentence) as caught:
        plan(words, name)
    assert str(caught.value).endswith(".") and ": " in str(caught.value)


def test_experts_of_a_group_that_a_token_may_get() -> None:
    """Two groups of four, one chosen: with two experts in each, a token can choose two, whichever group it gets."""
    with pytest.raises(SubModelError, match="only 2 are left"):
        SubModel(experts=[0, 1, 4, 5]).plan(_with_three_choices())


def _with_three_choices() -> Any:
    family = replace(
        all_families()["deepseek_v3"],
        config=lambda: tiny_config("DeepseekV3Config", num_key_value_heads=4, num_experts_per_tok=3),
    )
    return build(family).model


def test_a_capture_of_another_model() -> None:
    other = built("doge").model
    with torch.no_grad(), RoutingProbe(other) as probe:
        other(**built("doge").inputs)
    with pytest.raises(SubModelError, match="pass a capture of this model"):
        plan("experts=share:0.5:count", ranking=probe.capture())
    with pytest.raises(SubModelError, match="a capture holds no norms"):
        plan("experts=share:0.5:norm", ranking=probe.capture())
    with pytest.raises(SubModelError, match="must have 8 numbers"):
        plan("experts=share:0.5:norm", ranking={site: np.ones(4) for site in SITES})


def test_layers_that_a_model_says_must_stay() -> None:
    """As those with audio heads: named in the refusal, and kept by choices that leave the layers open."""

    class Spoken(type(built("mixtral").model)):  # type: ignore[misc]
        def fixed_layers(self) -> dict[int, str]:
            return {2: "it carries the first audio head", 3: "it carries the second audio head"}

    model = Spoken(built("mixtral").model.config).eval()
    with pytest.raises(
        SubModelError, match="Layer 2 of stack 'text' cannot be left out, because it carries the first audio"
    ):
        SubModel(layers=2).plan(model)
    with pytest.raises(SubModelError, match="2 of its layers must stay"):
        SubModel(layers="even:1").plan(model)
    assert SubModel(layers="even:3").plan(model).layers == {"text": (0, 2, 3)}
    ranking = {"text": np.array([0.0, 1.0, 0.0, 0.0])}
    assert SubModel(layers="important:3").plan(model, ranking).layers == {"text": (1, 2, 3)}


def test_keys_and_values_that_later_layers_read() -> None:
    """Gemma 4 with layers that share the keys and values of the last layer of their kind."""
    family = all_families()["gemma4_text"]

    def config() -> Any:
        kinds = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]
        shared = {"num_kv_shared_layers": 2, "layer_types": kinds, "use_double_wide_mlp": False}
        per_layer = {"vocab_size_per_layer_input": VOCABULARY, "hidden_size_per_layer_input": 8}
        return tiny_config("Gemma4TextConfig", enable_moe_block=True, **shared, **per_layer)

    model = build(replace(family, config=config)).model
    with pytest.raises(SubModelError, match="its keys and values from layer 1, which is left out"):
        SubModel(layers=[0, 2, 3]).plan(model)
    assert SubModel(layers=[0, 2]).plan(model).layers == {"text": (0, 2)}
    ids = built("gemma4_text").inputs["input_ids"]
    with torch.no_grad(), SubModel(layers=[1, 3]).applied(model):
        whole = model(input_ids=ids, use_cache=False).logits
        output = model(input_ids=ids[:, :8], use_cache=True)
        rest = model(input_ids=ids[:, 8:], past_key_values=output.past_key_values).logits
    torch.testing.assert_close(rest, whole[:, 8:], rtol=1e-4, atol=1e-5)


def test_a_compiled_or_dense_model_is_refused() -> None:
    from probes import NoExpertsError

    with pytest.raises(NoExpertsError):
        SubModel(layers=1).plan(nn.Sequential(nn.Linear(2, 2)))


def test_a_linear_gate_over_a_list_of_experts() -> None:
    """The layout of transformers 4; the choice is made in the block, from the gate's logits."""
    torch.manual_seed(0)
    model = ListModel(ListBlock(experts=4)).eval()
    ids = torch.arange(12).view(2, 6)
    smaller = ListModel(ListBlock(experts=2)).eval()
    state = model.state_dict()
    new = {name: state[name] for name in smaller.state_dict() if "gate" not in name}
    for new_id, old in enumerate((1, 3)):
        for part in ("weight", "bias"):
            new[f"layers.0.experts.{new_id}.{part}"] = state[f"layers.0.experts.{old}.{part}"]
    for part in ("weight", "bias"):
        if f"layers.0.gate.{part}" in state:
            new[f"layers.0.gate.{part}"] = state[f"layers.0.gate.{part}"][[1, 3]]
    smaller.load_state_dict(new)
    probe = RoutingProbe(model)  # made before, entered inside
    with torch.no_grad(), SubModel(experts=[1, 3]).applied(model), probe:
        torch.testing.assert_close(model(ids), smaller(ids))
    assert probe.capture().count.sum(axis=(0, 1)).tolist() == [0, 12, 0, 12]
    probe = RoutingProbe(model)
    with torch.no_grad(), SubModel(top_k=1).applied(model), probe:
        model(ids)
    assert probe.capture().sites[0].top_k == 1 and probe.capture().count.sum() == 12
