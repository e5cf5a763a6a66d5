"""Labels that see neither text nor each other: the layout of a prompt, and that a USM model's encoder reads it as USM does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import FNetConfig, FNetModel, RobertaConfig, RobertaModel

from tests.extract.seq2seq.conftest import tiny_copy
from tests.extract.usm.conftest import tiny_encoder
from workbench.extract.seq2seq.apart import Layout, cannot_read_apart
from workbench.extract.seq2seq.start import start_model
from workbench.extract.seq2seq.tokens import SelTokens, encode_plain
from workbench.extract.seq2seq.weights import load_copy_model, save_copy_model
from workbench.extract.usm.batch import MENTION, PAIR, TEXT, Sample, make_batch

SPOT, ASOC, TEXT_MARK = 90, 91, 92


def test_the_layout_of_a_prompt() -> None:
    source = torch.tensor(
        [[SPOT, 1, 2, SPOT, 3, ASOC, 4, TEXT_MARK, 5, SPOT, 6, 7], [TEXT_MARK, 1, 2, 7, 0, 0, 0, 0, 0, 0, 0, 0]]
    )
    layout = Layout.of(source, (SPOT, ASOC, TEXT_MARK))
    assert layout.segments.tolist()[0] == [1, 1, 1, 2, 2, 3, 3, 0, 0, 0, 0, 0], "a mark inside the text is text"
    assert layout.positions.tolist()[0] == [0, 1, 2, 0, 1, 0, 1, 0, 1, 2, 3, 4]
    assert layout.kinds.tolist()[0] == [MENTION] * 5 + [PAIR] * 2 + [TEXT] * 5
    assert layout.segments[1].tolist() == [0] * 12 and layout.positions[1].tolist() == list(range(12))
    mask = torch.tensor([[1] * 12, [1] * 4 + [0] * 8])
    seen = layout.seen(mask)
    for one in range(12):
        for other in range(12):
            own = layout.segments[0, one] == layout.segments[0, other]
            assert seen[0, one, other] == bool(own or layout.segments[0, one] == 0), (one, other)
    assert not seen[1, :, 4:].any() and seen[1, :, :4].all()


def test_a_label_is_pointed_at_by_the_mean_of_its_states() -> None:
    source = torch.tensor([[SPOT, 1, 2, ASOC, 3, TEXT_MARK, 5, 6]])
    states = torch.randn(1, 8, 4, generator=torch.Generator().manual_seed(0))
    pooled = Layout.of(source, (SPOT, ASOC, TEXT_MARK)).pooled(states)
    assert torch.allclose(pooled[0, :3], states[0, :3].mean(0).expand(3, -1), atol=1e-6)
    assert torch.allclose(pooled[0, 3:5], states[0, 3:5].mean(0).expand(2, -1), atol=1e-6)
    assert torch.equal(pooled[0, 5:], states[0, 5:])


def test_the_encoder_of_a_usm_model_reads_a_prompt_as_usm_does(plain_tokenizer: Any, tmp_path: Path) -> None:
    from workbench.extract.usm.model import new_model
    from workbench.extract.usm.weights import save_model

    usm = new_model(tiny_encoder(len(plain_tokenizer)), labels_see_text=False, label_vector="mean").eval()
    with torch.no_grad():
        for table in (usm.shape, usm.kind, usm.token_sides, usm.label_sides):
            table.weight.normal_(std=0.5)
        usm.bias.uniform_(-3, 3)
    save_model(tmp_path / "usm", usm, plain_tokenizer)
    model, tokenizer = start_model(str(tmp_path / "usm"), decoder_ffn=48)
    model.eval()
    tokens = SelTokens.of(tokenizer)
    pieces = encode_plain(tokenizer, tokens, ["Marie worked in Paris."])[0]
    labels = [tuple(plain_tokenizer(each, add_special_tokens=False)["input_ids"]) for each in ("person", "city", "works for")]  # fmt: skip
    source: list[int] = []
    for number, label in enumerate(labels):
        source += (tokens.asoc if number == 2 else tokens.spot, *label)
    source.append(tokens.text)
    shapes = [0] * len(source) + pieces.shapes.tolist() + [0]
    source += [*pieces.ids.tolist(), tokens.eos]
    sample = Sample(pieces, tuple(labels), 2)
    special = (plain_tokenizer.cls_token_id, plain_tokenizer.sep_token_id, plain_tokenizer.pad_token_id)
    with torch.no_grad():
        theirs = usm.encode(make_batch([sample], *special)).last_hidden_state
        ours = model.encoder(torch.tensor([source]), None, torch.tensor([shapes])).last_hidden_state
        assert torch.allclose(ours, theirs, atol=1e-5)
        ids, (opening, colon, _) = torch.tensor([source]), model.config.ahead
        layout = Layout.of(ids, model.config.apart)
        first = ((layout.segments[0] > 0) & (layout.positions[0] == 1)).nonzero().flatten().tolist()
        _, sight = model.pointed(ours, ids, model.copyable[ids])
        links = usm.score(theirs, make_batch([sample], *special)).from_label[0, 0]  # [L, T]
        begin = source.index(tokens.text) + 1
        state, nothing = torch.zeros(1, 1, ours.shape[-1]), torch.zeros(1, 1, len(source))
        for at in range(len(pieces)):  # looking at one place alone, a label's score is its link to it
            only = torch.full_like(sight.likely, -1e9)
            only[0, begin + at] = 0.0
            scores = model.ahead(state, torch.tensor([[opening]]), sight._replace(likely=only), nothing)
            assert torch.allclose(scores[0, 0, first], links[:, at], atol=1e-4), at
            others = [n for n in range(len(source)) if n not in first]
            assert not scores[0, 0, others].any(), "only labels get a score"
        expected = links.double().exp().sum(0).log()
        assert torch.allclose(sight.likely[0, begin : begin + len(pieces)].double(), expected, atol=1e-4)
        assert bool((sight.likely[0, :begin] < -1e8).all()), "the prompt cannot be looked at"
        for number, at in enumerate(first):  # behind a label, its links say where a span may begin
            said = nothing.clone()
            said[0, 0, at + len(labels[number]) - 1] = 0.5  # the rest stands in the text, and does not count
            said[0, 0, begin] = 0.5
            starts = model.ahead(state, torch.tensor([[colon]]), sight, said)[0, 0]
            assert torch.allclose(starts[begin : begin + len(pieces)], links[number], atol=1e-4), number
            assert not starts[:begin].any() and not starts[begin + len(pieces) :].any()
            assert not model.ahead(state, torch.tensor([[tokens.close]]), sight, said).any(), (
                "elsewhere nothing is added"
            )
        assert not model.ahead(state, torch.tensor([[colon]]), sight, nothing).any(), "no label was written"


def test_labels_do_not_change_with_text_or_neighbours(words: Any, tmp_path: Path) -> None:
    model = tiny_copy(words)
    assert model.config.apart is not None
    spot, _, text = model.config.apart
    one = torch.tensor([[spot, 5, 6, spot, 7, text, 8, 9]])
    other = torch.tensor([[spot, 5, 6, spot, 4, text, 9, 10]])
    with torch.no_grad():
        first, second = (model.encoder(ids).last_hidden_state[0] for ids in (one, other))
        keys, _ = model.pointed(first[None], one, model.copyable[one])
    assert torch.allclose(first[:3], second[:3], atol=1e-6) and not torch.allclose(first[3:], second[3:], atol=1e-3)
    save_copy_model(tmp_path, model, words)
    again, _ = load_copy_model(tmp_path)
    with torch.no_grad():
        states = again.encoder(one).last_hidden_state
    assert torch.allclose(states[0], first, atol=1e-6) and torch.allclose(again.pointed(states, one, again.copyable[one])[0], keys, atol=1e-6)  # fmt: skip


@pytest.mark.parametrize("kind", ["roberta", "fnet"])
def test_whether_an_encoder_can_read_labels_apart_is_tried(kind: str) -> None:
    sizes: dict[str, Any] = {"vocab_size": 60, "max_position_embeddings": 64}
    if kind == "roberta":
        config = RobertaConfig(**sizes, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, pad_token_id=1)  # fmt: skip
        assert cannot_read_apart(RobertaModel(config)) == ""
    else:  # it mixes all places and takes no mask
        assert "attention_mask" in cannot_read_apart(
            FNetModel(FNetConfig(**sizes, hidden_size=16, num_hidden_layers=1, intermediate_size=32))
        )
