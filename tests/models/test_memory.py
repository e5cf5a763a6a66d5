"""Memory estimates against the parameters of the loaded model."""

from __future__ import annotations

from pathlib import Path

from workbench.models import LoadOptions, Workload, estimate_memory


def test_the_estimate_counts_the_weights(folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    stored = sum(parameter.numel() for parameter in AutoModelForCausalLM.from_pretrained(folder).parameters())
    for dtype, size in (("float32", 4), ("bfloat16", 2)):
        found = estimate_memory(str(folder), LoadOptions(dtype=dtype, device="cpu"))
        assert (found.parameters, found.weights) == (stored, stored * size)
        assert found.total > found.weights
    small, large = (estimate_memory(str(folder), LoadOptions(), Workload(rows, 64)).activations for rows in (1, 8))
    assert large == 8 * small
