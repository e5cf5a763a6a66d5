"""The unified model: one decoder over text, pictures, clips and sounds, read and made.

Embeddings of all modalities enter one sequence; L layers of attention and mixture-of-experts; after them a text head (tied), a bit head for scales, and
an audio head after each of the last A layers: level a is predicted there, its code embedded and added before the next layer
(ERNIE 5.0 report, section 2.3). Letters: B rows, T positions, D width, Z bits, A levels, Q codes, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache
from transformers.generation import GenerationMixin
from transformers.utils import ModelOutput

from workbench.unified.config import UnifiedConfig
from workbench.unified.experts import Experts, Reduction, Router
from workbench.unified.layers import Layer, NextButOne
from workbench.unified.layout import MADE, MODE_AUDIO, NONE
from workbench.unified.losses import Losses, bit_loss, scale_weights
from workbench.unified.masks import Rows, dense_mask, flex_mask
from workbench.unified.positions import UniRope
from workbench.unified.vision_input import VisionInput

AudioChoice = Callable[[int, Tensor], Tensor]


@dataclass
class UnifiedOutput(ModelOutput):
    """What a forward pass gives.

    Attributes:
        loss: weighted mean over all positions with a target; None without targets.
        logits: float [B, kept, V], without targets only.
        bit_logits: float [B, kept, Z], without targets only.
        audio_logits: float [n, A, Q + 1] at the n positions that make sound, where codes were asked for or given.
        losses: loss a position.
        past_key_values: the cache.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    bit_logits: Tensor | None = None
    audio_logits: Tensor | None = None
    losses: Losses | None = None
    past_key_values: Cache | None = None


class UnifiedForCausalLM(PreTrainedModel, GenerationMixin):
    """The unified model; loads with ``AutoModelForCausalLM`` after ``import workbench.unified``."""

    config: UnifiedConfig
    config_class = UnifiedConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    _no_split_modules = ["Layer"]  # noqa: RUF012 - the attribute of transformers
    _keep_in_fp32_modules_strict = ["router"]  # noqa: RUF012
    _supports_sdpa = True
    _supports_cache_class = True

    def __init__(self, config: UnifiedConfig) -> None:
        super().__init__(config)
        width = config.hidden_size
        self.embed = nn.Embedding(config.vocab_size, width, padding_idx=config.pad_token_id)
        self.vision = VisionInput(config)
        self.cell_in = nn.Linear(config.image_bits, width)
        self.before_in = nn.Linear(config.image_bits, width, bias=False) if config.previous_frame else None
        self.scale_embed = nn.Embedding(len(config.image_scales), width)
        self.whole_in = nn.Linear(config.image_bits * config.image_scales[-1] ** 2, width)
        self.code_embed = nn.ModuleList(
            [nn.Embedding(config.audio_codebook + 1, width) for _ in range(config.audio_levels)]
        )
        self.rope = UniRope(config)
        self.layers = nn.ModuleList([Layer(config, number) for number in range(config.num_hidden_layers)])
        self.norm = nn.RMSNorm(width, eps=config.rms_norm_eps)
        self.bit_head = nn.Linear(width, config.image_bits)
        self.audio_norms = nn.ModuleList(
            [nn.RMSNorm(width, eps=config.rms_norm_eps) for _ in range(config.audio_levels)]
        )
        self.audio_heads = nn.ModuleList(
            [nn.Linear(width, config.audio_codebook + 1, bias=False) for _ in range(config.audio_levels)]
        )
        self.ahead = NextButOne(config) if config.mtp_depth else None
        self.flex: bool | None = None  # FlexAttention: None chooses it on a GPU without a cache
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        std = self.config.initializer_range
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=std)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
            if isinstance(module, nn.Embedding) and module.padding_idx is not None:
                with torch.no_grad():
                    module.weight[module.padding_idx].zero_()
        elif isinstance(module, Router):
            nn.init.normal_(module.weight, std=std)
            nn.init.zeros_(module.bias)
            nn.init.zeros_(module.counted)
        elif isinstance(module, Experts):
            nn.init.normal_(module.gate_up, std=std)
            nn.init.normal_(module.down, std=std / (2 * self.config.num_hidden_layers) ** 0.5)
        elif isinstance(module, (nn.RMSNorm, nn.LayerNorm, nn.GroupNorm)):
            nn.init.ones_(module.weight)
            if not isinstance(module, nn.RMSNorm) and module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    def get_input_embeddings(self) -> nn.Module:
        return self.embed

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.embed = value  # type: ignore[assignment]

    def get_output_embeddings(self) -> None:
        return None  # the text head is the embedding itself

    # ------------------------------------------------------------------ input
    def embedded(
        self,
        input_ids: Tensor,
        scale: Tensor | None,
        visual: Tensor | None,
        before: Tensor | None,
        whole: Tensor | None,
        whole_index: Tensor | None,
        pixels: Tensor | None,
        features: Tensor | None,
        patch_index: Tensor | None,
        audio_codes: Tensor | None,
    ) -> Tensor:
        """[B, T, D], what enters the first layer (arguments as in :meth:`forward`)."""
        hidden = self.embed(input_ids)
        shape = hidden.shape
        dtype = hidden.dtype
        flat = hidden.reshape(-1, shape[-1])
        if visual is not None and scale is not None:
            # A scale after the first starts from the sum so far; the token in front of a picture has scale 0 and no cell.
            at = (scale.reshape(-1) > 0).nonzero().squeeze(1)
            cells = self.cell_in(visual.reshape(-1, visual.shape[-1])[at].to(dtype))
            cells = cells + self.scale_embed(scale.reshape(-1)[at])
            if before is not None and self.before_in is not None:
                cells = cells + self.before_in(before.reshape(-1, before.shape[-1])[at].to(dtype))
            flat = flat.index_add(0, at, cells.to(dtype))
        if whole is not None and whole_index is not None:
            flat = flat.index_add(0, whole_index, self.whole_in(whole.to(dtype)).to(dtype))
        if pixels is not None and features is not None and patch_index is not None:
            flat = flat.index_add(0, patch_index, self.vision(pixels.to(dtype), features.to(dtype)).to(dtype))
        if audio_codes is not None:
            codes = audio_codes.reshape(-1, audio_codes.shape[-1])
            at = (codes[:, 0] >= 0).nonzero().squeeze(1)
            if len(at):
                steps = torch.stack([table(codes[at, level]) for level, table in enumerate(self.code_embed)]).sum(0)
                flat = flat.index_add(0, at, steps.to(dtype))
        return flat.view(shape)

    # ------------------------------------------------------------------ forward
    def fixed_layers(self) -> dict[int, str]:
        """Layers that no sub-model may leave out, and why (asked by `probes.SubModel`)."""
        first = self.config.first_audio_layer
        return {
            number: f"it carries the head of audio level {number - first}"
            for number in range(first, self.config.num_hidden_layers)
        }

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        positions: Tensor | None = None,
        document: Tensor | None = None,
        block: Tensor | None = None,
        frame: Tensor | None = None,
        hidden: Tensor | None = None,
        modality: Tensor | None = None,
        role: Tensor | None = None,
        scale: Tensor | None = None,
        visual: Tensor | None = None,
        before: Tensor | None = None,
        whole: Tensor | None = None,
        whole_index: Tensor | None = None,
        pixels: Tensor | None = None,
        features: Tensor | None = None,
        patch_index: Tensor | None = None,
        audio_codes: Tensor | None = None,
        labels: Tensor | None = None,
        bit_labels: Tensor | None = None,
        audio_labels: Tensor | None = None,
        task: Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        key_rows: Rows | None = None,
        reduction: Reduction | None = None,
        audio_choice: AudioChoice | None = None,
        **ignored: Any,
    ) -> UnifiedOutput:
        """One pass.

        Args:
            input_ids: int64 [B, T], text and placeholders.
            attention_mask: [B, keys], 1 for real tokens; only where `document` is not given.
            positions: float [B, T, 3], places (t, h, w).
            document, block, frame, hidden: [B, T], see :class:`workbench.unified.masks.Rows`.
            modality, role: int [B, T], codes of `probes.modality`; no layer sees them but for where audio heads work.
            scale: int [B, T], the scale that a position predicts, -1 for none.
            visual: float [B, T, Z], sum of the coarser scales at the cells of later ones.
            before: float [B, T, Z], the finished frame before at the cells of a later frame, 0 elsewhere; only where the model has
                `previous_frame`.
            whole, whole_index: float [W, Z * M * M] finished pictures, and their flat positions [W].
            pixels, features, patch_index: pictures that are read, [P, C, H, W] and [P, Cf, g, g], and the flat positions of
                their tokens [P * (g / 2)^2].
            audio_codes: int [B, T, A], codes of a sound as input, -1 elsewhere.
            labels: int [B, T], the text token that a position predicts, -100 for none.
            bit_labels: int8 [B, T, Z] of 0 and 1, -1 for none.
            audio_labels: int [B, T, A], codes that a position predicts (Q: the end), -100 for none.
            task: ignored here; whoever sums losses uses it.
            past_key_values, use_cache: as everywhere in transformers.
            key_rows: mask data of all keys, cached ones included, where a cache is used with other than plain text.
            reduction: run a smaller model.
            audio_choice: called with level and logits [n, Q + 1], chooses the codes [n] of positions that make sound.

        Returns:
            Losses where targets are given, else logits.
        """
        plain = positions is None
        if use_cache is None:
            use_cache = plain and not self.training and labels is None
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache()
        query, keys, places = self._rows(
            input_ids, attention_mask, positions, document, block, frame, hidden, key_rows, past_key_values
        )
        cached = past_key_values is not None
        flex = (self.flex if self.flex is not None else input_ids.is_cuda) and not cached
        window = self.config.frame_window
        mask = flex_mask(query, keys, window) if flex else dense_mask(query, keys, window)
        real = query.document >= 0
        state = self.embedded(
            input_ids, scale, visual, before, whole, whole_index, pixels, features, patch_index, audio_codes
        )
        turn = self.rope(places, state.dtype)
        makes_sound = None
        if audio_choice is not None or audio_labels is not None:
            if audio_labels is not None:
                makes_sound = (audio_labels[..., 0] >= 0).flatten().nonzero().squeeze(1)
            elif modality is not None and role is not None:
                makes_sound = ((modality == MODE_AUDIO) & (role == MADE)).flatten().nonzero().squeeze(1)
        audio_logits: list[Tensor] = []
        for number, layer in enumerate(self.layers):
            if reduction is None or reduction.layers is None or number in reduction.layers:
                state = layer(state, turn, mask, past_key_values, real, reduction)
            level = number - self.config.first_audio_layer
            if level >= 0 and makes_sound is not None and len(makes_sound):
                state = self._audio_level(level, state, makes_sound, audio_labels, audio_choice, audio_logits)
        out = UnifiedOutput(
            past_key_values=past_key_values, audio_logits=torch.stack(audio_logits, 1) if audio_logits else None
        )
        final = self.norm(state)
        if labels is None and bit_labels is None and audio_labels is None:
            # At every position, without the usual `logits_to_keep`: the vocabulary is small, and a probe reads predictions and losses here.
            out.logits = functional.linear(final, self.embed.weight)
            out.bit_logits = self.bit_head(final)
            return out
        out.losses = self._losses(
            final, input_ids, labels, bit_labels, scale, audio_labels, makes_sound, out.audio_logits
        )
        out.loss = (out.losses.token * out.losses.weight).sum() / out.losses.weight.sum().clamp_min(1e-9)
        return out

    def _rows(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        positions: Tensor | None,
        document: Tensor | None,
        block: Tensor | None,
        frame: Tensor | None,
        hidden: Tensor | None,
        key_rows: Rows | None,
        cache: Cache | None,
    ) -> tuple[Rows, Rows, Tensor]:
        """Mask data of queries and keys, and the queries' places; plain text where nothing is said."""
        if positions is not None and document is not None and block is not None:
            query = Rows(
                document,
                block,
                torch.full_like(block, -1) if frame is None else frame,
                torch.zeros_like(block, dtype=torch.bool) if hidden is None else hidden,
            )
            return query, key_rows if key_rows is not None else query, positions
        tokens = input_ids.shape[1]
        total = tokens + (0 if cache is None else cache.get_seq_length())
        if attention_mask is None:
            attention_mask = torch.ones(input_ids.shape[0], total, dtype=torch.long, device=input_ids.device)
        index = attention_mask.long().cumsum(1) - 1
        keys = Rows(
            attention_mask.long() - 1,
            index,
            torch.full_like(index, -1),
            torch.zeros_like(index, dtype=torch.bool),
        )
        query = keys.where((slice(None), slice(total - tokens, total)))
        places = query.block.clamp_min(0).float()[..., None].expand(-1, -1, 3)
        return query, keys, places

    def _audio_level(
        self,
        level: int,
        state: Tensor,
        at: Tensor,
        audio_labels: Tensor | None,
        choice: AudioChoice | None,
        collected: list[Tensor],
    ) -> Tensor:
        """Predict a residual level at the positions that make sound, and add its code's embedding for the next layer."""
        flat = state.reshape(-1, state.shape[-1])
        logits = self.audio_heads[level](self.audio_norms[level](flat[at]))
        collected.append(logits)
        if level + 1 == self.config.audio_levels:
            return state
        if audio_labels is not None:
            codes = audio_labels.reshape(-1, audio_labels.shape[-1])[at, level]
        else:
            codes = choice(level, logits)  # type: ignore[misc]
        return flat.index_add(0, at, self.code_embed[level](codes).to(flat.dtype)).view(state.shape)

    def _losses(
        self,
        final: Tensor,
        input_ids: Tensor,
        labels: Tensor | None,
        bit_labels: Tensor | None,
        scale: Tensor | None,
        audio_labels: Tensor | None,
        makes_sound: Tensor | None,
        audio_logits: Tensor | None,
    ) -> Losses:
        flat = final.reshape(-1, final.shape[-1])
        token = flat.new_zeros(len(flat), dtype=torch.float32)
        weight, ahead = torch.zeros_like(token), torch.zeros_like(token)
        has_ahead = torch.zeros_like(token, dtype=torch.bool)
        right = None if self.training else torch.zeros_like(token)
        if labels is not None:
            wanted = labels.reshape(-1)
            at = (wanted >= 0).nonzero().squeeze(1)
            logits = functional.linear(flat[at], self.embed.weight).float()
            token = token.index_add(0, at, functional.cross_entropy(logits, wanted[at], reduction="none"))
            weight = weight.index_fill(0, at, 1.0)
            if right is not None:
                right = right.index_add(0, at, (logits.argmax(-1) == wanted[at]).float())
            if self.ahead is not None:
                after = functional.pad(labels[:, 1:], (0, 1), value=NONE).reshape(-1)
                # The label of the next position counts only if that position is the very token predicted here.
                follows = functional.pad(input_ids[:, 1:], (0, 1), value=-1).reshape(-1) == wanted
                two = ((wanted >= 0) & (after >= 0) & follows).nonzero().squeeze(1)
                if len(two):
                    later = self.ahead(flat[two], self.embed(wanted[two]))
                    logits = functional.linear(self.norm(later), self.embed.weight).float()
                    ahead = ahead.index_add(0, two, functional.cross_entropy(logits, after[two], reduction="none"))
                    has_ahead[two] = True
        if bit_labels is not None and scale is not None:
            bits = bit_labels.reshape(-1, bit_labels.shape[-1])
            at = (bits[:, 0] >= 0).nonzero().squeeze(1)
            logits = self.bit_head(flat[at])
            token = token.index_add(0, at, bit_loss(logits, bits[at]))
            if right is not None:
                right = right.index_add(0, at, ((logits > 0) == (bits[at] > 0)).float().mean(-1))
            table = torch.tensor(scale_weights(self.config.image_scales), device=flat.device)
            weight = weight.index_copy(0, at, table[scale.reshape(-1)[at]])
        if audio_labels is not None and audio_logits is not None and makes_sound is not None:
            codes = audio_labels.reshape(-1, audio_labels.shape[-1])[makes_sound]
            found = functional.cross_entropy(
                audio_logits.float().flatten(0, 1), codes.flatten(), reduction="none"
            ).view(codes.shape)
            token = token.index_add(0, makes_sound, found.mean(-1))
            if right is not None:
                right = right.index_add(0, makes_sound, (audio_logits.argmax(-1) == codes).float().mean(-1))
            weight = weight.index_fill(0, makes_sound, 1.0)
        shape = input_ids.shape
        return Losses(
            token.view(shape), weight.view(shape), ahead.view(shape), has_ahead.view(shape),
            None if right is None else right.view(shape),
        )  # fmt: skip

    # ------------------------------------------------------------------ what others ask
    def routing_labels(self, call: Any) -> tuple[Tensor, Tensor] | None:
        """Modality and role of every token, for the routing probe (docs/probe.md); text where a call does not say."""
        modality, role = call.get("modality"), call.get("role")
        if modality is None or role is None:
            ids = call.get("input_ids")
            return torch.zeros_like(ids), torch.zeros_like(ids)
        return modality, role
