"""Other models in the base's place: T5, BART, GPT-2 and Llama, tiny and untrained; trained a step, saved, loaded, and held to the grammar."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from benchmarks.plain_constraint import PlainConstraint
from tests.extract.seq2seq.test_steps import plain_beams
from tests.extract.uie.test_constraint import SCHEMAS, TEXTS, batch_of, check, tiny_t5
from tests.extract.usm.conftest import tiny_encoder
from tests.tiny_gguf import make_model, save_gguf
from workbench.extract.errors import EngineError
from workbench.extract.seq2seq.batch import Example, make_batch
from workbench.extract.seq2seq.causal import PromptModel
from workbench.extract.seq2seq.decode import Decoder
from workbench.extract.seq2seq.loop import Recipe, new_optimizer, token_losses
from workbench.extract.seq2seq.model import IGNORED
from workbench.extract.seq2seq.start import save_model, start_model
from workbench.extract.seq2seq.tokens import SelTokens
from workbench.extract.uie.engine import UieEngine
from workbench.extract.uie.records import OURS

CASES = [(SCHEMAS[1], TEXTS[0]), (SCHEMAS[2], TEXTS[3]), (SCHEMAS[0], TEXTS[4])]


def backbone(name: str, words: Any) -> Any:
    torch.manual_seed(4)
    sizes = {"vocab_size": len(words), "pad_token_id": 0, "eos_token_id": 3}
    if name == "gpt2":
        made: Any = GPT2LMHeadModel(
            GPT2Config(n_positions=512, n_embd=32, n_layer=2, n_head=4, bos_token_id=2, **sizes)
        )
    elif name == "llama":
        made = LlamaForCausalLM(
            LlamaConfig(
                hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
                bos_token_id=2, **sizes,
            )
        )  # fmt: skip
    elif name == "bart":
        made = BartForConditionalGeneration(
            BartConfig(
                d_model=32, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=48,
                decoder_ffn_dim=48, max_position_embeddings=512, bos_token_id=2, decoder_start_token_id=0, forced_eos_token_id=None, **sizes,
            )
        )  # fmt: skip
    else:
        made = tiny_t5(len(words))
    with torch.no_grad():
        made.get_output_embeddings().weight.mul_(20)  # loud opinions
    return made.eval()


@pytest.fixture(params=["t5", "bart", "gpt2", "llama"])
def started(request: pytest.FixtureRequest, words: Any, tmp_path: Path) -> tuple[Any, Any]:
    folder = tmp_path / request.param
    backbone(request.param, words).save_pretrained(folder)
    words.save_pretrained(folder)
    model, tokenizer = start_model(str(folder))
    assert isinstance(model, PromptModel) == (request.param in ("gpt2", "llama"))
    return model.eval(), tokenizer


def test_constrained_output_is_that_of_the_plain_rules(started: tuple[Any, Any], words: Any, tokens: SelTokens) -> None:
    """Greedy and with beams, in a padded batch: what a search without cache, list or batch writes; and every output is well-formed."""
    model, _ = started
    for beams in (1, 3):
        made, _, machine, ids = batch_of(words, tokens, CASES, OURS, len(words))
        mask = (ids != tokens.pad).long()
        count = iter(range(10**6))
        written = Decoder(model, tokens).write(
            ids, mask, None, 10_000, machine, beams, lambda count=count: next(count) >= 12
        )
        for n, (each, (prompt, ties, pieces, source)) in enumerate(zip(written, made, strict=True)):
            plain = PlainConstraint(prompt, ties, pieces.ids.tolist(), pieces.words.tolist(), tokens)
            alone = ids[n : n + 1, : len(source)]
            wanted = plain_beams(model, alone, torch.ones_like(alone), plain, tokens, beams, len(each.ids))
            assert each.ids == wanted
        made, _, machine, ids = batch_of(words, tokens, CASES, OURS, len(words))
        check(made, tokens, Decoder(model, tokens).write(ids, mask, None, 20, machine, beams), OURS, 20)


def test_the_loss_is_of_the_structure_alone(started: tuple[Any, Any], tokens: SelTokens) -> None:
    model, _ = started
    rows = [
        ([5, 6, 7, tokens.eos], [tokens.open, tokens.close, tokens.eos]),
        ([9, tokens.eos], [tokens.open, tokens.eos]),
    ]
    batch = make_batch([Example(source, target) for source, target in rows], tokens)
    with torch.no_grad():
        found = token_losses(model, batch)
    assert found.shape == batch.labels.shape and bool((found[batch.labels == IGNORED] == 0).all())
    for row, (source, target) in zip(found, rows, strict=True):
        inputs = [tokens.start, *target[:-1]]
        with torch.no_grad():
            if isinstance(model, PromptModel):
                logits = model.lm(input_ids=torch.tensor([[*source, *inputs]])).logits[0, len(source) :]
            else:
                logits = model(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([inputs])).logits[0]
        wanted = -logits.log_softmax(-1)[range(len(target)), target]
        assert torch.allclose(row[: len(target)], wanted, atol=1e-3)


def test_trained_saved_loaded_and_explained(started: tuple[Any, Any], tokens: SelTokens, tmp_path: Path) -> None:
    model, tokenizer = started
    recipe = Recipe(freeze_embeddings=False, bf16=False)
    optimizer = new_optimizer(model, recipe)
    batch = make_batch([Example([5, 6, tokens.eos], [tokens.open, tokens.close, tokens.eos])], tokens)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for group in optimizer.param_groups:
        group["lr"] = 1e-3
    token_losses(model, batch).sum().backward()
    optimizer.step()
    assert any(not torch.equal(before[name], value) for name, value in model.state_dict().items())
    save_model(tmp_path / "made", model, tokenizer)
    assert list((tmp_path / "made").glob("*.safetensors"))
    engine = UieEngine.load(str(tmp_path / "made"), "cpu")
    text = "marie curie worked in paris"
    schema = {"entities": ["person", "city"]}
    found = engine.extract([text, text], schema)
    assert found[0].entities == found[1].entities and engine.counts["well-formed"] == 2
    if found[0].entities:
        evidence = engine.explain(text, schema, found[0].entities[0])
        assert evidence.steps and evidence.attention is not None
        assert len(evidence.attention.columns) == len(evidence.attention.weights[0][0])
    assert engine.replay(text, schema)[0].status == "well-formed"


def test_an_encoder_still_gets_a_copying_decoder(words: Any, tmp_path: Path) -> None:
    tiny_encoder(len(words)).save_pretrained(tmp_path / "bert")
    copy.deepcopy(words).save_pretrained(tmp_path / "bert")
    model, _ = start_model(str(tmp_path / "bert"))
    assert type(model).__name__ == "CopySeq2Seq"


def test_an_encoder_alone_is_no_uie_model(words: Any, tmp_path: Path) -> None:
    tiny_encoder(len(words)).save_pretrained(tmp_path / "bert")
    words.save_pretrained(tmp_path / "bert")
    with pytest.raises(EngineError, match="needs an encoder-decoder"):
        UieEngine.load(str(tmp_path / "bert"), "cpu")


def test_a_gguf_file_is_a_backbone_and_is_saved_as_safetensors(tmp_path: Path) -> None:
    """Scores are those of the model that was written into the file; what is saved loads as an engine."""
    model, tokenizer = start_model(str(save_gguf(tmp_path / "tiny.gguf")))
    assert isinstance(model, PromptModel) and model.lm.get_input_embeddings().weight.dtype == torch.float32
    wanted, ids = make_model(), torch.arange(40)[None]
    with torch.no_grad():
        theirs = wanted(input_ids=ids).logits
        assert torch.allclose(model.lm.eval()(input_ids=ids).logits[..., : theirs.shape[-1]], theirs, atol=1e-5)
    save_model(tmp_path / "made", model, tokenizer)
    assert list((tmp_path / "made").glob("*.safetensors"))
    engine = UieEngine.load(str(tmp_path / "made"), "cpu")
    engine.extract(["ab cd"], {"entities": ["x"]})
    assert engine.counts == {"well-formed": 1}
