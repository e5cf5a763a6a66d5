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
from workbench.extract.seq2seq.loop import Recipe, new_optimizer, token_losses
from workbench.extract.seq2seq.lora import with_lora
from workbench.extract.seq2seq.start import save_model, start_model
from workbench.extract.seq2seq.tokens import SelTokens


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


def test_a_base_that_copies_is_trained_whole(words: Any) -> None:
    with pytest.raises(EngineError, match="leave --lora out"):
        with_lora(tiny_copy(words), 4)
