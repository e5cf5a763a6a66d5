"""A tokenizer with the special tokens, built here; nothing is downloaded."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from tests.extract.usm.conftest import tokenizer as plain_tokenizer  # noqa: F401 - a fixture
from workbench.extract.seq2seq.tokens import SelTokens, add_tokens


@pytest.fixture(scope="session")
def words(plain_tokenizer: PreTrainedTokenizerFast) -> Any:  # noqa: F811
    """Uncased word pieces with the special tokens of UIE."""
    made = copy.deepcopy(plain_tokenizer)
    assert add_tokens(made) == 22 and add_tokens(made) == 0
    return made


@pytest.fixture(scope="session")
def tokens(words: Any) -> SelTokens:
    return SelTokens.of(words)
