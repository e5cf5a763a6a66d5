"""Token by token equals all at once: generation records what a full forward pass over the same tokens records.

And a row with padding on its left records what the row alone does. One family cannot do this (`MIXES_TOKENS`), and says so.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from transformers import PreTrainedConfig

from probes import RoutingProbe
from tests.probes.families.build import Built, Family, build
from tests.probes.families.catalogue import all_families
from tests.probes.families.compare import by_expert, rows_of
from workbench.capture import Capture

PROMPT, NEW = 8, 5  # tokens given, tokens made; the last made one is never forwarded
LENGTHS = (12, 7)  # tokens of the two rows of a padded batch

# Attends both ways, or has an encoder: there is no decoding of a causal sequence.
NOT_CAUSAL = {"openai_privacy_filter", "nllb_moe", "switch_transformers"}
# The scores of one token are mixed with those of other tokens and rows (see scores.product_keys).
MIXES_TOKENS = "doge"
# Sparse attention whose indexer picks 8 of the earlier tokens; with random weights its scores tie, and the tie falls one way
# or the other with the cache. With as many picks as tokens nothing is left to chance.
# Attention over compressed windows that are counted from the first place of the row, padding included: the model itself gives
# a padded row other hidden states, and with them other gate weights.
WINDOWS_FROM_THE_START = "deepseek_v4"
TIED_INDEXER = {"hy_v4", "mistral_large4_text", "dots3_note_text", "axk2", "deepseek_v32", "glm_moe_dsa"}
QUICK = ("qwen3_moe", "deepseek_v3", "jamba", "zaya", "hy_v4", "doge", "qwen3_vl_moe_text")


def causal_families() -> list[Any]:
    return [
        pytest.param(name, id=name, marks=() if name in QUICK else pytest.mark.full)
        for name, family in all_families().items()
        if family.kind == "backbone" and name not in NOT_CAUSAL
    ]


@pytest.mark.parametrize("name", causal_families())
def test_prefill_and_decode_equal_a_full_forward(name: str) -> None:
    built = build(decodable(all_families()[name]))
    step_by_step, tokens = generate_or_step(built)
    whole = forward(built, tokens)
    assert step_by_step.token_count.sum() == whole.token_count.sum() == tokens.numel() * len(text_sites(whole))
    difference = np.abs(step_by_step.count - whole.count).sum() / whole.count.sum()
    if name == MIXES_TOKENS:
        assert difference > 0.01, "Doge's routing no longer depends on other tokens: drop this exception"
        return
    assert difference == 0
    phases = step_by_step.table("tokens").sum("block", "group").values[text_sites(whole)]  # [site, phase]
    rows = len(tokens)
    expected = np.array([[rows * PROMPT, rows * (tokens.shape[1] - PROMPT)]] * len(phases))
    np.testing.assert_array_equal(phases, expected)
    assert_same_rows(step_by_step, whole)


@pytest.mark.parametrize("name", causal_families())
def test_left_padded_equals_unpadded(name: str) -> None:
    built = build(decodable(all_families()[name]))
    ids = built.inputs["input_ids"]
    longest = max(LENGTHS)
    padded, mask = (
        torch.zeros(len(LENGTHS), longest, dtype=torch.long),
        torch.zeros(len(LENGTHS), longest, dtype=torch.long),
    )
    for row, length in enumerate(LENGTHS):
        padded[row, longest - length :] = ids[row, :length]
        mask[row, longest - length :] = 1
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    with RoutingProbe(built.model, tokens=True) as probe, torch.no_grad():
        built.model(input_ids=padded, attention_mask=mask, position_ids=positions)
    together = probe.capture()
    with RoutingProbe(built.model, tokens=True) as probe, torch.no_grad():
        for row, length in enumerate(LENGTHS):
            built.model(input_ids=ids[row : row + 1, :length], attention_mask=torch.ones(1, length, dtype=torch.long))
    alone = probe.capture()
    assert together.token_count.sum() == sum(LENGTHS) * len(text_sites(together))
    assert sum(together.manifest.excluded["text"].values()) == mask.numel() - sum(LENGTHS)
    if name == MIXES_TOKENS:
        assert (together.count != alone.count).any(), (
            "Doge's routing no longer depends on other rows: drop this exception"
        )
        return
    if name == WINDOWS_FROM_THE_START:
        with torch.no_grad():
            inside = built.model(input_ids=padded, attention_mask=mask, position_ids=positions).logits[1, -LENGTHS[1] :]
            by_itself = built.model(input_ids=ids[1:2, : LENGTHS[1]]).logits[0]
        assert not torch.allclose(inside, by_itself, rtol=1e-3, atol=1e-5), (
            "the model no longer minds padding: drop this exception"
        )
        return
    np.testing.assert_array_equal(together.count, alone.count)
    assert_same_rows(together, alone)


def text_sites(capture: Capture) -> list[int]:
    """Sites that text reaches: all but the vision experts beside the text experts of ERNIE 4.5 VL."""
    return [index for index, site in enumerate(capture.sites) if site.part != "vision"]


def decodable(family: Family) -> Family:
    """The family with an indexer that picks every earlier token, where it has one whose scores tie."""
    if family.name not in TIED_INDEXER:
        return family

    def config() -> PreTrainedConfig:
        made = family.config()
        made.index_topk = 64
        return made

    return replace(family, config=config)


def generate_or_step(built: Built) -> tuple[Capture, torch.Tensor]:
    """Record a generation, or single steps with a cache where the model has no `generate`; and the tokens forwarded."""
    model, ids = built.model, built.inputs["input_ids"]
    prompt = ids[:, :PROMPT]
    with RoutingProbe(model, tokens=True) as probe, torch.no_grad():
        if model.can_generate():
            made = cast(Any, model).generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=NEW,
                min_new_tokens=NEW,
                do_sample=False,
                pad_token_id=0,
            )
            tokens = made[:, :-1]
        else:
            tokens = ids
            cache = model(input_ids=prompt, use_cache=True).past_key_values
            for position in range(PROMPT, ids.shape[1]):
                step = ids[:, position : position + 1]
                cache = model(input_ids=step, past_key_values=cache, use_cache=True).past_key_values
    return probe.capture(), tokens


def forward(built: Built, tokens: torch.Tensor) -> Capture:
    with RoutingProbe(built.model, tokens=True) as probe, torch.no_grad():
        built.model(input_ids=tokens, attention_mask=torch.ones_like(tokens))
    return probe.capture()


def assert_same_rows(one: Capture, other: Capture) -> None:
    """Token by token the same experts, and weights equal but for rounding in another order of additions."""
    for index in text_sites(one):
        site = one.sites[index]
        left, right = rows_of(one, site), rows_of(other, site)
        left_ids, left_weights = by_expert(left.ids, left.weights)
        right_ids, right_weights = by_expert(right.ids, right.weights)
        np.testing.assert_array_equal(left_ids, right_ids, err_msg=site.id)
        np.testing.assert_allclose(left_weights, right_weights, rtol=2e-3, atol=1e-5, err_msg=site.id)
