"""Tiny models with MetaNER's tokens, and a set whose types follow from its words; nothing is downloaded."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from tests.extract.seq2seq.conftest import tiny_copy
from tests.extract.uie.conftest import plain_tokenizer, words  # noqa: F401 - fixtures
from workbench.extract.metaner.tokens import MetaTokens, prepare
from workbench.extract.metaner.wire import Wire
from workbench.extract.records import Document

PEOPLE, CITIES = ("marie", "pierre", "curie", "husband"), ("paris", "warsaw", "museum", "university")


def document(number: int) -> Document:
    """ "marie met pierre in paris": two people and a city."""
    a, b, c = PEOPLE[number % 4], PEOPLE[(number // 4 + number + 1) % 4], CITIES[number // 16 % 4]
    text = f"{a} met {b} in {c}"
    at = text.rindex(b, 0, len(text) - len(c))
    spans = [(0, len(a), "person"), (at, at + len(b), "person"), (len(text) - len(c), len(text), "city")]
    return Document.read(
        {"id": str(number), "text": text, "entities": [{"start": s, "end": e, "type": t} for s, e, t in spans]}
    )


def documents(count: int) -> list[Document]:
    return [document(n) for n in range(count)]


@pytest.fixture
def made(words: Any) -> tuple[Any, Any, MetaTokens]:  # noqa: F811
    """A copying model, its tokenizer and tokens."""
    tokenizer = copy.deepcopy(words)
    model, tokens = prepare(tiny_copy(words), tokenizer, torch.Generator().manual_seed(0))
    return model, tokenizer, tokens


@pytest.fixture
def t5(words: Any) -> tuple[Any, Any, MetaTokens]:  # noqa: F811
    """A model of the released checkpoints' class with their tokens."""
    tokenizer = copy.deepcopy(words)
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu",
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=1, dropout_rate=0.0, tie_word_embeddings=False,
    )  # fmt: skip
    model, tokens = prepare(T5ForConditionalGeneration(config).eval(), tokenizer)
    return model, tokenizer, tokens


@pytest.fixture
def wire(made: tuple[Any, Any, MetaTokens]) -> Wire:
    return Wire(made[1], made[2], True)
