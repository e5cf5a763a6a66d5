"""Sizes and choices of a USM model, in the form of a transformers configuration."""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, PretrainedConfig

LINKS = ("H2T", "H2H", "T2T", "L2H", "L2T", "H2L", "T2L")


class UsmConfig(PretrainedConfig):
    """Configuration of a USM model.

    Args:
        encoder: the configuration of its transformers encoder, as a dictionary.
        head_size: numbers a token's or label's side of a link has.
        rotary_base: base of the rotary angles.
        shapes: whether the shape of words (capitals, digits) is added to the input: for encoders with an uncased vocabulary.
        labels_see_text: whether labels attend to the text; they never see each other.
        label_vector: what stands for a label in its links: "first", the state of the [CLS] that opens it, or "mean", the mean of all its states.
        max_label: pieces of a label with its description; what is longer is cut.
        window: pieces of text in one pass. overlap: pieces that neighbouring windows share.
        max_labels: labels in one pass.
        events_apart: whether events are asked in passes of their own: for a model whose training hardly ever had them in one prompt with entity types
            and relations, so that each hides the others there.
        decoding: what was learnt on development data about reading results off the links (`decode.Reading`, as JSON).
    """

    model_type = "usm"

    def __init__(
        self,
        encoder: dict[str, Any] | None = None,
        head_size: int = 64,
        rotary_base: float = 10_000.0,
        shapes: bool = True,
        labels_see_text: bool = True,
        label_vector: str = "first",
        max_label: int = 24,
        window: int = 128,
        overlap: int = 32,
        max_labels: int = 32,
        events_apart: bool = False,
        decoding: dict[str, Any] | None = None,
        **others: Any,
    ) -> None:
        super().__init__(**others)
        self.encoder = encoder or {}
        self.head_size = head_size
        self.rotary_base = rotary_base
        self.shapes = shapes
        self.labels_see_text = labels_see_text
        self.label_vector = label_vector
        self.max_label = max_label
        self.window = window
        self.overlap = overlap
        self.max_labels = max_labels
        self.events_apart = events_apart
        self.decoding = decoding or {}

    def check(self) -> None:
        """See that the sizes of a pass can be run.

        Raises:
            ValueError: one of them cannot.
        """
        for name, least in (("head_size", 2), ("max_label", 2), ("window", 2), ("overlap", 0), ("max_labels", 2)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"expected a whole number of {least} or more for {name}, got {value!r}")
        if self.overlap >= self.window:
            raise ValueError(f"expected an overlap below the window of {self.window} pieces, got {self.overlap}")

    def encoder_config(self) -> PretrainedConfig:
        """The configuration of the encoder as transformers' own class."""
        values = dict(self.encoder)
        made: PretrainedConfig = AutoConfig.for_model(values.pop("model_type"), **values)
        return made
