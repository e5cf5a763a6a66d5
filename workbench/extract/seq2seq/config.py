"""Sizes and choices of a copying encoder-decoder, in the form of a transformers configuration."""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, BertConfig, PretrainedConfig


class CopyConfig(PretrainedConfig):
    """Configuration of `CopySeq2Seq`.

    Args:
        encoder: the configuration of its transformers encoder, as a dictionary.
        vocab_size: numbers of the tokenizer.
        fixed: token numbers that may be written without standing in the source: structure, end, and whatever an engine needs besides.
        special: token numbers that are never copied from the source.
        marked: token numbers that are copied and have a learnt part of their own, because their word embedding says nothing.
        naming: numbers of the marks between span and type and before a label, where spans are named by likeness (`naming`).
        apart: numbers of the marks before a label of spans, a label of pairs and the text, where labels are read apart (`apart`); None: one string.
        ahead: numbers of the tokens behind which a label is chosen and a span begins, and width of a link, where labels read apart are chosen by what
            follows (`ahead`).
        decoder_layers, decoder_heads, decoder_ffn: of the decoder; its width is the encoder's.
        run: how many tokens back a run of copied tokens is followed.
        shapes: whether the shape of words (capitals, digits) is added to the source: for encoders with an uncased vocabulary.
        max_source, max_target: tokens in one pass.
        engine: what an engine keeps beside the weights, for instance what it learnt on development data.
    """

    model_type = "copy-seq2seq"

    def __init__(
        self,
        encoder: dict[str, Any] | None = None,
        vocab_size: int = 0,
        fixed: list[int] | None = None,
        special: list[int] | None = None,
        marked: list[int] | None = None,
        naming: list[int] | None = None,
        apart: list[int] | None = None,
        ahead: list[int] | None = None,
        decoder_layers: int = 2,
        decoder_heads: int = 12,
        decoder_ffn: int = 1536,
        run: int = 6,
        shapes: bool = True,
        max_source: int = 384,
        max_target: int = 256,
        engine: dict[str, Any] | None = None,
        **others: Any,
    ) -> None:
        others["is_encoder_decoder"] = True
        super().__init__(**others)
        self.encoder = encoder or {}
        self.vocab_size = vocab_size
        self.fixed = list(fixed or [])
        self.special = list(special or [])
        self.marked = list(marked or [])
        self.naming = list(naming) if naming else None
        self.apart = list(apart) if apart else None
        self.ahead = list(ahead) if ahead else None
        self.decoder_layers = decoder_layers
        self.decoder_heads = decoder_heads
        self.decoder_ffn = decoder_ffn
        self.run = run
        self.shapes = shapes
        self.max_source = max_source
        self.max_target = max_target
        self.engine = engine or {}

    def encoder_config(self) -> PretrainedConfig:
        """The configuration of the encoder as transformers' own class."""
        values = dict(self.encoder)
        made: PretrainedConfig = AutoConfig.for_model(values.pop("model_type"), **values)
        return made

    def decoder_config(self) -> BertConfig:
        """The configuration of the decoder: transformers' BERT with cross-attention, fed with embeddings."""
        encoder = self.encoder_config()
        return BertConfig(
            vocab_size=1,
            hidden_size=encoder.hidden_size,
            num_hidden_layers=self.decoder_layers,
            num_attention_heads=self.decoder_heads,
            intermediate_size=self.decoder_ffn,
            max_position_embeddings=self.max_target,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            is_decoder=True,
            add_cross_attention=True,
            type_vocab_size=1,
            pad_token_id=0,
        )
