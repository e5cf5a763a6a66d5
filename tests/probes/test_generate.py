"""generate(): prefill and decode told apart, padding and finished rows left out, nothing invented."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from probes import RoutingProbe
from tests.probes.models import tiny
from workbench.capture import Capture


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny("mixtral")


def phases(capture: Capture) -> list[int]:
    """[prefill, decode] tokens at the first site."""
    return capture.table("tokens").sum("block", "group").values[0].tolist()


def prompt(rows: int = 2, length: int = 6) -> torch.Tensor:
    return torch.arange(5, 5 + rows * length).reshape(rows, length)


def generate(model: Any, ids: torch.Tensor, **options: Any) -> tuple[Capture, torch.Tensor]:
    options = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False, "pad_token_id": 0, **options}
    options.setdefault("attention_mask", torch.ones_like(ids))
    with RoutingProbe(model, tokens=True) as probe:
        made = model.generate(ids, **options)
    return probe.capture(), made


def test_the_last_token_is_never_forwarded(model: Any) -> None:
    capture, made = generate(model, prompt())
    assert made.shape == (2, 10)
    assert phases(capture) == [12, 6], "of 4 new tokens a row, 3 were fed back"
    assert capture.tokens is not None
    rows = capture.tokens["text"].to_pydict()
    recorded = [
        [token for token, document in zip(rows["token_id"], rows["document"], strict=True) if document == str(row)]
        for row in range(2)
    ]
    assert recorded == made[:, :-1].tolist()
    assert rows["position"] == [*range(9), *range(9)]
    assert rows["phase"] == (["prefill"] * 6 + ["decode"] * 3) * 2


def test_one_new_token_needs_no_decode_step(model: Any) -> None:
    capture, _ = generate(model, prompt(), max_new_tokens=1, min_new_tokens=1)
    assert phases(capture) == [12, 0]


def test_left_padding_is_left_out(model: Any) -> None:
    ids, mask = prompt(), torch.ones(2, 6, dtype=torch.long)
    ids[1, :2], mask[1, :2] = 0, 0
    capture, made = generate(model, ids, attention_mask=mask)
    assert phases(capture) == [10, 6]
    assert capture.manifest.excluded == {"text": {"padding": 2}}
    # The padded row alone takes the same experts.
    alone, alone_made = generate(model, ids[1:, 2:])
    assert made[1, 2:].tolist() == alone_made[0].tolist()
    with RoutingProbe(model), torch.no_grad():
        model(ids[:1], attention_mask=mask[:1])
        for step in range(6, 9):
            model(made[:1, : step + 1])
    assert np.array_equal(capture.count.sum(axis=1).sum(axis=1), np.full(4, 2 * 16)), (
        "two choices for each of 16 tokens"
    )
    assert alone.token_count[0].sum() == 4 + 3


def test_finished_rows_are_fed_padding(model: Any) -> None:
    """A row that ends early is fed the pad id while the others go on; those are no tokens."""
    ids = prompt()
    _, free = generate(model, ids, max_new_tokens=6, min_new_tokens=6)
    ending = int(free[0, 7])  # what row 0 writes second is made the end id
    row_one = free[1, 6:].tolist()
    length_one = row_one.index(ending) + 1 if ending in row_one else 6
    model.generation_config.eos_token_id = ending
    try:
        capture, made = generate(model, ids, max_new_tokens=6, min_new_tokens=None, eos_token_id=ending)
    finally:
        model.generation_config.eos_token_id = 2
    first = free[0, 6:].tolist().index(ending) + 1
    longest = max(first, length_one)
    fed = [min(first, longest - 1), min(length_one, longest - 1)]  # the last token of the batch is not fed
    assert made.shape[1] == 6 + longest
    assert phases(capture) == [12, sum(fed)]


@pytest.mark.parametrize("way", ["beams", "samples"])
def test_rows_are_multiplied(model: Any, way: str) -> None:
    options = {"num_beams": 3} if way == "beams" else {"do_sample": True, "num_return_sequences": 3}
    with RoutingProbe(model, documents=["x", "y"], groups=["left", "right"]) as probe:
        torch.manual_seed(0)
        model.generate(
            prompt(),
            attention_mask=torch.ones(2, 6, dtype=torch.long),
            max_new_tokens=4,
            min_new_tokens=4,
            pad_token_id=0,
            **options,
        )
    capture = probe.capture()
    assert capture.manifest.documents == 2
    prefill, decode = phases(capture)
    assert decode == 2 * 3 * 3
    assert prefill in (2 * 6, 2 * 3 * 6), "transformers multiplies the rows before or after the prefill"
    assert capture.token_count[0, 0] == capture.token_count[0, 1]


def test_static_cache(model: Any) -> None:
    """The attention mask then arrives with four axes; padding comes from the caller's."""
    ids, mask = prompt(), torch.ones(2, 6, dtype=torch.long)
    mask[0, :3] = 0
    usual, made = generate(model, ids, attention_mask=mask)
    capture, again = generate(model, ids, attention_mask=mask, cache_implementation="static", disable_compile=True)
    assert torch.equal(made, again)
    assert phases(capture) == phases(usual) == [9, 6]
    assert np.array_equal(capture.count, usual.count)


def test_a_cache_given_by_the_caller_continues_its_document(model: Any) -> None:
    ids = prompt(1, 8)
    with RoutingProbe(model, tokens=True) as probe, torch.no_grad():
        cache = model(ids[:, :3], use_cache=True).past_key_values
        cache = model(ids[:, 3:6], past_key_values=cache, use_cache=True).past_key_values  # a prefill in chunks
        model(ids[:, 6:7], past_key_values=cache, use_cache=True)
    capture = probe.capture()
    with RoutingProbe(model) as whole, torch.no_grad():
        model(ids[:, :7])
    assert np.array_equal(capture.count, whole.capture().count)
    assert capture.manifest.documents == 1
    assert capture.tokens is not None
    assert capture.tokens["text"].column("position").to_pylist() == list(range(7))


@pytest.mark.parametrize("name", ["switch_transformers", "nllb_moe"])
def test_encoder_and_decoder_share_documents(name: str) -> None:
    """generate() runs the encoder by itself, outside the root's forward pass."""
    model = tiny(name)
    ids = prompt(2, 6)
    with RoutingProbe(model, tokens=True) as probe:
        model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=4, min_new_tokens=4, do_sample=False, num_beams=1
        )
    capture = probe.capture()
    assert set(capture.stacks) == {"encoder", "decoder"}
    assert capture.manifest.documents == 2
    assert capture.manifest.tokens["encoder"]["Text"] == 12
    decoder = capture.site_index(next(site.id for site in capture.sites if site.stack == "decoder"))
    per_phase = capture.table("tokens").sum("block", "group").values[decoder]
    forwarded = capture.manifest.tokens["decoder"]["Text"]
    assert per_phase.sum() == forwarded
    assert per_phase[1] > 0
    assert capture.tokens is not None
    for stack in ("encoder", "decoder"):
        assert set(capture.tokens[stack].column("document").to_pylist()) == {"0", "1"}


def test_caches_used_in_turn_keep_their_documents(model: Any) -> None:
    """Two conversations, each with a cache of its own, decoded step by step in turn."""
    rows = {"first": torch.tensor([[5, 6, 7]]), "second": torch.tensor([[8, 9, 10, 11]])}
    with torch.no_grad(), RoutingProbe(model, tokens=True) as probe:
        caches = {}
        for name, ids in rows.items():
            probe.label(documents=[name])
            caches[name] = model(ids, use_cache=True).past_key_values
        for step in (12, 13):
            for cache in caches.values():
                model(torch.tensor([[step]]), past_key_values=cache, use_cache=True)
    capture = probe.capture()
    assert capture.tokens is not None
    table = capture.tokens["text"].to_pandas()
    found = {str(name): list(part["token_id"]) for name, part in table.groupby("document", observed=True)}
    assert found == {"first": [5, 6, 7, 12, 13], "second": [8, 9, 10, 11, 12, 13]}
    assert list(table[table["document"] == "second"]["position"]) == list(range(6))


def test_padding_of_a_decoder_without_a_mask() -> None:
    """Trained on labels, a decoder gets its input shifted and padded, and no mask; its start token is the pad id itself."""
    model = tiny("switch_transformers")
    pad = model.config.decoder_start_token_id = model.config.pad_token_id
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])
    labels = torch.tensor([[20, 21, 22, 23, 24], [25, 26, -100, -100, -100]])
    with torch.no_grad(), RoutingProbe(model) as probe:
        model(input_ids=ids, labels=labels)
    capture = probe.capture()
    shifted = model._shift_right(labels)
    assert shifted[1].tolist() == [pad, 25, 26, pad, pad]
    assert capture.manifest.excluded["decoder"] == {"padding": 2}
    assert capture.manifest.tokens["decoder"]["Text"] == 8
    assert capture.manifest.tokens["encoder"]["Text"] == 8


def test_a_prompt_in_two_encoders_and_decoders_of_one_model() -> None:
    """DiffusionGemma: the text encoder gets embeddings alone, and its token ids are those of the whole model's call."""
    model = tiny("diffusion_gemma")
    ids = torch.tensor([[5, 6, 7, 8]])
    canvas = torch.tensor([[9, 10, 11, 12, 13, 14]])
    with torch.no_grad(), RoutingProbe(model, tokens=True) as probe:
        model(input_ids=ids, decoder_input_ids=canvas)
    capture = probe.capture()
    assert capture.manifest.tokens["encoder"]["Text"] == 4
    assert capture.manifest.tokens["decoder"]["Text"] == 6
    assert capture.tokens is not None
    assert capture.tokens["encoder"]["token_id"].to_pylist() == ids[0].tolist()
    assert capture.tokens["decoder"]["token_id"].to_pylist() == canvas[0].tolist()
    assert set(capture.tokens["encoder"]["document"].to_pylist()) == {"0"}
    assert set(capture.tokens["decoder"]["document"].to_pylist()) == {"0"}
