"""The same model before it has learnt anything: its configuration with weights drawn anew, for the null of untrained weights."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from workbench.analysis.align import UNTRAINED_FLAG
from workbench.capture.schema import Flag
from workbench.models.files import ModelError

if TYPE_CHECKING:
    from workbench.capture import Capture
    from workbench.models.load import LoadedModel


def fresh_weights(loaded: LoadedModel, seed: int) -> LoadedModel:
    """A new model of the same class, configuration, number format and device with its own initialisation.

    Args:
        seed: of the weights; other seeds say how much the initial weights matter.

    Raises:
        ModelError: for quantised or spread models, whose class cannot be drawn anew in place.
    """
    import torch

    model = loaded.model
    if getattr(model, "is_quantized", False) or getattr(model, "hf_device_map", None):
        raise ModelError(
            f"Untrained weights are drawn for whole models in a plain number format, and '{loaded.info.id}' is quantised or spread over devices: "
            "leave --quantize and --device-map out."
        )
    torch.manual_seed(seed)
    made = type(model)._from_config(model.config, dtype=model.dtype)
    return replace(loaded, model=made.to(model.device).eval())


def marked_untrained(capture: Capture, seed: int) -> Capture:
    """The same capture with the flag that says so; pages and nulls find it by this flag."""
    from workbench.capture import Capture as Made

    flag = Flag(
        kind=UNTRAINED_FLAG,
        detail=f"The weights are untrained, drawn anew with seed {seed}: this capture is a null, not the model.",
    )
    manifest = capture.manifest.model_copy(update={"flags": (*capture.manifest.flags, flag)})
    return Made(manifest, capture._load, coactivation=capture.coactivation, tokens=capture.tokens, curve=capture.curve)
