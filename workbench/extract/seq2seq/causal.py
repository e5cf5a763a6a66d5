"""A causal language model in the place of an encoder-decoder: its prompt is the source, and what it writes goes on from there.

The loss counts the continuation alone, since only that is a target. Positions are counted without padding, so a row's result does not depend on
its batch.

Letters in shapes: B rows, K beams, N = B x K, S source tokens, T target tokens, t tokens of one pass, V vocabulary, W words of a list.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput

CLOSE = 1e-3  # how far two ways of computing the same scores may differ, relative to their spread


def is_causal(config: Any) -> bool:
    """Whether a configuration is that of a causal language model."""
    named = any(str(name).endswith(("ForCausalLM", "LMHeadModel")) for name in config.architectures or ())
    return named and not config.is_encoder_decoder


class PromptSource(nn.Module):
    """Stands where an encoder is asked for: nothing is encoded before the prompt is read."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> BaseModelOutput:
        return BaseModelOutput(last_hidden_state=input_ids)


class PromptModel(nn.Module):
    """A causal language model called as an encoder-decoder is.

    Args:
        lm: of transformers.
    """

    def __init__(self, lm: Any) -> None:
        super().__init__()
        self.lm = lm
        self._source = PromptSource()
        inner = lm.get_base_model() if hasattr(lm, "get_base_model") else lm
        self._keeps = "logits_to_keep" in inspect.signature(inner.forward).parameters

    @property
    def config(self) -> Any:
        return self.lm.config

    def get_encoder(self) -> nn.Module:
        return self._source

    def get_input_embeddings(self) -> Any:
        return self.lm.get_input_embeddings()

    def get_output_embeddings(self) -> Any:
        return self.lm.get_output_embeddings()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        decoder_input_ids: Tensor,
        output_attentions: bool = False,
        **_: Any,
    ) -> Seq2SeqLMOutput:
        """Scores behind each target token, [B, T, V]; its attention to the source in the place of cross-attention, [B, heads, T, S] a layer."""
        length = input_ids.shape[1]
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        whole = torch.cat((mask, torch.ones_like(decoder_input_ids)), 1)
        count = decoder_input_ids.shape[1]
        keep = {"logits_to_keep": count} if self._keeps else {}  # scores are dear, and those of the prompt not asked
        out = self.lm(
            input_ids=torch.cat((input_ids, decoder_input_ids), 1),
            attention_mask=whole,
            position_ids=positions(whole),
            output_attentions=output_attentions,
            use_cache=False,
            **keep,
        )
        looks = tuple(a[:, :, length:, :length] for a in out.attentions or () if a is not None)
        return Seq2SeqLMOutput(logits=out.logits[:, -count:], cross_attentions=looks or None)


def positions(mask: Tensor) -> Tensor:
    """Position of each token among those that are no padding, int64 like `mask`."""
    return (mask.cumsum(-1) - 1).clamp_min(0)


class PromptSteps:
    """`Steps` of a causal language model: the prompt is read once, then a few tokens at a time.

    Args:
        source, mask: [B, S]. words: vocabulary numbers that are scored, [W]; None: all.
    """

    def __init__(self, model: PromptModel, source: Tensor, mask: Tensor, beams: int, words: Tensor | None) -> None:
        self._lm, self._beams, self._words = model.lm, beams, words
        self._body = model.lm.get_decoder()
        self._head = _rows_of_head(model.lm, words)
        self._past = self._body(
            input_ids=source, attention_mask=mask, position_ids=positions(mask), use_cache=True
        ).past_key_values  # fmt: skip
        if beams > 1:
            self._past.batch_repeat_interleave(beams)
        self._mask = mask.repeat_interleave(beams, 0)

    def feed(self, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        self._mask = torch.cat((self._mask, torch.ones_like(tokens)), 1)
        call = {
            "input_ids": tokens, "attention_mask": self._mask, "position_ids": positions(self._mask)[:, -tokens.shape[1] :],
            "past_key_values": self._past, "use_cache": True,
        }  # fmt: skip
        if self._head is None:
            out = self._lm(**call)
            scores = out.logits[:, -1] if self._words is None else out.logits[:, -1, self._words]
        else:
            out = self._body(**call)
            scores = nn.functional.linear(out[0][:, -1], *self._head)
        self._past = out.past_key_values
        return scores.float(), None

    def reorder(self, index: Tensor) -> None:
        self._past.reorder_cache(index)

    def keep(self, texts: Tensor) -> None:
        index = (texts[:, None] * self._beams + torch.arange(self._beams, device=texts.device)).flatten()
        self._past.batch_select_indices(index)
        self._mask = self._mask[index]


def _rows_of_head(lm: Any, words: Tensor | None) -> tuple[Tensor, Tensor | None] | None:
    """Rows of the output matrix for some words; None where the scores are not that matrix alone, found by trying one token."""
    layer = lm.get_output_embeddings()
    if words is None or not isinstance(layer, nn.Linear):
        return None
    one = torch.zeros((1, 1), dtype=torch.long, device=layer.weight.device)
    whole, state = lm(input_ids=one).logits[0, -1], lm.get_decoder()(input_ids=one)[0][0, -1]
    if whole.shape != (len(layer.weight),) or not torch.allclose(
        layer(state), whole, atol=CLOSE * max(1e-6, float(whole.std()))
    ):
        return None
    return layer.weight[words], None if layer.bias is None else layer.bias[words]
