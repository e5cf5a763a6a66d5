"""A tiny copying model with random weights; nothing is downloaded."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from tests.extract.uie.conftest import plain_tokenizer, tokens, words  # noqa: F401 - fixtures
from tests.extract.usm.conftest import tiny_encoder
from workbench.extract.seq2seq.model import CopySeq2Seq
from workbench.extract.seq2seq.weights import new_copy_model


def tiny_copy(words: Any, **sizes: Any) -> CopySeq2Seq:  # noqa: F811
    torch.manual_seed(0)
    sizes = {"decoder_layers": 2, "decoder_ffn": 48, "max_target": 96, "max_source": 160, **sizes}
    return new_copy_model(tiny_encoder(len(words)), copy.deepcopy(words), **sizes).eval()


@pytest.fixture
def model(words: Any) -> CopySeq2Seq:  # noqa: F811
    made = tiny_copy(words)
    torch.manual_seed(1)
    with torch.no_grad():
        parts = [made.query, made.key, made.write, made.copied]
        if made.ahead is not None:
            parts += [made.ahead.look, made.ahead.keys, made.ahead.text, made.ahead.label]
        for part in parts:
            part.weight.normal_(std=0.5)
    return made
