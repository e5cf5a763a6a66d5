"""Sizes of the unified model, as a transformers configuration.

What the ERNIE 5.0 report leaves open (widths, experts, split of the rotary channels, codebooks) are values here, not constants.
"""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

from workbench.unified.segments import AUDIO, BOS, EOS, IMAGE, PAD, VIDEO, UnifiedError

MODEL_TYPE = "unified_omni"


class UnifiedConfig(PreTrainedConfig):
    """Configuration of :class:`workbench.unified.model.UnifiedForCausalLM`.

    Args:
        vocab_size: text tokens, the special ones first.
        hidden_size: D, width of the model.
        num_hidden_layers: L; the last `audio_levels` carry an audio head each.
        num_attention_heads: attention heads; D / heads is divisible by 2.
        num_experts: E, routed experts a layer.
        num_experts_per_tok: K, chosen experts a token.
        moe_intermediate_size: width inside a routed expert.
        shared_intermediate_size: width inside the shared expert that every token passes.
        experts_implementation: how experts are computed: "auto", "grouped_mm", "split" or "loop" (experts.py).
        rope_theta: base of the rotary frequencies (the report's 8K stage: 1e6; short sequences want less).
        mtp_depth: tokens after the next that are predicted too, 0 or 1.
        frame_window: earlier frames that a frame being made sees.
        previous_frame: whether a cell of a frame being made also starts from the frame before, at its place and scale (ours: else the
            finest scale of a finished frame is known by one token alone).
        initializer_range: standard deviation of the initial weights.
        rms_norm_eps: of every norm.
        image_size, image_channels: pictures, pixels a side and colours.
        image_bits: Z, bits of a cell.
        image_scales: cells a side of each scale, ascending.
        feature_channels, feature_grid: features of the image tokenizer before its down-projection: Cf, and g cells a side.
        audio_levels, audio_codebook: A residual levels of Q codes each.
        max_position_embeddings: longest prompt that is taken; the places themselves have no bound.
    """

    model_type = MODEL_TYPE
    keys_to_ignore_at_inference = ["past_key_values"]  # noqa: RUF012 - the attribute of transformers

    def __init__(
        self,
        vocab_size: int = 1024,
        hidden_size: int = 192,
        num_hidden_layers: int = 7,
        num_attention_heads: int = 6,
        num_experts: int = 64,
        num_experts_per_tok: int = 4,
        moe_intermediate_size: int = 48,
        shared_intermediate_size: int = 192,
        experts_implementation: str = "auto",
        rope_theta: float = 10000.0,
        mtp_depth: int = 1,
        frame_window: int = 4,
        previous_frame: bool = False,
        initializer_range: float = 0.02,
        rms_norm_eps: float = 1e-6,
        image_size: int = 32,
        image_channels: int = 1,
        image_bits: int = 16,
        image_scales: tuple[int, ...] | list[int] = (1, 2, 3, 4),
        feature_channels: int = 64,
        feature_grid: int = 8,
        audio_levels: int = 3,
        audio_codebook: int = 128,
        max_position_embeddings: int = 1024,
        tie_word_embeddings: bool = True,
        **kwargs: Any,
    ) -> None:
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.num_key_value_heads = num_attention_heads
        self.num_experts = num_experts
        self.num_experts_per_tok = num_experts_per_tok
        self.moe_intermediate_size = moe_intermediate_size
        self.shared_intermediate_size = shared_intermediate_size
        self.experts_implementation = experts_implementation
        self.rope_theta = rope_theta
        self.mtp_depth = mtp_depth
        self.frame_window = frame_window
        self.previous_frame = previous_frame
        self.initializer_range = initializer_range
        self.rms_norm_eps = rms_norm_eps
        self.image_size = image_size
        self.image_channels = image_channels
        self.image_bits = image_bits
        self.image_scales = list(image_scales)
        self.feature_channels = feature_channels
        self.feature_grid = feature_grid
        self.audio_levels = audio_levels
        self.audio_codebook = audio_codebook
        self.max_position_embeddings = max_position_embeddings
        self.image_token_id, self.video_token_id, self.audio_token_id = IMAGE, VIDEO, AUDIO
        special = {"pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS}
        super().__init__(**{**special, "tie_word_embeddings": tie_word_embeddings, **kwargs})
        self._check()

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads

    @property
    def first_audio_layer(self) -> int:
        """The layer after which the first residual level is predicted."""
        return self.num_hidden_layers - self.audio_levels

    @property
    def read_tokens(self) -> int:
        """Tokens of a picture, or of a frame, that is read."""
        return (self.feature_grid // 2) ** 2

    @property
    def drawn_tokens(self) -> int:
        """Cells of all scales of a picture that is made."""
        return sum(n * n for n in self.image_scales)

    def _check(self) -> None:
        if self.hidden_size % self.num_attention_heads or self.head_dim % 2:
            raise UnifiedError(
                f"Expected a width that {self.num_attention_heads} heads divide into even parts, got {self.hidden_size}: change hidden_size or "
                "num_attention_heads."
            )
        if not 1 <= self.num_experts_per_tok <= self.num_experts:
            raise UnifiedError(
                f"Expected 1 to {self.num_experts} experts a token, got {self.num_experts_per_tok}: change num_experts_per_tok."
            )
        if self.num_hidden_layers <= self.audio_levels:
            raise UnifiedError(
                f"Expected more layers than the {self.audio_levels} audio levels, whose heads sit on the last layers, got "
                f"{self.num_hidden_layers}: raise num_hidden_layers."
            )
        if self.feature_grid % 2 or self.image_scales[:1] != [1] or self.image_scales != sorted(set(self.image_scales)):
            raise UnifiedError(
                f"Expected an even feature grid and ascending scales that begin with 1, got {self.feature_grid} and {self.image_scales}: retrain the tokenizer."
            )
