"""LoRA by peft: only small parts change, and what is saved is a plain model that computes the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.extract.seq2seq.conftest import tiny_copy
from tests.extract.uie.test_backbones import backbone
from workbench.extract.errors import EngineError
from workbench.extract.seq2seq.batch import Example, make_batch
from workbench.extract.seq2seq.causal import PromptModel
from workbench.extract.seq2seq.loop import Recipe, new_optimizer, token_losses
from workbench.extract.seq2seq.lora import with_lora
from workbench.extract.seq2seq.start import save_model, start_model
from workbench.extract.seq2seq.tokens import SelTokens
from workbench.extract.uie.train.run import start_training


@pytest.mark.parametrize("name", ["t5", "llama"])
def test_small_parts_are_trained_and_saved_within_the_whole(
    words: Any, tokens: SelTokens, tmp_path: Path, name: str
) -> None:
    pytest.importorskip("peft")
    backbone(name, words).save_pretrained(tmp_path / "start")
    words.save_pretrained(tmp_path / "start")
    model, tokenizer = start_model(str(tmp_path / "start"))
    model = with_lora(model, 2)
    optimizer = new_optimizer(model, Recipe(bf16=False))
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained and all("lora_" in n for n in trained)
    for group in optimizer.param_groups:
        group["lr"] = 0.05
    batch = make_batch([Example([5, 6, tokens.eos], [tokens.open, tokens.close, tokens.eos])], tokens)
    before = token_losses(model, batch).sum()
    for _ in range(3):
        optimizer.zero_grad()
        token_losses(model, batch).sum().backward()
        optimizer.step()
    model.eval()
    after = token_losses(model, batch).sum()
    assert after < before
    save_model(tmp_path / "made", model, tokenizer)
    again, _ = start_model(str(tmp_path / "made"))
    assert not any("lora_" in n for n in again.state_dict())
    assert torch.allclose(token_losses(again.eval(), batch).sum(), after, atol=1e-3)


@pytest.mark.parametrize("name", ["t5", "gpt2", "llama"])
@pytest.mark.parametrize("lora", [False, True])
def test_special_tokens_learn_where_word_embeddings_are_kept(
    words: Any, tokens: SelTokens, name: str, lora: bool
) -> None:
    """Rows of structure tokens change, of input and output; every other row is what it was, to the bit."""
    if lora:
        pytest.importorskip("peft")
    model: Any = backbone(name, words)
    model = model if name == "t5" else PromptModel(model)
    model = with_lora(model, 2) if lora else model
    ends = {n: m.weight for n, m in (("in", model.get_input_embeddings()), ("out", model.get_output_embeddings()))}
    before = {n: weight.detach().clone() for n, weight in ends.items()}
    special = [tokens.open, tokens.close, tokens.eos]
    optimizer = new_optimizer(model, Recipe(bf16=False, weight_decay=0.5), special)
    for group in optimizer.param_groups:
        group["lr"] = 0.05
    batch = make_batch([Example([5, 6, tokens.eos], [tokens.open, 6, tokens.close, tokens.eos])], tokens)
    for _ in range(2):
        optimizer.zero_grad()
        token_losses(model, batch).sum().backward()
        optimizer.step()
    for end, weight in ends.items():
        changed = set((weight != before[end]).any(1).nonzero().flatten().tolist())
        whole = end == "out" and not lora and weight is not ends["in"]  # an output matrix of its own is trained whole
        assert changed == set(special) if not whole else changed > set(special), (end, changed)


def test_a_base_that_copies_is_trained_whole(words: Any) -> None:
    with pytest.raises(EngineError, match="leave --lora out"):
        with_lora(tiny_copy(words), 4)


def test_the_seed_decides_what_is_new_in_a_model(plain_tokenizer: Any, tmp_path: Path) -> None:
    """Low-rank parts and rows of added tokens: the same for a seed, others for another."""
    pytest.importorskip("peft")
    backbone("llama", plain_tokenizer).save_pretrained(tmp_path / "start")
    plain_tokenizer.save_pretrained(tmp_path / "start")

    def new_parts(seed: int) -> dict[str, torch.Tensor]:
        started = start_training(str(tmp_path / "start"), tmp_path / "run", lora=2, seed=seed)
        values = {n: v for n, v in started.model.state_dict().items() if "lora_A" in n}
        return {**values, "rows": started.model.get_input_embeddings().weight[len(plain_tokenizer) :]}

    one, again, other = new_parts(1), new_parts(1), new_parts(2)
    assert len(one) > 5 and len(one["rows"]) == 22
    for name, value in one.items():
        assert torch.equal(value, again[name]) and not torch.equal(value, other[name]), name
