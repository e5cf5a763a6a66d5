"""Evaluation of the unified model: every direction on held-out data, judged by networks that saw real training data only."""

from __future__ import annotations

from workbench.unified.evaluate.run import evaluate

__all__ = ["evaluate"]
