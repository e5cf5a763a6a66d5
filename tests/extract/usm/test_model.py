"""The model: what may see what, rotary scores, the loss, storage; each against something computed another way."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import DistilBertConfig, MPNetConfig, MPNetModel, RobertaConfig, RobertaModel

from tests.extract.usm.conftest import tiny_encoder
from workbench.extract.errors import EngineError
from workbench.extract.storage import STORAGES, dequantise, quantise
from workbench.extract.usm.batch import Sample, make_batch, special_tokens
from workbench.extract.usm.config import LINKS
from workbench.extract.usm.loss import summed, zlpr
from workbench.extract.usm.model import UsmModel, label_states, new_model, rotate
from workbench.extract.usm.pieces import SHAPES, encode_texts, shape_of
from workbench.extract.usm.prompt import LabelCoder, LabelText, verbalise
from workbench.extract.usm.weights import load_model, save_model


def scores_of(model: UsmModel, tokenizer: Any, texts: list[str], labels: list[str], mentions: int) -> Any:
    coder = LabelCoder(tokenizer, 12)
    ids = tuple(coder.ids(LabelText(label)) for label in labels)
    samples = [Sample(pieces, ids, mentions) for pieces in encode_texts(tokenizer, texts)]
    with torch.no_grad():
        return model(make_batch(samples, *special_tokens(tokenizer)))


TEXT = "Marie Curie worked in Paris for the university of Warsaw"


def test_order_of_labels_does_not_matter(model: UsmModel, tokenizer: Any) -> None:
    one = scores_of(model, tokenizer, [TEXT], ["person", "city", "company", "works for"], 3)
    other = scores_of(model, tokenizer, [TEXT], ["company", "person", "city", "works for"], 3)
    torch.testing.assert_close(one.tokens, other.tokens, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        one.from_label[:, :, [0, 1, 2, 3]], other.from_label[:, :, [1, 2, 0, 3]], atol=1e-5, rtol=1e-4
    )
    torch.testing.assert_close(one.to_label[..., [0, 1, 2, 3]], other.to_label[..., [1, 2, 0, 3]], atol=1e-5, rtol=1e-4)


def test_padding_and_company_of_other_samples_do_not_matter(model: UsmModel, tokenizer: Any) -> None:
    alone = scores_of(model, tokenizer, ["Paris"], ["person", "city"], 2)
    beside = scores_of(model, tokenizer, ["Paris", TEXT], ["person", "city"], 2)
    torch.testing.assert_close(alone.tokens[0], beside.tokens[0, :, :1, :1], atol=1e-5, rtol=1e-4)


def test_text_sees_labels(model: UsmModel, tokenizer: Any) -> None:
    one = scores_of(model, tokenizer, [TEXT], ["person"], 1)
    other = scores_of(model, tokenizer, [TEXT], ["city"], 1)
    assert (one.tokens - other.tokens).abs().max() > 1e-3


def test_kind_of_a_label_and_shape_of_a_word_are_seen(model: UsmModel, tokenizer: Any) -> None:
    mention = scores_of(model, tokenizer, [TEXT], ["person"], 1)
    pair = scores_of(model, tokenizer, [TEXT], ["person"], 0)
    assert (mention.from_label - pair.from_label).abs().max() > 1e-3
    lower = scores_of(model, tokenizer, [TEXT.lower()], ["person"], 1)
    assert (mention.tokens - lower.tokens).abs().max() > 1e-3, "the vocabulary is uncased, so only the shape can tell"


def test_label_sees_no_other_label_even_through_a_trained_looking_encoder(model: UsmModel, tokenizer: Any) -> None:
    """With labels blind to the text, a label's side of a link cannot change with the other labels."""
    model.config.labels_see_text = False
    coder = LabelCoder(tokenizer, 12)

    def anchor(labels: list[str]) -> Tensor:
        ids = tuple(coder.ids(LabelText(label)) for label in labels)
        batch = make_batch([Sample(encode_texts(tokenizer, [TEXT])[0], ids, len(ids))], *special_tokens(tokenizer))
        with torch.no_grad():
            states = model.encode(batch).last_hidden_state
        found: Tensor = states[0, int(batch.anchors[0, 0])]
        return found

    torch.testing.assert_close(
        anchor(["person", "city"]), anchor(["person", "company works for"]), atol=1e-5, rtol=1e-4
    )


def test_label_vector_is_the_mean_of_the_states_of_the_label_and_no_other(model: UsmModel, tokenizer: Any) -> None:
    coder = LabelCoder(tokenizer, 12)
    ids = tuple(coder.ids(LabelText(label)) for label in ("person", "company works for"))
    samples = [Sample(encode_texts(tokenizer, [TEXT])[0], ids[:n], n) for n in (2, 1)]
    batch = make_batch(samples, *special_tokens(tokenizer))
    hidden = torch.randn(2, batch.ids.shape[1], 6, generator=torch.Generator().manual_seed(0))
    found = label_states(hidden, batch, "mean")
    size = len(ids[0]) + 1
    torch.testing.assert_close(found[0, 0], hidden[0, :size].mean(0))
    torch.testing.assert_close(found[0, 1], hidden[0, size : size + len(ids[1]) + 1].mean(0))
    torch.testing.assert_close(found[1, 0], hidden[1, :size].mean(0))
    assert not found[1, 1].any(), "a label that is not there"
    torch.testing.assert_close(label_states(hidden, batch, "first")[0, 1], hidden[0, size])


def test_rotary_score_depends_on_distance_only_and_is_the_rotation_of_complex_numbers() -> None:
    torch.manual_seed(2)
    left, right = torch.randn(1, 8), torch.randn(1, 8)
    turned_left, turned_right = rotate(left.expand(12, 8), 10_000.0), rotate(right.expand(12, 8), 10_000.0)
    scores = turned_left @ turned_right.T
    for distance in range(-5, 6):
        diagonal = torch.diagonal(scores, distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-4, rtol=1e-4)
        pairs = np.arange(4)
        turn = np.exp(1j * distance * 10_000.0 ** (-pairs / 4))
        a = left[0, 0::2].numpy() + 1j * left[0, 1::2].numpy()
        b = right[0, 0::2].numpy() + 1j * right[0, 1::2].numpy()
        assert diagonal[0].item() == pytest.approx(float((np.conj(a) * b * turn).real.sum()), abs=1e-3)


def test_loss_is_the_sum_over_its_definition_and_leaves_ignored_cells_out() -> None:
    scores = torch.tensor([[2.0, -1.0, 0.5, 7.0]])
    target = torch.tensor([[1, 0, 0, -1]], dtype=torch.int8)
    expected = math.log(1 + math.exp(-2.0)) + math.log(1 + math.exp(-1.0) + math.exp(0.5))
    assert zlpr(scores, target).item() == pytest.approx(expected, rel=1e-5)
    assert zlpr(scores, torch.full_like(target, -1)).item() == 0.0


def test_loss_has_no_gradient_at_ignored_cells() -> None:
    scores = torch.zeros(1, 3, requires_grad=True)
    zlpr(scores, torch.tensor([[1, 0, -1]], dtype=torch.int8)).sum().backward()
    assert scores.grad is not None
    assert scores.grad[0, 2] == 0 and scores.grad[0, 0] < 0 < scores.grad[0, 1]


def test_links_that_only_pairs_have_can_weigh_more() -> None:
    losses = {name: torch.tensor(float(10**place)) for place, name in enumerate(LINKS)}
    assert summed(losses).item() == 1111111
    assert summed(losses, 3.0).item() == 1 + 30 + 300 + 1000 + 10000 + 300000 + 3000000


@pytest.mark.parametrize("storage", STORAGES)
def test_storage_comes_back(model: UsmModel, tokenizer: Any, tmp_path: Path, storage: str) -> None:
    save_model(tmp_path / storage, model, tokenizer, storage)
    loaded, same = load_model(tmp_path / storage)
    assert same("Marie Curie")["input_ids"] == tokenizer("Marie Curie")["input_ids"]
    one, other = scores_of(model, tokenizer, [TEXT], ["person"], 1), scores_of(loaded, same, [TEXT], ["person"], 1)
    tolerance = {"float32": 1e-5, "float16": 0.02, "int8": 0.5}[storage]
    assert (one.tokens - other.tokens).abs().max() < tolerance * max(1.0, float(one.tokens.abs().max()))


def test_int8_is_off_by_half_a_step_at_most() -> None:
    torch.manual_seed(3)
    weight = torch.randn(7, 300) * torch.tensor([0.01, 0.1, 1, 10, 100, 3, 5])[:, None]
    whole, scale = quantise(weight)
    assert whole.dtype == torch.int8
    error = (dequantise(whole, scale) - weight).abs()
    assert (error <= scale.float()[:, None] * 0.57).all(), (
        "half a step, and the rounding of the scale itself to float16"
    )


def test_other_encoders(tokenizer: Any) -> None:
    config = RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=48, max_position_embeddings=66,
        attn_implementation="eager",
    )  # fmt: skip
    made = new_model(RobertaModel(config).eval()).eval()
    assert made._first_position == config.pad_token_id + 1
    scores_of(made, tokenizer, [TEXT], ["person", "city"], 2)


def test_mpnet_keeps_to_the_mask(tokenizer: Any) -> None:
    """Its relative positions follow the sequence, so the order of labels may matter a little, but labels stay apart."""
    config = MPNetConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=66,
    )
    scores_of(new_model(MPNetModel(config).eval()).eval(), tokenizer, [TEXT], ["person", "city"], 2)


def test_an_encoder_that_cannot_keep_labels_apart_is_refused(monkeypatch: pytest.MonkeyPatch, tokenizer: Any) -> None:
    encoder = tiny_encoder(len(tokenizer))
    real = encoder.forward

    def deaf(
        inputs_embeds: Tensor | None = None, attention_mask: Tensor | None = None, position_ids: Tensor | None = None
    ) -> Any:
        return real(inputs_embeds=inputs_embeds, position_ids=position_ids)

    monkeypatch.setattr(encoder, "forward", deaf)
    with pytest.raises(EngineError, match="a label sees another one"):
        new_model(encoder)


def test_an_encoder_without_positions_is_refused() -> None:
    from transformers import DistilBertModel

    class Bare(DistilBertModel):
        def forward(self, inputs_embeds: Tensor | None = None, attention_mask: Tensor | None = None) -> Any:  # type: ignore[override]
            raise AssertionError("never asked")

    with pytest.raises(EngineError, match="position_ids"):
        new_model(Bare(DistilBertConfig(vocab_size=20, dim=16, n_layers=1, n_heads=2, hidden_dim=16)))


@pytest.mark.parametrize(
    ("name", "words"),
    [("Work_For", "work for"), ("Life.Die", "life die"), ("CellLine", "cell line"), ("DNA", "DNA"), ("creative-work", "creative-work"),
     ("OrgBased_In", "org based in"), ("___", "___"), ("病気", "病気")],
)  # fmt: skip
def test_names_become_words(name: str, words: str) -> None:
    assert verbalise(name) == words


@pytest.mark.parametrize(
    ("word", "shape"),
    [("paris", "lower"), ("Paris", "Title"), ("NASA", "UPPER"), ("X", "one capital"), ("iPhone", "miXed"), ("McDonald", "miXed"), ("1998", "digits"),
     ("B12", "letters and digits"), ("中文", "caseless"), ("...", "sign"), ("Élan", "Title"), ("शब्द", "caseless")],
)  # fmt: skip
def test_shapes(word: str, shape: str) -> None:
    assert SHAPES[shape_of(word)] == shape
