"""An encoder-decoder that can only copy: any transformers encoder, a small decoder with cross-attention, and a pointer.

It writes a token of a short fixed list (structure, end) or one that stands in its source; there is no matrix over the vocabulary. Copying is
built in, not learnt: the decoder is told where in the source the words it has just written stand (the longest match of what it wrote), and
going on from there gets a bonus of its own. Ours; the pointer follows See et al. 2017 (arXiv 1704.04368) without a generator.

It is a transformers model: `generate`, `past_key_values` and beam search work as with T5.

Letters in shapes: B rows, S source tokens, T target tokens, D width, F fixed tokens, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, BertModel, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput

from workbench.extract.seq2seq.ahead import Ahead, Sight
from workbench.extract.seq2seq.apart import Layout, first_position
from workbench.extract.seq2seq.config import CopyConfig
from workbench.extract.seq2seq.naming import Naming
from workbench.extract.seq2seq.pointer import NOWHERE, longest_matches, shares, slot_scores
from workbench.extract.usm.pieces import SHAPES

IGNORED, ANYWHERE = -100, -1  # as a label: not counted; as a place: wherever the token stands
START_GAIN = 2.0  # bonus for going on copying, before training


@dataclass
class CopySource(BaseModelOutput):
    """Encoder states with the token numbers they belong to, which the pointer needs.

    Attributes:
        source_ids: int64 [B, S].
    """

    last_hidden_state: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None
    source_ids: torch.LongTensor | None = None


@dataclass
class CopyOutput(Seq2SeqLMOutput):
    """What transformers expects, and what the pointer says.

    Attributes:
        pointer: log-probability of copying from each place, [B, T, S].
    """

    pointer: Tensor | None = None


class CopyEncoder(nn.Module):
    """The encoder with the shape of words added to its input."""

    main_input_name = "input_ids"
    mark: Tensor

    def __init__(self, config: CopyConfig, encoder: PreTrainedModel | None = None) -> None:
        super().__init__()
        self.model: Any = AutoModel.from_config(config.encoder_config()) if encoder is None else encoder
        if getattr(self.model, "pooler", None) is not None:
            self.model.pooler = None  # its output is not used
        width = int(self.model.config.hidden_size)
        self.shape = nn.Embedding(len(SHAPES), width) if config.shapes else None
        if self.shape is not None:
            nn.init.zeros_(self.shape.weight)
        self.apart = config.apart
        self.kind = nn.Embedding(3, width) if config.apart else None
        if self.kind is not None:
            nn.init.zeros_(self.kind.weight)
        special = sorted({*config.fixed, *config.special, *config.marked})
        mark = torch.zeros(config.vocab_size, dtype=torch.long)
        mark[torch.tensor(special, dtype=torch.long)] = torch.arange(1, len(special) + 1)
        self.register_buffer("mark", mark, persistent=False)
        self.marks = nn.Embedding(len(special) + 1, width, padding_idx=0)
        nn.init.normal_(self.marks.weight[1:], std=0.02)
        self.marks.weight.data[0] = 0

    def embed(self, ids: Tensor) -> Tensor:
        """Embeddings of token numbers; a special token's has a part of its own, which is learnt while word embeddings rest."""
        words: Tensor = self.model.get_input_embeddings()(ids)
        return words + self.marks(self.mark[ids])

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, shape_ids: Tensor | None = None, **options: Any
    ) -> CopySource:
        embedded = self.embed(input_ids)
        if self.shape is not None and shape_ids is not None:
            embedded = embedded + self.shape(shape_ids)
        options = {name: options[name] for name in ("output_attentions", "output_hidden_states") if options.get(name)}
        if self.kind is not None and self.apart is not None:
            layout = Layout.of(input_ids, self.apart)
            embedded = embedded + self.kind(layout.kinds)
            seen = layout.seen(torch.ones_like(input_ids) if attention_mask is None else attention_mask)
            mask = torch.zeros(seen.shape, dtype=embedded.dtype, device=seen.device)
            attention_mask = mask.masked_fill(~seen, torch.finfo(embedded.dtype).min)[:, None]
            options["position_ids"] = layout.positions + first_position(self.model)
        out = self.model(inputs_embeds=embedded, attention_mask=attention_mask, **options)
        return CopySource(out.last_hidden_state, out.get("hidden_states"), out.get("attentions"), input_ids)  # type: ignore[arg-type]


class CopySeq2Seq(PreTrainedModel, GenerationMixin):
    """The model.

    Args:
        config: sizes. encoder: a transformers encoder; None: a fresh one from the configuration.
    """

    config_class = CopyConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    _supports_sdpa = True
    copyable: Tensor
    slot: Tensor
    fixed_ids: Tensor

    def __init__(self, config: CopyConfig, encoder: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        self.encoder = CopyEncoder(config, encoder)
        decoder = config.decoder_config()
        decoder._attn_implementation = "eager"  # shows its weights, and is no slower at these sizes
        self.decoder = BertModel(decoder, add_pooling_layer=False)
        width = int(self.encoder.model.config.hidden_size)
        self.copied = nn.Linear(width, width, bias=False)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.write = nn.Linear(width, len(config.fixed))
        self.gain = nn.Parameter(torch.full((config.run + 1,), START_GAIN))
        self.naming = Naming(width, *config.naming) if config.naming else None
        self.ahead = Ahead(width, *config.ahead) if config.ahead else None
        nn.init.zeros_(self.copied.weight)
        for part in (self.query, self.key, self.write):
            nn.init.normal_(part.weight, std=0.02)
        copyable = torch.ones(config.vocab_size, dtype=torch.bool)
        copyable[torch.tensor([*config.fixed, *config.special], dtype=torch.long)] = False
        slot = torch.full((config.vocab_size,), -1, dtype=torch.long)
        slot[torch.tensor(config.fixed, dtype=torch.long)] = torch.arange(len(config.fixed))
        self.register_buffer("copyable", copyable, persistent=False)
        self.register_buffer("slot", slot, persistent=False)
        self.register_buffer("fixed_ids", torch.tensor(config.fixed, dtype=torch.long), persistent=False)

    def get_encoder(self, *_: Any, **__: Any) -> nn.Module:
        return self.encoder

    def get_input_embeddings(self) -> nn.Module:
        found: nn.Module = self.encoder.model.get_input_embeddings()
        return found

    def get_output_embeddings(self) -> None:
        return None

    def prepare_inputs_for_generation(self, input_ids: Tensor, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """The last token and the cache, as for every encoder-decoder, and what was written so far."""
        past = kwargs.get("past_key_values")
        done = int(past.get_seq_length()) if past is not None else 0
        return {
            "input_ids": None, "encoder_outputs": kwargs.get("encoder_outputs"), "attention_mask": kwargs.get("attention_mask"),
            "decoder_input_ids": input_ids[:, done:], "decoder_prefix": input_ids, "past_key_values": past,
            "use_cache": kwargs.get("use_cache", True),
        }  # fmt: skip

    # ------------------------------------------------------------------ one pass
    def slots(
        self,
        encoded: CopySource,
        attention_mask: Tensor,
        decoder_input_ids: Tensor,
        decoder_prefix: Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool = False,
        **options: Any,
    ) -> tuple[Tensor, Any]:
        """Scores of every slot: the fixed tokens, then the places of the source.

        Args:
            attention_mask: of the source, [B, S].
            decoder_input_ids: [B, T]. decoder_prefix: all that was written, [B, P >= T]; None: the same.

        Returns:
            float32 [B, T, F + S]; the decoder's output.
        """
        states, source = encoded.last_hidden_state, encoded.source_ids
        assert states is not None and source is not None
        prefix = decoder_input_ids if decoder_prefix is None else decoder_prefix
        there = self.copyable[source] & attention_mask.bool()
        count = decoder_input_ids.shape[1]
        before = int(prefix.shape[1] > count)  # a token of earlier passes, whose place tells what was just written
        runs = run_lengths(prefix, source, there, self.config.run, count + before)
        longest = longest_matches(runs)
        share = shares(longest, states.dtype)
        said = nn.functional.pad(share, (0, 0, 1 - before, 0))[
            :, :count
        ]  # of the token before each; nothing before the first of all
        named = None
        if self.naming is not None:
            centred = self.naming.centred(states, attention_mask)
            keys = self.naming.keys(centred, self.encoder.embed(source), source)
            named = self.naming.queries(said @ centred, decoder_input_ids) @ keys.transpose(1, 2)
        runs, longest, share = (part[:, before:] for part in (runs, longest, share))  # [B, T, S]
        embedded = self.encoder.embed(decoder_input_ids) + self.copied(share @ states)
        out = self.decoder(
            inputs_embeds=embedded,
            encoder_hidden_states=states,
            encoder_attention_mask=attention_mask,
            past_key_values=past_key_values,
            use_cache=use_cache,
            **options,
        )
        keys, sight = self.pointed(states, source, there)
        if self.ahead is not None:
            named = self.ahead(out.last_hidden_state, decoder_input_ids, sight, said)
        return slot_scores(self, out.last_hidden_state, keys, runs, longest, there[:, None], named), out

    def pointed(self, states: Tensor, source: Tensor, there: Tensor) -> tuple[Tensor, Sight | None]:
        """What the pointer looks for at each place of the source, [B, S, D], and what looking ahead needs of it; computed once a source.

        Args:
            states: of the encoder, [B, S, D]. source: [B, S]. there: what may be copied, bool [B, S].
        """
        if self.config.apart is None:
            return self.key(states), None
        layout = Layout.of(source, self.config.apart)
        pooled = layout.pooled(states)  # a label read apart is pointed at by the mean of its states
        return self.key(pooled), None if self.ahead is None else self.ahead.sight(states, pooled, layout, there)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        shape_ids: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        encoder_outputs: CopySource | None = None,
        decoder_prefix: Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        **_: Any,
    ) -> CopyOutput:
        """Scores of the whole vocabulary, as transformers expects them: log-probabilities, minus infinity for what cannot be written."""
        if encoder_outputs is None:
            assert input_ids is not None
            encoder_outputs = self.encoder(input_ids, attention_mask, shape_ids)
        source = encoder_outputs.source_ids
        assert source is not None and decoder_input_ids is not None
        mask = torch.ones_like(source) if attention_mask is None else attention_mask
        options = {"output_attentions": True} if output_attentions else {}
        slots, out = self.slots(
            encoder_outputs, mask, decoder_input_ids, decoder_prefix, past_key_values, bool(use_cache), **options
        )
        sure = slots.log_softmax(-1)
        fixed = len(self.config.fixed)
        logits = self.vocabulary(sure, source)
        return CopyOutput(
            logits=logits,
            past_key_values=out.past_key_values,
            encoder_last_hidden_state=encoder_outputs.last_hidden_state,
            cross_attentions=out.get("cross_attentions"),
            pointer=sure[..., fixed:],
        )

    def vocabulary(self, sure: Tensor, source: Tensor) -> Tensor:
        """Log-probabilities of slots as those of token numbers: places of the same token are summed up.

        Args:
            sure: [B, T, F + S]. source: [B, S].

        Returns:
            [B, T, V].
        """
        fixed, (rows, length) = len(self.config.fixed), sure.shape[:2]
        chance = sure.new_zeros((rows, length, self.config.vocab_size))
        chance.scatter_add_(2, source[:, None].expand(-1, length, -1), sure[..., fixed:].exp())
        chance[..., self.fixed_ids] = sure[..., :fixed].exp()
        return chance.log()

    def loss(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        shape_ids: Tensor | None,
        decoder_input_ids: Tensor,
        labels: Tensor,
        places: Tensor | None = None,
    ) -> Tensor:
        """Cross-entropy of each target token, [B, T]; 0 where it is not counted.

        Args:
            labels: token numbers, [B, T]; `IGNORED` is not counted.
            places: where in the source a copied token stands, [B, T]; `ANYWHERE` counts every place of the token.
        """
        encoded = self.encoder(input_ids, attention_mask, shape_ids)
        slots, _ = self.slots(encoded, attention_mask, decoder_input_ids)
        fixed = len(self.config.fixed)
        known = labels.clamp_min(0)
        right = torch.cat(
            (
                nn.functional.one_hot(self.slot[known].clamp_min(0), fixed).bool() & (self.slot[known] >= 0)[..., None],
                (known[..., None] == input_ids[:, None]) & self.copyable[input_ids][:, None],
            ),
            -1,
        )
        if places is not None:
            at = nn.functional.one_hot(places.clamp_min(0), input_ids.shape[1]).bool()
            right[..., fixed:] &= at | (places < 0)[..., None]
        counted = (labels != IGNORED) & right.any(-1)
        wanted = slots.masked_fill(~right, NOWHERE).logsumexp(-1)
        return torch.where(counted, slots.logsumexp(-1) - wanted, 0.0)


def run_lengths(prefix: Tensor, source: Tensor, there: Tensor, most: int, last: int) -> Tensor:
    """How many of the tokens written up to each target token stand in the source, ending at each place.

    Args:
        prefix: [B, P]. source: [B, S]. there: which places may be copied, bool [B, S].
        most: length of a run at most. last: how many of the last target tokens are wanted, T.

    Returns:
        int64 [B, T, S].
    """
    prefix = prefix[:, -(last + most - 1) :]
    same = (prefix[:, :, None] == source[:, None]) & there[:, None]
    total, run = same.long(), same
    for _ in range(most - 1):
        run = nn.functional.pad(run[:, :-1, :-1], (1, 0, 1, 0)) & same
        if not run.any():
            break
        total = total + run
    return total[:, -last:]


def warm_start(model: CopySeq2Seq) -> int:
    """Give the decoder's layers the weights of the encoder's last ones, cross-attention those of self-attention, where the shapes agree
    (Rothe et al. 2020, arXiv 1907.12461); returns how many layers were given."""
    encoder = getattr(model.encoder.model, "encoder", None)
    layers = getattr(encoder, "layer", None)
    if layers is None or not len(layers):
        return 0
    own = list(model.decoder.encoder.layer)
    done = 0
    for number, layer in enumerate(own):
        theirs = layers[max(0, len(layers) - len(own) + number)].state_dict()
        mine = layer.state_dict()
        crossed = {
            name.replace("attention.", "crossattention.", 1): value
            for name, value in theirs.items()
            if name.startswith("attention.")
        }
        fits = {k: v for k, v in {**theirs, **crossed}.items() if k in mine and mine[k].shape == v.shape}
        if len(fits) == len(mine):
            layer.load_state_dict(fits)
            done += 1
    table = getattr(getattr(model.encoder.model, "embeddings", None), "position_embeddings", None)
    into = model.decoder.embeddings.position_embeddings.weight
    if table is not None and table.weight.shape[0] >= into.shape[0]:
        with torch.no_grad():
            into.copy_(table.weight[: into.shape[0]])
    return done
