"""The copying model: what it can write, its cache, its loss against brute force, its weights on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.extract.seq2seq.conftest import tiny_copy
from tests.extract.usm.conftest import tiny_encoder
from workbench.extract.errors import EngineError
from workbench.extract.seq2seq.model import ANYWHERE, IGNORED, CopySeq2Seq, run_lengths
from workbench.extract.seq2seq.start import start_model
from workbench.extract.seq2seq.tokens import SelTokens
from workbench.extract.seq2seq.weights import CONFIG, WEIGHTS, load_copy_model, save_copy_model
from workbench.extract.storage import STORAGES


def batch(words: Any, tokens: SelTokens) -> dict[str, torch.Tensor]:
    made = words(
        ["marie in paris met marie in warsaw", "the city"], return_tensors="pt", padding=True, add_special_tokens=False
    )
    target = words(["in paris met", "city the city"], return_tensors="pt", add_special_tokens=False)["input_ids"]
    start = torch.full((2, 1), tokens.start)
    return {
        "input_ids": made["input_ids"],
        "attention_mask": made["attention_mask"],
        "decoder_input_ids": torch.cat((start, target[:, :-1]), 1),
        "labels": target,
    }


def test_only_fixed_tokens_and_those_of_the_source_can_be_written(
    model: CopySeq2Seq, words: Any, tokens: SelTokens
) -> None:
    fed = batch(words, tokens)
    fed.pop("labels")
    with torch.no_grad():
        chances = model(**fed).logits.exp()
    assert torch.allclose(chances.sum(-1), torch.ones(2, 3), atol=1e-5)
    for row in range(2):
        there = set(fed["input_ids"][row][fed["attention_mask"][row].bool()].tolist()) | set(model.config.fixed)
        assert set(chances[row].amax(0).nonzero().flatten().tolist()) <= there
    assert tokens.text not in model.config.fixed and {
        tokens.open,
        tokens.close,
        tokens.colon,
        tokens.null,
        tokens.eos,
    } <= set(model.config.fixed)


def test_the_cache_changes_nothing(model: CopySeq2Seq, words: Any, tokens: SelTokens) -> None:
    fed = batch(words, tokens)
    fed.pop("labels")
    prefix = fed["decoder_input_ids"]
    with torch.no_grad():
        whole = model(**fed)
        encoded = model.encoder(fed["input_ids"], fed["attention_mask"])
        past, parts = None, []
        for n in range(prefix.shape[1]):
            out = model(
                encoder_outputs=encoded, attention_mask=fed["attention_mask"], decoder_input_ids=prefix[:, n : n + 1],
                decoder_prefix=prefix[:, : n + 1], past_key_values=past, use_cache=True,
            )  # fmt: skip
            past = out.past_key_values
            parts.append(out.logits)
    assert torch.allclose(torch.cat(parts, 1).exp(), whole.logits.exp(), atol=1e-5)


def test_run_lengths_against_a_plain_loop() -> None:
    draw = torch.Generator().manual_seed(0)
    prefix = torch.randint(0, 3, (4, 9), generator=draw)
    source = torch.randint(0, 3, (4, 12), generator=draw)
    there = torch.rand((4, 12), generator=draw) > 0.1
    for last in (1, 3, 9):
        made = run_lengths(prefix, source, there, 4, last)
        for b in range(4):
            for t in range(9 - last, 9):
                for s in range(12):
                    count = 0
                    while (
                        count < 4
                        and t - count >= 0
                        and s - count >= 0
                        and there[b, s - count]
                        and source[b, s - count] == prefix[b, t - count]
                    ):
                        count += 1
                    assert made[b, t - 9 + last, s] == count


def test_the_loss_is_the_log_of_the_probability(model: CopySeq2Seq, words: Any, tokens: SelTokens) -> None:
    fed = batch(words, tokens)
    labels = fed.pop("labels")
    with torch.no_grad():
        out = model(**fed)
        sure = out.logits.log_softmax(-1).gather(2, labels[..., None])[..., 0]
        loss = model.loss(fed["input_ids"], fed["attention_mask"], None, fed["decoder_input_ids"], labels)
        assert torch.allclose(loss, -sure, atol=1e-4)
        places = torch.full_like(labels, ANYWHERE)
        places[0, 0] = 5  # the second "in"
        placed = model.loss(fed["input_ids"], fed["attention_mask"], None, fed["decoder_input_ids"], labels, places)
        assert placed[0, 0] == pytest.approx(-float(out.pointer[0, 0, 5]), abs=1e-4) and placed[0, 0] > loss[0, 0]
        hidden = labels.clone()
        hidden[1] = IGNORED
        assert model.loss(fed["input_ids"], fed["attention_mask"], None, fed["decoder_input_ids"], hidden)[1].sum() == 0


def test_an_untrained_model_goes_on_copying(words: Any, tokens: SelTokens) -> None:
    """The bonus alone makes what stands behind the copied words the likeliest word, before any training."""
    made = tiny_copy(words)
    with torch.no_grad():
        made.gain.fill_(12.0)
    source = words("marie curie worked in paris", return_tensors="pt", add_special_tokens=False)["input_ids"]
    prefix = torch.cat((torch.tensor([[tokens.start, tokens.open]]), source[:, 1:3]), 1)
    with torch.no_grad():
        out = made(input_ids=source, decoder_input_ids=prefix)
    assert out.logits[0, -1].argmax() == source[0, 3]


def test_generate_of_transformers_works_with_beams(model: CopySeq2Seq, words: Any, tokens: SelTokens) -> None:
    fed = batch(words, tokens)
    out = model.generate(
        input_ids=fed["input_ids"], attention_mask=fed["attention_mask"], num_beams=3, max_new_tokens=8
    )
    alone = model.generate(
        input_ids=fed["input_ids"][:1], attention_mask=fed["attention_mask"][:1], num_beams=3, max_new_tokens=8
    )
    assert out.shape[0] == 2 and out[0, : alone.shape[1]].tolist() == alone[0].tolist()


@pytest.mark.parametrize("storage", STORAGES)
def test_weights_on_disk(model: CopySeq2Seq, words: Any, tokens: SelTokens, tmp_path: Path, storage: str) -> None:
    save_copy_model(tmp_path, model, words, storage)
    again, tokenizer = load_copy_model(tmp_path)
    fed = batch(words, tokens)
    fed.pop("labels")
    with torch.no_grad():
        a, b = model(**fed).logits.exp(), again(**fed).logits.exp()
    assert (a - b).abs().max() < (1e-6 if storage == "float32" else 0.05)
    assert tokenizer.get_vocab() == words.get_vocab() and again.config.fixed == model.config.fixed


def test_faults_on_disk_are_one_sentence(model: CopySeq2Seq, words: Any, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="holds no copying"):
        load_copy_model(tmp_path)
    save_copy_model(tmp_path, model, words)
    (tmp_path / WEIGHTS).write_bytes((tmp_path / WEIGHTS).read_bytes()[:1000])
    with pytest.raises(EngineError, match="cannot be read"):
        load_copy_model(tmp_path)
    (tmp_path / CONFIG).write_text("[1]", encoding="utf-8")
    with pytest.raises(EngineError, match="holds no copying"):
        load_copy_model(tmp_path)
    with pytest.raises(EngineError, match="cannot be loaded"):
        start_model(str(tmp_path / "nothing"))


def test_the_decoder_starts_from_the_encoder(words: Any) -> None:
    import copy

    from workbench.extract.seq2seq.weights import new_copy_model

    encoder = tiny_encoder(len(words))
    theirs = encoder.encoder.layer[1].attention.self.query.weight.detach().clone()
    made = new_copy_model(encoder, copy.deepcopy(words), decoder_layers=2)
    own = made.decoder.encoder.layer[1]
    assert torch.equal(own.attention.self.query.weight, theirs) and torch.equal(
        own.crossattention.self.query.weight, theirs
    )


def test_a_run_starts_from_a_usm_model_or_an_encoder(words: Any, plain_tokenizer: Any, tmp_path: Path) -> None:
    from workbench.extract.usm.model import new_model
    from workbench.extract.usm.weights import save_model

    usm = new_model(tiny_encoder(len(plain_tokenizer)), head_size=8)
    with torch.no_grad():
        usm.shape.weight.normal_()
    save_model(tmp_path / "usm", usm, plain_tokenizer)
    model, tokenizer = start_model(str(tmp_path / "usm"), decoder_ffn=48)
    assert isinstance(model, CopySeq2Seq) and torch.equal(model.encoder.shape.weight, usm.shape.weight)
    assert len(tokenizer) == len(plain_tokenizer) + 22
    encoder = tiny_encoder(len(plain_tokenizer))
    encoder.save_pretrained(tmp_path / "bert")
    plain_tokenizer.save_pretrained(tmp_path / "bert")
    model, _ = start_model(str(tmp_path / "bert"), decoder_ffn=48)
    assert isinstance(model, CopySeq2Seq) and model.config.shapes, "an uncased vocabulary gets word shapes"


def test_models_share_word_embeddings_though_special_tokens_began_elsewhere(words: Any, tmp_path: Path) -> None:
    """Rows of special tokens are drawn by chance in each model; what they and their own part come to is kept."""
    one, two = tiny_copy(words), tiny_copy(words)
    special = two.encoder.mark.nonzero().flatten()
    with torch.no_grad():
        two.get_input_embeddings().weight[special] += 1.0  # type: ignore[index, operator]
        two.encoder.marks.weight[1:].normal_()
    save_copy_model(tmp_path / "one", one, words)
    whole = save_copy_model(tmp_path / "whole", two, words)
    assert save_copy_model(tmp_path / "two", two, words, words_of=tmp_path / "one") < whole
    again, _ = load_copy_model(tmp_path / "two")
    ids = torch.arange(len(words))
    assert torch.allclose(again.encoder.embed(ids), two.encoder.embed(ids), atol=1e-5)
    with torch.no_grad():
        two.get_input_embeddings().weight[5] += 1.0  # type: ignore[index, operator]
    with pytest.raises(EngineError, match="other word embeddings"):
        save_copy_model(tmp_path / "three", two, words, words_of=tmp_path / "one")
