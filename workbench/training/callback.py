"""`RoutingCallback`: the training log from transformers' Trainer.

    Trainer(..., callbacks=[RoutingCallback("runs/mine", evaluation=batch, every=100)])

What the Trainer logs becomes metrics under the names of docs/training_log.md. A Trainer that resumes from a checkpoint goes
on with the run in the folder: what was logged after that checkpoint is void.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from workbench.training.log import Evaluation, RoutingLog

# Names of the Trainer -> names of the training log.
NAMES = {
    "learning_rate": "lr",
    "num_input_tokens_seen": "tokens",
}
# Sums over a whole run, logged once at its end, and how fast things went: no points of a curve.
_LEFT_OUT = re.compile(r"total_flos|train_loss|epoch|.*_runtime|.*_(samples|steps|tokens)_per_second")


def name_of(name: str) -> str:
    """Name in the training log of a number of the Trainer; `eval_PART_loss` is what several evaluation sets give."""
    part = re.fullmatch(r"eval_(?:(.+)_)?loss", name)
    if part is not None:
        return f"eval/loss/{part[1]}" if part[1] else "eval/loss"
    return NAMES.get(name, name.replace("eval_", "eval/", 1))


class RoutingCallback(TrainerCallback):
    """Write a run folder from a Trainer.

    Args:
        folder: of the run; has to hold no run when training starts at step 0.
        evaluation, every and all others: as in `RoutingLog`.
    """

    def __init__(
        self, folder: str | Path, evaluation: Evaluation | None = None, *, every: int = 100, **options: Any
    ) -> None:
        self.folder = Path(folder)
        self.evaluation = evaluation
        self.every = every
        self.options = options
        self.log: RoutingLog | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        """Open the run."""
        settings = args.to_sanitized_dict()
        kept = ("per_device_train_batch_size", "gradient_accumulation_steps", "optim", "lr_scheduler_type", "warmup_steps",
                "weight_decay", "max_grad_norm", "num_train_epochs", "bf16", "fp16", "seed")  # fmt: skip
        training = {name: settings[name] for name in kept if name in settings}
        self.log = RoutingLog(
            self.folder,
            model,
            self.evaluation,
            every=self.every,
            total_steps=state.max_steps,
            training={"by": "transformers.Trainer", "learning_rate": settings.get("learning_rate")} | training,
            resume_from=state.global_step or None,
            enabled=state.is_world_process_zero,
            **self.options,
        )

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Metrics under their names in the log."""
        if self.log is None or self.log.writer is None or not logs:
            return
        values = {
            name_of(name): value
            for name, value in logs.items()
            if not _LEFT_OUT.fullmatch(name) and isinstance(value, int | float)
        }
        if values:
            self.log.writer.metrics(state.global_step, values)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """A capture where one is due."""
        if self.log is not None:
            self.log.step(steps_done=state.global_step)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The last capture, and the end of the run."""
        if self.log is not None:
            self.log.finish()
