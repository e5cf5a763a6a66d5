"""The text tokenizer: special tokens first, nothing unknown, class names short."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models

from workbench.unified.segments import SPECIALS, UnifiedError
from workbench.unified.tokenizers.bundle import Tokenizers
from workbench.unified.tokenizers.text import TextTokenizer, train_text


def test_the_special_tokens_are_the_first_ids(tokenizers: Tokenizers) -> None:
    assert [tokenizers.text.backend.token_to_id(name) for name in SPECIALS] == list(range(16))
    assert tokenizers.text.vocabulary == 400


@pytest.mark.parametrize("text", ["a picture of clothes: trousers", "Ünïcödé 漢字 🙂", "tab\tand\nline", "1234567890"])
def test_every_text_comes_back(tokenizers: Tokenizers, text: str) -> None:
    assert tokenizers.text.decode(tokenizers.text.encode(text)) == text


def test_words_of_a_special_token_never_become_one(tokenizers: Tokenizers) -> None:
    assert min(tokenizers.text.encode("<eos> and <image><bos>")) >= len(SPECIALS)
    assert tokenizers.text.decode([1, *tokenizers.text.encode("word"), 2]) == "word"


def test_transformers_reads_the_same_tokenizer(tokenizers: Tokenizers, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizers.text.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded("the digit seven")["input_ids"] == [1, *tokenizers.text.encode("the digit seven")]
    assert (loaded.pad_token_id, loaded.bos_token_id, loaded.eos_token_id) == (0, 1, 2)


def test_another_tokenizer_is_refused() -> None:
    with pytest.raises(UnifiedError, match="special tokens"):
        TextTokenizer(Tokenizer(models.BPE()))
    with pytest.raises(UnifiedError, match="at least 272"):
        train_text(["a"], 100)
