"""The causal check and its parts against computations of the tests' own: a forward pass written by hand, and plain counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from probes import RoutingProbe
from tests.tiny_model import EXPERTS, LAYERS, TOP_K, save_model
from workbench.capture import Site
from workbench.capture.blocks import block_of
from workbench.causal import CausalError, Intervention
from workbench.causal.check import CausalOptions, CausalResult, causal, sample, split
from workbench.causal.interventions import experts_in_words, parse_experts
from workbench.causal.measure import Stopped, cells_of, halves_of, measure
from workbench.inputs import Document
from workbench.models import load_model

TEXTS = (
    "the cat sat on a mat and the dog ran fast",
    "hello there how are you fine thanks",
    "a dog and a cat",
    "you ran",
)
SITES = [
    Site(id=f"text_{layer}_mlp", stack="text", layer=layer, experts=EXPERTS, top_k=TOP_K) for layer in range(LAYERS)
]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_model(str(save_model(tmp_path_factory.mktemp("model") / "tiny-moe")))


def documents(number: int = 6) -> list[Document]:
    """Texts of two groups with words of their own."""
    random = np.random.default_rng(0)
    words = {
        "animals": ("the", "cat", "sat", "dog", "mat", "ran", "a"),
        "talk": ("hello", "you", "how", "are", "fine", "thanks"),
    }
    return [
        Document(f"{group}-{index}", group, text=" ".join(random.choice(words[group], size=8 + index)))
        for index in range(number)
        for group in words
    ]  # fmt: skip


# ---------------------------------------------------------------------- a forward pass written by hand
def by_hand(
    model: Any, ids: torch.Tensor, mute: dict[int, tuple[int, ...]], force: dict[int, tuple[int, ...]] | None = None
) -> torch.Tensor:
    """Logits [T, V] of a Mixtral whose router logits of muted experts are minus infinity, and which gives forced ones first.

    Nothing of the mixture-of-experts block is called: router, choice and experts are written out.
    """
    base = model.model
    with torch.no_grad():
        hidden = base.embed_tokens(ids[None])
        position = torch.arange(len(ids))[None]
        rotary = base.rotary_emb(hidden, position_ids=position)
        causal = torch.full((len(ids), len(ids)), -torch.inf).triu(1)[None, None]
        for number, layer in enumerate(base.layers):
            hidden = (
                hidden
                + layer.self_attn(layer.input_layernorm(hidden), position_embeddings=rotary, attention_mask=causal)[0]
            )
            flat = layer.post_attention_layernorm(hidden)[0]
            logits = flat @ layer.mlp.gate.weight.T
            logits[:, list(mute.get(number, ()))] = -torch.inf
            weights = logits.softmax(-1)
            out = torch.zeros_like(flat)
            for token in range(len(ids)):
                order = weights[token].argsort(descending=True).tolist()
                first = list((force or {}).get(number, ()))
                chosen = (first + [expert for expert in order if expert not in first])[:TOP_K]
                total = weights[token, chosen].sum()
                for expert in chosen:
                    gate, up = (layer.mlp.experts.gate_up_proj[expert] @ flat[token]).chunk(2)
                    value = layer.mlp.experts.down_proj[expert] @ (torch.nn.functional.silu(gate) * up)
                    out[token] += weights[token, expert] / total * value
            hidden = hidden + out[None]
        logits_out: torch.Tensor = model.lm_head(base.norm(hidden))[0]
        return logits_out


def brute_loss(loaded: Any, chosen: list[Document], mute: Any, force: Any = None) -> dict[tuple[str, str], float]:
    """Summed loss of each document, nats."""
    found = {}
    for document in chosen:
        ids = loaded.tokenizer(document.text, return_tensors="pt")["input_ids"][0]
        logits = by_hand(loaded.model, ids, mute, force)
        loss = torch.nn.functional.cross_entropy(logits[:-1], ids[1:], reduction="sum")
        found[document.id, str(document.group)] = float(loss)
    return found


CHANGES = {
    "nothing": Intervention("nothing"),
    "muted": Intervention("muted", mute={"text_0_mlp": (0,), "text_1_mlp": (1, 3)}),
    "forced": Intervention("forced", force={"text_0_mlp": (2,), "text_1_mlp": (0, 3)}),
    "both": Intervention("both", mute={"text_0_mlp": (1,)}, force={"text_1_mlp": (2,)}),
}


@pytest.mark.parametrize("name", list(CHANGES))
def test_losses_equal_a_forward_pass_written_by_hand(loaded: Any, name: str) -> None:
    change, chosen = CHANGES[name], documents(2)
    halves = halves_of(loaded, [chosen[:2], chosen[2:]], group_by="group", batch_size=3, max_length=None)
    cells, tokens = cells_of(halves)
    before = {key: value.clone() for key, value in loaded.model.state_dict().items()}
    found = measure(loaded, halves, [change, change])
    number = {site.id: site.layer for site in SITES}
    mute = {number[site]: ids for site, ids in change.mute.items()}
    force = {number[site]: ids for site, ids in change.force.items()}
    expected = brute_loss(loaded, chosen, mute, force)
    for cell, value, n in zip(cells, found, tokens, strict=True):
        assert value == pytest.approx(expected[cell], rel=1e-4), cell
        document = next(one for one in chosen if one.id == cell[0])
        assert n == len(loaded.tokenizer(document.text)["input_ids"]) - 1
    assert all(torch.equal(value, before[key]) for key, value in loaded.model.state_dict().items())


def test_the_probe_sees_no_muted_and_every_forced_expert(loaded: Any) -> None:
    ids = loaded.tokenizer(TEXTS[0], return_tensors="pt")["input_ids"]
    change = Intervention("x", mute={"text_0_mlp": (0, 2)}, force={"text_1_mlp": (3,)})
    with torch.no_grad(), RoutingProbe(loaded.model) as probe, change.applied(loaded.model):
        loaded.model(ids)
    count = probe.capture().count.sum(axis=1)
    assert count[0, [0, 2]].tolist() == [0, 0] and count[0].sum() == TOP_K * ids.numel()
    assert count[1, 3] == ids.numel()


def test_top_k_is_limited(loaded: Any) -> None:
    ids = loaded.tokenizer(TEXTS[0], return_tensors="pt")["input_ids"]
    with torch.no_grad(), RoutingProbe(loaded.model) as probe, Intervention("k", top_k=1).applied(loaded.model):
        loaded.model(ids)
    assert probe.capture().count.sum() == LAYERS * ids.numel()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            Intervention("x", mute={"text_1_mlp": (0, 1, 2)}),
            "Muting 3 of 4 experts at site text_1_mlp leaves 1, but a token gets 2",
        ),
        (Intervention("x", mute={"text_9_mlp": (0,)}), "no site 'text_9_mlp'"),
        (Intervention("x", mute={"text_0_mlp": (4,)}), "its experts are 0 to 3"),
        (Intervention("x", force={"text_0_mlp": (0, 1, 2)}), "3 experts are to be forced"),
        (Intervention("x", mute={"text_0_mlp": (1,)}, force={"text_0_mlp": (1,)}), "muted and forced at once"),
        (Intervention("x", top_k=3), "limited to 1 to 2"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(loaded: Any, change: Intervention, sentence: str) -> None:
    with pytest.raises(CausalError, match=sentence) as fault:
        change.check(SITES)
    assert str(fault.value).count(".") <= 2
    with pytest.raises(CausalError, match=sentence), change.applied(loaded.model):
        pass


def test_words_for_experts() -> None:
    assert parse_experts(["a:1,3-5", "b:0", "a:9"], "--mute") == {"a": (1, 3, 4, 5, 9), "b": (0,)}
    for bad in ("a", "a:", ":1", "a:x", "a:5-3", "a:-1"):
        with pytest.raises(CausalError, match="--mute takes SITE:EXPERTS"):
            parse_experts([bad], "--mute")


# ---------------------------------------------------------------------- the whole check
@pytest.fixture(scope="module")
def result(loaded: Any) -> CausalResult:
    return causal(loaded, documents(), CausalOptions(share=0.25, draws=2, resamples=200, batch_size=4))


def test_experts_are_chosen_on_the_other_half(loaded: Any, result: CausalResult) -> None:
    sides, separate = split(documents())
    assert separate and result.table.separate
    assert all(sides[a.id] == sides[b.id] for a in documents() for b in documents() if block_of(a.id) == block_of(b.id))
    for half in (0, 1):
        for group in ("animals", "talk"):
            others = [one for one in documents() if sides[one.id] != half and one.group == group]
            with torch.no_grad(), RoutingProbe(loaded.model, processor=loaded.tokenizer) as probe:
                for one in others:
                    loaded.model(loaded.tokenizer(one.text, return_tensors="pt")["input_ids"])
            count = probe.capture().count.sum(axis=1)
            for layer in range(LAYERS):
                assert result.muted[group][half][f"text_{layer}_mlp"] == [int(count[layer].argmax())]


def test_the_table_is_what_brute_force_says(loaded: Any, result: CausalResult) -> None:
    table, sides = result.table, split(documents())[0]
    full = brute_loss(loaded, documents(), {})
    for column, group in enumerate(table.groups):
        mine = [one for one in documents() if one.group == group]
        n = sum(len(loaded.tokenizer(one.text)["input_ids"]) - 1 for one in mine)
        assert (table.tokens[column], table.documents[column]) == (n, len(mine))
        assert table.full[column] == pytest.approx(sum(full[one.id, group] for one in mine) / n, rel=1e-4)
        for row, muted in enumerate(table.rows):
            change = 0.0
            for half in (0, 1):
                mute = {layer: tuple(result.muted[muted][half][f"text_{layer}_mlp"]) for layer in range(LAYERS)}
                part = [one for one in mine if sides[one.id] == half]
                changed = brute_loss(loaded, part, mute)
                change += sum(changed[key] - full[key] for key in changed)
            assert table.change.value[row, column] == pytest.approx(change / n, rel=1e-3, abs=1e-5)
    assert (table.change.low <= table.change.value + 1e-9).all() and (
        table.change.value <= table.change.high + 1e-9
    ).all()
    np.testing.assert_allclose(table.excess.value, table.change.value - table.random.value)


def test_the_same_seed_gives_the_same_table(loaded: Any, result: CausalResult) -> None:
    again = causal(loaded, documents(), CausalOptions(share=0.25, draws=2, resamples=200, batch_size=4))
    assert again.table.frame().equals(result.table.frame()) and again.sentence == result.sentence


def test_too_few_documents_choose_on_the_same_and_say_so(loaded: Any) -> None:
    found = causal(loaded, documents(1), CausalOptions(draws=2, resamples=50))
    assert not found.table.separate and "cannot be said" in found.sentence
    assert np.isnan(found.table.change.low).all(), "one document a group gives no interval"


def test_progress_cancel_and_refusals(loaded: Any) -> None:
    seen: list[tuple[int, int]] = []
    causal(
        loaded,
        documents(2),
        CausalOptions(draws=1, resamples=20),
        on_progress=lambda done, total, what: seen.append((done, total)),
    )
    rows = 4 * 5  # four texts under the full model, two groups' favourites and a random set for each
    runs = [done for done, total in seen if total == rows]
    assert seen[0] == (0, 4) and seen[-1] == (rows, rows) and runs == sorted(runs) and len(set(runs)) > 5
    stop = iter([False] * 3 + [True] * 1000)
    with pytest.raises(Stopped):
        causal(loaded, documents(2), CausalOptions(draws=1, resamples=20, batch_size=1), cancelled=lambda: next(stop))
    one_group = [Document(str(number), "only", text=text) for number, text in enumerate(TEXTS)]
    with pytest.raises(CausalError, match="all of them are in 'only'"):
        causal(loaded, one_group, CausalOptions(draws=0))
    for wrong in ({"share": 1.0}, {"draws": -1}, {"by": "liked"}, {"documents": 0}):
        with pytest.raises(CausalError):
            CausalOptions(**wrong)


def test_a_sample_is_the_same_for_the_same_seed() -> None:
    made = documents()
    kept = sample(made, 2, 0)
    assert [one.group for one in kept].count("talk") == 2 and len(kept) == 4
    assert kept == sample(made, 2, 0) and [one.id for one in kept] != [one.id for one in sample(made, 2, 5)]
    assert sample(made, None, 0) == made


@pytest.mark.parametrize("words", ["a:0", "a:0,7,12-15", "a:0-1 b_3:5", ""])
def test_experts_in_words_read_back(words: str) -> None:
    experts = parse_experts(words.split(), "--mute")
    assert experts_in_words(experts) == words and experts_in_words({**experts, "z": ()}) == words
