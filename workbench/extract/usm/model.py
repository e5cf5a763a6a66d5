"""The USM model: any transformers encoder, a word-shape embedding, and the scores of the seven link matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, PretrainedConfig, PreTrainedModel

from workbench.extract.errors import EngineError
from workbench.extract.seq2seq.apart import cannot_read_apart, first_position, label_means
from workbench.extract.usm.batch import Batch
from workbench.extract.usm.config import UsmConfig
from workbench.extract.usm.pieces import SHAPES

START_BIAS = -2.0  # of every link at the start of training: links are rare


@dataclass
class Scores:
    """Link scores of a batch; above 0 a link is accepted. Cells outside a sample's own pieces and labels mean nothing.

    Attributes:
        tokens: H2T, H2H, T2T, [B, 3, T, T]. from_label: L2H, L2T, [B, 2, L, T]. to_label: H2L, T2L, [B, 2, T, L].
    """

    tokens: Tensor
    from_label: Tensor
    to_label: Tensor

    def of(self, number: int) -> Scores:
        """Of one sample, without the first axis."""
        return Scores(self.tokens[number], self.from_label[number], self.to_label[number])


class UsmModel(nn.Module):
    """USM on an encoder.

    A link's score is FFN_left(source)ᵀ · R(distance) · FFN_right(target) / sqrt(head size) + bias, with FFNs of its own for every
    link (arXiv 2301.03282; the score is that of GlobalPointer). R is a rotary matrix of the distance between two pieces; between a
    label and a piece there is no distance, so R is 1 there (ours).

    Args:
        config: sizes.
        encoder: a transformers encoder; None: a fresh one from the configuration.
    """

    def __init__(self, config: UsmConfig, encoder: PreTrainedModel | None = None) -> None:
        super().__init__()
        self.config = config
        self.encoder: Any = AutoModel.from_config(config.encoder_config()) if encoder is None else encoder
        for part in ("pooler",):  # its output is not used
            if getattr(self.encoder, part, None) is not None:
                setattr(self.encoder, part, None)
        hidden = int(self.encoder.config.hidden_size)
        size = config.head_size
        self.token_sides = nn.Linear(hidden, 10 * size)
        self.label_sides = nn.Linear(hidden, 4 * size)
        self.bias = nn.Parameter(torch.full((7,), START_BIAS))
        self.kind = nn.Embedding(3, hidden)
        self.shape = nn.Embedding(len(SHAPES), hidden)
        nn.init.zeros_(self.kind.weight)
        nn.init.zeros_(self.shape.weight)
        for sides in (self.token_sides, self.label_sides):
            nn.init.normal_(sides.weight, std=0.05)
            nn.init.zeros_(sides.bias)
        self._first_position = first_position(self.encoder)

    @property
    def device(self) -> torch.device:
        return self.bias.device

    def encode(self, batch: Batch, **options: Any) -> Any:
        """The encoder's output for a batch, one pass for labels and text together.

        Args:
            options: passed to the encoder, for instance output_attentions=True.
        """
        embedded = self.encoder.get_input_embeddings()(batch.ids) + self.kind(batch.kinds)
        if self.config.shapes:
            embedded = embedded + self.shape(batch.shapes)
        seen = batch.allowed(self.config.labels_see_text)
        mask = torch.zeros(seen.shape, dtype=embedded.dtype, device=seen.device)
        mask = mask.masked_fill(~seen, torch.finfo(embedded.dtype).min)[:, None]
        return self.encoder(
            inputs_embeds=embedded, attention_mask=mask, position_ids=batch.positions + self._first_position, **options
        )

    def forward(self, batch: Batch) -> Scores:
        """Scores of every link of a batch."""
        return self.score(self.encode(batch).last_hidden_state, batch)

    def score(self, hidden: Tensor, batch: Batch) -> Scores:
        """Link scores from the encoder's states.

        Args:
            hidden: [B, S, H].
        """
        size = self.config.head_size
        width = hidden.shape[-1]
        words = hidden.gather(1, batch.text[:, :, None].expand(-1, -1, width))
        labels = label_states(hidden, batch, self.config.label_vector)
        token = self.token_sides(words).unflatten(-1, (10, size)).permute(0, 2, 1, 3)  # [B, 10, T, d]
        label = self.label_sides(labels).unflatten(-1, (4, size)).permute(0, 2, 1, 3)  # [B, 4, L, d]
        turned = rotate(token[:, :6], self.config.rotary_base)
        scale = size**-0.5
        bias = self.bias[:, None, None]
        return Scores(
            tokens=(turned[:, 0:3] @ turned[:, 3:6].transpose(-1, -2)).float() * scale + bias[0:3],
            from_label=(label[:, 0:2] @ token[:, 6:8].transpose(-1, -2)).float() * scale + bias[3:5],
            to_label=(token[:, 8:10] @ label[:, 2:4].transpose(-1, -2)).float() * scale + bias[5:7],
        )


def label_states(hidden: Tensor, batch: Batch, way: str) -> Tensor:
    """What stands for each label, [B, L, H].

    Args:
        hidden: [B, S, H].
        way: "first" or "mean", as in UsmConfig.
    """
    if way == "first":
        return hidden.gather(1, batch.anchors[:, :, None].expand(-1, -1, hidden.shape[-1]))
    return label_means(hidden, batch.segments, batch.anchors.shape[1])


def rotate(values: Tensor, base: float) -> Tensor:
    """Rotary position embedding along the axis before the last: pairs of neighbouring numbers turn by position x frequency.

    Args:
        values: [..., T, d], d even.
        base: of the frequencies.
    """
    length, size = values.shape[-2:]
    frequency = base ** (-torch.arange(0, size, 2, device=values.device, dtype=torch.float32) / size)
    angle = torch.arange(length, device=values.device, dtype=torch.float32)[:, None] * frequency
    cos, sin = angle.cos().to(values.dtype), angle.sin().to(values.dtype)
    even, odd = values[..., 0::2], values[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


def new_model(encoder: PreTrainedModel, **choices: Any) -> UsmModel:
    """A USM model on an encoder, its link heads untrained.

    Args:
        choices: fields of UsmConfig.

    Raises:
        EngineError: the encoder cannot keep labels apart.
    """
    model = UsmModel(UsmConfig(encoder=_plain(encoder.config), **choices), encoder)
    check_encoder(model)
    return model


def check_encoder(model: UsmModel) -> None:
    """Prove that a label cannot see another one in this encoder.

    Raises:
        EngineError: it does not take positions, embeddings and a mask of its own, or does not keep to the mask.
    """
    if fault := cannot_read_apart(model.encoder):
        raise EngineError(f"USM needs an encoder {fault}: choose one such as BERT, RoBERTa or ModernBERT.")


def _plain(config: PretrainedConfig) -> dict[str, Any]:
    """A configuration as a dictionary without the names of a machine's folders."""
    values: dict[str, Any] = config.to_diff_dict()
    values["model_type"] = config.model_type
    for name in ("_name_or_path", "transformers_version", "torch_dtype", "dtype"):
        values.pop(name, None)
    return values
