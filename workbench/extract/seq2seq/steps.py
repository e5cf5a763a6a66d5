"""The decoder of a model a few tokens at a time, with its scores over a short list of words instead of the whole vocabulary.

Three ways of one kind: that of a causal language model (`causal`); transformers' own decoder with the rows of its output matrix cut to the list, for any encoder-decoder; and the layers of a
copying model run here, where keys and values of the source are computed once and kept a text, not a beam, and the pointer's keys with them.

Letters in shapes: B texts, K beams, N = B x K rows, t tokens of one pass, S source tokens, D width, H heads, W words of the list, V vocabulary.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN

from workbench.extract.seq2seq.causal import PromptModel, PromptSteps
from workbench.extract.seq2seq.model import CopySeq2Seq, CopySource
from workbench.extract.seq2seq.pointer import longest_matches, shares, slot_scores

ROOM = 32  # places that a cache of keys and values begins with
CLOSE = 1e-3  # how far two ways of computing the same scores may differ, relative to their spread


class Steps(Protocol):
    """A model's decoder at work on the rows of a batch."""

    def feed(self, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        """Read the tokens written last, vocabulary numbers [N, t].

        Returns:
            Scores of what comes next, [N, W] (log-probabilities up to a constant); of a copying model, log-probability of copying from each
            place of the source behind each of these tokens, [N, t, S].
        """
        ...

    def reorder(self, index: Tensor) -> None:
        """Go on from these rows, [N]; each stays within its text."""
        ...

    def keep(self, texts: Tensor) -> None:
        """Keep some texts with all their beams, [B']."""
        ...


def encoder_rows(encoded: Any, index: Tensor) -> Any:
    """Encoder output of some rows."""
    return type(encoded)(**{name: value[index] for name, value in encoded.items() if isinstance(value, Tensor)})


def steps_of(model: Any, encoded: Any, mask: Tensor, beams: int, words: Tensor | None, head: Head | None) -> Steps:
    """The steps of a model of whatever class.

    Args:
        encoded: output of its encoder for B texts. mask: of the source, [B, S].
        words: vocabulary numbers that are scored, [W]; None: all of them.
        head: of `Head.of`; None: whole scores are computed and cut.
    """
    if isinstance(model, CopySeq2Seq):
        return CopySteps(model, encoded, mask, beams, words)
    if isinstance(model, PromptModel):
        return PromptSteps(model, encoded.last_hidden_state, mask, beams, words)
    return PlainSteps(model, encoded, mask, beams, words, head)


class Head:
    """The matrix from a decoder's states to scores, where it is one that can be cut by rows.

    Args:
        weight: [V, D]. bias: [V]. scale: of the states.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, scale: float) -> None:
        self.weight, self.bias, self.scale = weight, bias, scale

    @classmethod
    @torch.inference_mode()
    def of(cls, model: Any) -> Head | None:
        """Found by trying it: the scores of a model for one token, and those of its parts; None where the parts do not give the same."""
        layer = model.get_output_embeddings()
        if not isinstance(layer, nn.Linear):
            return None
        device = layer.weight.device
        source = torch.zeros((1, 2), dtype=torch.long, device=device)
        mask = torch.ones_like(source)
        try:
            encoded = model.get_encoder()(input_ids=source, attention_mask=mask)
            whole = model(encoder_outputs=encoded, attention_mask=mask, decoder_input_ids=source[:, :1]).logits[0, -1]
            state = model.get_decoder()(
                input_ids=source[:, :1], encoder_hidden_states=encoded[0], encoder_attention_mask=mask
            )[0][0, -1]
        except (TypeError, AttributeError):
            return None
        extra = getattr(model, "final_logits_bias", None)
        bias = layer.bias if extra is None else extra[0] if layer.bias is None else extra[0] + layer.bias
        for scale in (1.0, float(getattr(model.config, "d_model", 1)) ** -0.5):
            made = cls(layer.weight, bias, scale)
            if whole.shape == (len(layer.weight),) and torch.allclose(
                made.scores(state), whole, atol=CLOSE * max(1e-6, float(whole.std()))
            ):
                return made
        return None

    def cut(self, words: Tensor | None) -> Head:
        """The rows of some words."""
        if words is None:
            return self
        return Head(self.weight[words], None if self.bias is None else self.bias[words], self.scale)

    def scores(self, states: Tensor) -> Tensor:
        """[…, D] -> […, W]."""
        return nn.functional.linear(states if self.scale == 1.0 else states * self.scale, self.weight, self.bias)


class PlainSteps:
    """Any encoder-decoder of transformers with its own cache."""

    def __init__(
        self, model: Any, encoded: Any, mask: Tensor, beams: int, words: Tensor | None, head: Head | None
    ) -> None:
        rows = torch.arange(len(mask), device=mask.device).repeat_interleave(beams)
        self._model, self._beams, self._words = model, beams, words
        self._encoded, self._mask = encoder_rows(encoded, rows), mask[rows]
        self._head = head.cut(words) if head is not None else None
        self._past: Any = None

    def feed(self, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        if self._head is None:
            out = self._model(
                encoder_outputs=self._encoded, attention_mask=self._mask, decoder_input_ids=tokens, past_key_values=self._past, use_cache=True
            )  # fmt: skip
            scores = out.logits[:, -1]
            scores = scores if self._words is None else scores[:, self._words]
        else:
            out = self._model.get_decoder()(
                input_ids=tokens, encoder_hidden_states=self._encoded[0], encoder_attention_mask=self._mask, past_key_values=self._past,
                use_cache=True,
            )  # fmt: skip
            scores = self._head.scores(out[0][:, -1])
        self._past = out.past_key_values
        return scores.float(), None

    def reorder(self, index: Tensor) -> None:
        if self._past is not None:
            self._past.reorder_cache(index)

    def keep(self, texts: Tensor) -> None:
        index = (texts[:, None] * self._beams + torch.arange(self._beams, device=texts.device)).flatten()
        self._encoded, self._mask = encoder_rows(self._encoded, index), self._mask[index]
        if self._past is not None:
            self._past.batch_select_indices(index)


class CopySteps:
    """A copying model: its decoder's layers (transformers' BERT) with a cache of our own.

    The arithmetic is that of `CopySeq2Seq.slots`; the longest match with the source is carried on from token to token.
    """

    def __init__(self, model: CopySeq2Seq, encoded: CopySource, mask: Tensor, beams: int, words: Tensor | None) -> None:
        states, source = encoded.last_hidden_state, encoded.source_ids
        assert states is not None and source is not None
        self._model, self._beams, self._words = model, beams, words
        self._layers: list[Any] = list(model.decoder.encoder.layer)
        config = model.config.decoder_config()
        self._heads, self._active = config.num_attention_heads, ACT2FN[config.hidden_act]
        width = states.shape[-1]
        # what stays with a text
        self._source, self._states = source, states
        self._there = model.copyable[source] & mask.bool()
        self._pointer_keys, self._sight = model.pointed(states, source, self._there)
        self._centred = self._naming_keys = states.new_zeros((len(source), 0))
        if model.naming is not None:
            self._centred = model.naming.centred(states, mask)
            self._naming_keys = model.naming.keys(self._centred, model.encoder.embed(source), source)
        hide = torch.zeros(mask.shape, dtype=states.dtype, device=mask.device)
        self._hide = hide.masked_fill(~mask.bool(), torch.finfo(states.dtype).min)[:, None, None]
        self._cross = [
            [self._split(part(states)) for part in (layer.crossattention.self.key, layer.crossattention.self.value)]
            for layer in self._layers
        ]
        table = torch.arange(model.config.vocab_size, device=source.device) if words is None else words
        self._at = torch.searchsorted(table, source).clamp_max(len(table) - 1)  # of each source token in the list
        found = table[self._at] == source
        self._at = torch.where(found, self._at, len(table))  # a column that is thrown away
        self._fixed = torch.searchsorted(table, model.fixed_ids).clamp_max(len(table) - 1)
        self._fixed = torch.where(table[self._fixed] == model.fixed_ids, self._fixed, len(table))
        self._width = len(table)
        # what belongs to a row
        rows = len(source) * beams
        self._length = 0
        self._read = states.new_zeros((rows, 1, source.shape[1]))  # where the last token was copied from
        room = (rows, self._heads, ROOM, width // self._heads)
        self._kept = [[states.new_empty(room) for _ in range(2)] for _ in self._layers]
        self._run = torch.zeros((rows, source.shape[1]), dtype=torch.long, device=source.device)
        self._copyable = self._of_rows(source.masked_fill(~self._there, -1))
        self._at = self._of_rows(self._at)
        self._joined = [
            [
                torch.cat([getattr(getattr(layer.attention.self, name), part) for name in ("query", "key", "value")])
                for part in ("weight", "bias")
            ]
            for layer in self._layers
        ]

    def _split(self, x: Tensor) -> Tensor:
        """[N, t, D] -> [N, H, t, D / H]."""
        return x.view(*x.shape[:2], self._heads, -1).transpose(1, 2)

    def _of_rows(self, x: Tensor) -> Tensor:
        """What belongs to texts for each of their rows."""
        return x if self._beams == 1 else x.repeat_interleave(self._beams, 0)

    def _text(self, x: Tensor) -> Tensor:
        """Rows as positions of their text: [N, t, …] -> [B, K t, …]."""
        return x.reshape(len(self._source), -1, *x.shape[2:])

    def _matches(self, tokens: Tensor) -> Tensor:
        """Length of the match that ends at each place with each token, [N, t, S]; carried on."""
        found = []
        for column in tokens.unbind(1):
            same = self._copyable == column[:, None]
            before = nn.functional.pad(self._run[:, :-1], (1, 0))
            self._run = torch.where(same, before + 1, 0).clamp_max(self._model.config.run)
            found.append(self._run)
        return torch.stack(found, 1)

    def feed(self, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        model, decoder = self._model, self._model.decoder
        count, done = tokens.shape[1], self._length
        runs = self._matches(tokens)
        longest = longest_matches(runs)
        read = shares(longest, self._states.dtype)
        copied = (self._text(read) @ self._states).view(*tokens.shape, -1)
        x = decoder.embeddings(
            inputs_embeds=model.encoder.embed(tokens) + model.copied(copied), past_key_values_length=done
        )
        self._grow(done + count)
        mask = None
        if count > 1:  # a token reads itself and what stands before it
            mask = torch.ones((count, done + count), dtype=torch.bool, device=x.device).tril(done)
        for layer, kept, cross, (weight, bias) in zip(self._layers, self._kept, self._cross, self._joined, strict=True):
            query, key, value = map(self._split, nn.functional.linear(x, weight, bias).chunk(3, -1))
            kept[0][:, :, done : done + count], kept[1][:, :, done : done + count] = key, value
            key, value = (part[:, :, : done + count] for part in kept)
            out = nn.functional.scaled_dot_product_attention(query, key, value, mask)
            x = layer.attention.output(out.transpose(1, 2).reshape(x.shape), x)
            query = self._split(self._text(layer.crossattention.self.query(x)))
            out = nn.functional.scaled_dot_product_attention(query, cross[0], cross[1], self._hide)
            x = layer.crossattention.output(out.transpose(1, 2).reshape(x.shape), x)
            x = layer.output(self._active(layer.intermediate.dense(x)), x)
        self._length = done + count
        there = self._there[:, None]
        said = self._text(torch.cat((self._read, read[:, :-1]), 1))  # of the token before each
        self._read = read[:, -1:]
        named = None
        if model.naming is not None:
            named = model.naming.queries(said @ self._centred, self._text(tokens)) @ self._naming_keys.transpose(1, 2)
        if model.ahead is not None:
            named = model.ahead(self._text(x), self._text(tokens), self._sight, said)
        slots = slot_scores(
            model, self._text(x), self._pointer_keys, self._text(runs), self._text(longest), there, named
        )
        sure = slots.log_softmax(-1).view(*tokens.shape, -1)
        fixed = len(model.config.fixed)
        chance = sure.new_zeros((len(tokens), self._width + 1))
        chance.scatter_add_(1, self._at, sure[:, -1, fixed:].exp())
        chance[:, self._fixed] = sure[:, -1, :fixed].exp()
        return chance[:, :-1].log(), sure[..., fixed:]

    def _grow(self, length: int) -> None:
        """Twice the room where it does not do."""
        for kept in self._kept:
            for n, part in enumerate(kept):
                if part.shape[2] < length:
                    more = part.new_empty((*part.shape[:2], max(length, 2 * part.shape[2]), part.shape[3]))
                    more[:, :, : self._length] = part[:, :, : self._length]
                    kept[n] = more

    def reorder(self, index: Tensor) -> None:
        self._run, self._read = self._run[index], self._read[index]
        self._kept = [[part[index] for part in kept] for kept in self._kept]

    def keep(self, texts: Tensor) -> None:
        for name in ("_source", "_states", "_there", "_pointer_keys", "_hide", "_centred", "_naming_keys"):
            setattr(self, name, getattr(self, name)[texts])
        self._sight = None if self._sight is None else self._sight.of(texts)
        self._cross = [[part[texts] for part in cross] for cross in self._cross]
        rows = (texts[:, None] * self._beams + torch.arange(self._beams, device=texts.device)).flatten()
        self._copyable, self._at = self._copyable[rows], self._at[rows]
        self.reorder(rows)
