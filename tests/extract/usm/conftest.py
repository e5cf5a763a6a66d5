"""A tiny encoder with random weights and a tokenizer built here; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from tests.extract.usm.made_sets import documents
from workbench.extract.usm import experiments, silver, tune, unseen, unseen_sets
from workbench.extract.usm.engine import UsmEngine
from workbench.extract.usm.model import UsmModel, new_model
from workbench.extract.usm.train import loop, sources

WORDS = (
    "marie curie worked in paris for the university of warsaw and met her husband pierre near a museum person city company works attack victim "
    "great food slow service but positive negative aspect opinion works for born"
)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """Uncased word pieces: whole words, single letters and their continuations; every other sign is unknown."""
    letters = [chr(c) for c in range(33, 127) if not chr(c).isupper()]
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        *dict.fromkeys([*WORDS.split(), *letters]),
        *(f"##{letter}" for letter in letters),
    ]
    made = Tokenizer(models.WordPiece({piece: n for n, piece in enumerate(pieces)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )


def tiny_encoder(vocabulary: int, **sizes: Any) -> BertModel:
    torch.manual_seed(0)
    shape = {
        "max_position_embeddings": 256,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        **sizes,
    }
    return BertModel(BertConfig(vocab_size=vocabulary, attn_implementation="eager", **shape)).eval()


@pytest.fixture
def model(tokenizer: PreTrainedTokenizerFast) -> UsmModel:
    """Untrained; its links are moved so that some of them are accepted."""
    made = new_model(tiny_encoder(len(tokenizer)), head_size=16, window=48, overlap=12, max_labels=8).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in (made.shape.weight, made.kind.weight):
            parameter.normal_(std=0.3)
        for sides in (made.token_sides, made.label_sides):
            sides.weight.normal_(std=0.4)
    return made


@pytest.fixture
def engine(model: UsmModel, tokenizer: Any) -> UsmEngine:
    return UsmEngine(model, tokenizer, "tiny")


@pytest.fixture
def folder(model: UsmModel, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Path:
    """The model on disk."""
    from workbench.extract.usm.weights import save_model

    save_model(tmp_path / "usm-tiny", model, tokenizer)
    return tmp_path / "usm-tiny"


@pytest.fixture
def encoder(tokenizer: Any, tmp_path: Path) -> Path:
    tiny_encoder(len(tokenizer)).save_pretrained(tmp_path / "encoder")
    tokenizer.save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"


@pytest.fixture
def made_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sources, tune, experiments, unseen, unseen_sets, silver):
        monkeypatch.setattr(module, "load_data", documents)
    monkeypatch.setattr(
        loop, "definitions", lambda _: {"harbour town": "a town by the sea", "food item": "a cell of bread"}
    )
