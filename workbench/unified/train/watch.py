"""Captures on the way: routing on the same held-out samples, before and during training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from probes import RoutingProbe
from workbench.unified.batch import make_batch, to_device
from workbench.unified.model import UnifiedForCausalLM
from workbench.unified.segments import TASKS, Sample
from workbench.unified.train.order import TrainingData

if TYPE_CHECKING:
    from workbench.capture import Capture
    from workbench.unified.tokenizers.bundle import Tokenizers

SAMPLES = 16  # of every task


def held_out_samples(data: TrainingData, count: int = SAMPLES) -> list[Sample]:
    """The first held-out samples of every task; empty where the data has none."""
    held_out = getattr(data, "held_out", None)
    if held_out is None:
        return []
    return [held_out(task, number) for task in TASKS if task in data.tasks for number in range(count)]


def capture_held_out(
    model: UnifiedForCausalLM, tokenizers: Tokenizers, data: TrainingData, count: int = SAMPLES
) -> Capture | None:
    """Which experts take which tokens of the held-out samples, by the six groups of the report.

    Args:
        model: is put back into its mode afterwards.
        tokenizers, data: of the run.
        count: samples of every task.

    Returns:
        None where the data holds nothing out.
    """
    samples = held_out_samples(data, count)
    if not samples:
        return None
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), RoutingProbe(model, coactivation=False) as probe:
            for task in dict.fromkeys(sample.task for sample in samples):
                chosen = [(number, sample) for number, sample in enumerate(samples) if sample.task == task]
                batch = make_batch([sample for _, sample in chosen], model.config, tokenizers)
                probe.label(documents=[f"{task} {number}" for number, _ in chosen])
                model(**to_device(batch, model.device), use_cache=False)
        return probe.capture()
    finally:
        model.train(was_training)
