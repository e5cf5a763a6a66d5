"""`RoutingLog`: metrics and captures of a training loop in two lines.

    with RoutingLog("runs/mine", model, evaluation=batch, every=100) as log:
        for batch in batches:
            ...
            log.step(loss=loss)

A capture is a forward pass of the same evaluation batch, in evaluation mode, without gradients. It leaves no trace in the
training: modes of all modules and the states of the random generators are put back (a test holds that the weights are
bit-equal with and without the log).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any

import torch
from torch import nn

from probes import RoutingProbe
from workbench.capture.reduce import reduce
from workbench.training.format import RunModel, TrainingLogError
from workbench.training.writer import RunWriter, reason_of

FIXED_LOSS = "eval/loss/fixed"
Batch = Mapping[str, Any]
Evaluation = Batch | Sequence[Batch] | Callable[[nn.Module], Any]


class RoutingLog:
    """Write a run folder (docs/training_log.md) from a training loop.

    Args:
        folder: of the run; has to be new, unless `resume_from` is given.
        model: the mixture-of-experts model that is trained; may be wrapped by DistributedDataParallel or torch.compile.
        evaluation: the fixed batch, as keyword arguments of the model ({"input_ids": [B, T], ...}), several of them, or a
            function of the model that runs it. None: metrics alone. A loss in its output is logged as "eval/loss/fixed".
        every: steps between two captures, 0 for none; one is also taken before the first step and at the end.
        documents, groups, processor, max_tokens: as in `probes.RoutingProbe`; with several batches, `documents` and
            `groups` are lists with an entry a batch.
        tokens: keep token rows (needed for saturation against the last checkpoint).
        blocks: blocks of documents kept apart, for intervals; more make larger captures (`capture.reduce`).
        total_steps, name, training, notes: facts for `run.json`.
        resume_from: steps done in the state that training goes on from.
        enabled: False on all processes but one; default: True on rank 0 of torch.distributed.

    Raises:
        TrainingLogError: if the folder holds a run, or the model is sharded over processes.
    """

    def __init__(
        self,
        folder: str | Path,
        model: nn.Module,
        evaluation: Evaluation | None = None,
        *,
        every: int = 100,
        documents: Any = None,
        groups: Any = None,
        processor: Any = None,
        tokens: bool = True,
        max_tokens: int = 8192,
        blocks: int = 8,
        total_steps: int | None = None,
        name: str = "",
        training: Mapping[str, Any] | None = None,
        notes: str = "",
        resume_from: int | None = None,
        enabled: bool | None = None,
    ) -> None:
        if every < 0:
            raise TrainingLogError(f"Captures are taken every 0 (never), 1, 2, ... steps, but every={every} came.")
        self.model = unwrapped(model)
        self.every = every if evaluation is not None else 0
        self.at = resume_from or 0
        self._options: dict[str, Any] = {
            "tokens": tokens, "processor": processor, "max_tokens": max_tokens, "coactivation": False,
        }  # fmt: skip
        self._runs = _runs(evaluation, documents, groups)
        self._blocks = blocks
        self._last_capture: int | None = None
        self.enabled = _first_process() if enabled is None else enabled
        self.writer: RunWriter | None = None
        if not self.enabled:
            return
        if self.every:
            _refuse_sharded(self.model)
        self.writer = RunWriter.open(
            folder,
            model=describe(self.model),
            name=name,
            total_steps=total_steps,
            training=training,
            evaluation={"batches": len(self._runs)} if self.every else None,
            notes=notes,
            resume_from=resume_from,
        )
        if self.every:
            self._first_capture(resume_from)

    def _first_capture(self, resume_from: int | None) -> None:
        """Before the first step, or at the step of resumption where the earlier part left none; a fault closes the run."""
        from workbench.training.read import capture_folders

        writer = self._open()
        if resume_from is not None and any(step == self.at for step, _ in capture_folders(writer.folder)):
            self._last_capture = self.at
            return
        try:
            self.capture()
        except BaseException as fault:
            writer.stop(reason_of(fault))
            raise

    def step(
        self, values: Mapping[str, Any] | None = None, /, *, steps_done: int | None = None, **metrics: Any
    ) -> None:
        """Note that an optimiser step is done.

        Args:
            values, metrics: metric -> number or tensor of one number; "loss/text" and the like go into `values`.
            steps_done: optimiser steps done so far, default one more than before.
        """
        self.at = self.at + 1 if steps_done is None else steps_done
        if self.writer is None:
            return
        if values or metrics:
            self.writer.metrics(self.at, values, **metrics)
        if self.every and self.at % self.every == 0:
            self.capture()

    def metrics(self, values: Mapping[str, Any] | None = None, /, **metrics: Any) -> None:
        """Metrics of the step that is done, for instance of an evaluation, without another step."""
        if self.writer is not None:
            self.writer.metrics(self.at, values, **metrics)

    def capture(self) -> None:
        """Run the evaluation batch under a probe now, and keep its capture and its loss under the present step."""
        if self.writer is None or not self._runs:
            return
        probe = RoutingProbe(self.model, **self._options)
        losses: list[float] = []
        with _undisturbed(self.model), torch.no_grad(), probe:
            for number, (run, documents, groups) in enumerate(self._runs):
                # Documents of several batches would otherwise share the names "0", "1", ...
                probe.label(documents=documents if documents is not None else run.names(number), groups=groups)
                loss = getattr(run(self.model), "loss", None)
                if isinstance(loss, torch.Tensor) and loss.numel() == 1:
                    losses.append(float(loss))
        capture = reduce(probe.capture(model_id=self.writer.info.model.id), self._blocks)
        self.writer.capture(self.at, capture)
        self._last_capture = self.at
        if losses:
            self.writer.metrics(self.at, {FIXED_LOSS: sum(losses) / len(losses)})

    def finish(self) -> None:
        """Take the last capture, if the last step has none, and close the run."""
        if self.writer is None:
            return
        if self.every and self._last_capture != self.at:
            self.capture()
        self.writer.finish(self.at)

    def stop(self, reason: str) -> None:
        """Close the run before its time, without another capture; `reason` is one sentence."""
        if self.writer is not None:
            self.writer.stop(reason, self.at)

    def __enter__(self) -> RoutingLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.finish()
        else:
            self.stop(reason_of(error))

    def _open(self) -> RunWriter:
        if self.writer is None:
            raise TrainingLogError("This process writes no log: ask the process of rank 0.")
        return self.writer


# ---------------------------------------------------------------------- the fixed batch
class _Forward:
    """One batch as a forward pass on the model's own device."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def __call__(self, model: nn.Module) -> Any:
        device = next(model.parameters()).device
        return model(
            **{name: value.to(device) if hasattr(value, "to") else value for name, value in self.batch.items()}
        )

    def names(self, number: int) -> list[str] | None:
        """Document names of the rows, None where the batch says nothing of rows."""
        ids = next(
            (value for value in self.batch.values() if isinstance(value, torch.Tensor) and value.ndim >= 2), None
        )
        return None if ids is None else [f"{number}-{row}" for row in range(len(ids))]


class _Function:
    """A function of the caller's own; it may label what it runs by itself."""

    def __init__(self, function: Callable[[nn.Module], Any]) -> None:
        self.function = function

    def __call__(self, model: nn.Module) -> Any:
        return self.function(model)

    def names(self, number: int) -> None:
        return None


def _runs(evaluation: Evaluation | None, documents: Any, groups: Any) -> list[tuple[_Forward | _Function, Any, Any]]:
    if evaluation is None:
        return []
    if isinstance(evaluation, Mapping):
        return [(_Forward(evaluation), documents, groups)]
    if callable(evaluation):
        return [(_Function(evaluation), documents, groups)]
    batches = list(evaluation)
    if not batches or not all(isinstance(batch, Mapping) for batch in batches):
        raise TrainingLogError(
            "The evaluation batch is a mapping of the model's arguments, a list of such mappings or a function of the model, "
            "but something else came."
        )
    labels = []
    for what, given in (("documents", documents), ("groups", groups)):
        each = [None] * len(batches) if given is None else list(given)
        if len(each) != len(batches):
            raise TrainingLogError(
                f"{len(batches)} evaluation batches need {len(batches)} entries of {what}, but {len(each)} came."
            )
        labels.append(each)
    return [(_Forward(batch), *label) for batch, label in zip(batches, zip(*labels, strict=True), strict=True)]


# ---------------------------------------------------------------------- the model
def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside DistributedDataParallel and torch.compile's wrapper, whose hooks would be skipped."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def describe(model: nn.Module) -> RunModel:
    """Name, kind, size and configuration of a model, without a path of this machine."""
    config: Any = getattr(model, "config", None)
    values: dict[str, Any] = config.to_diff_dict() if hasattr(config, "to_diff_dict") else {}
    name = str(getattr(config, "_name_or_path", "") or "")
    # A hub id has at most one slash; anything else is a folder, of which only the last part is a name.
    shown = name if name.count("/") <= 1 and not name.startswith((".", "/", "~")) else PurePath(name).name
    values.pop("_name_or_path", None)
    return RunModel(
        id=shown or type(model).__name__,
        family=str(getattr(config, "model_type", "unknown") or "unknown"),
        architecture=type(model).__name__,
        parameters=sum(weight.numel() for weight in model.parameters()),
        config=_plain(values),
    )


def _plain(value: Any) -> Any:
    """A configuration as JSON."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _refuse_sharded(model: nn.Module) -> None:
    sharded = "FullyShardedDataParallel" in {type(module).__name__ for module in model.modules()} or any(
        type(weight).__name__ == "DTensor" for weight in model.parameters()
    )
    if sharded:
        raise TrainingLogError(
            "A model that is sharded over processes (FSDP, tensor parallel) cannot be run by one of them alone: pass "
            "evaluation=None to log metrics, and record its checkpoints afterwards with `workbench capture`."
        )


def _first_process() -> bool:
    distributed = torch.distributed
    return not (distributed.is_available() and distributed.is_initialized()) or distributed.get_rank() == 0


class _undisturbed:
    """A block in evaluation mode, after which modes and random generators are what they were."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def __enter__(self) -> None:
        self._training = [module for module in self._model.modules() if module.training]
        self._random = torch.get_rng_state()
        device = next(self._model.parameters()).device
        self._device = device if device.type == "cuda" else None
        self._on_device = torch.cuda.get_rng_state(self._device) if self._device is not None else None
        self._model.eval()

    def __exit__(self, *_: object) -> None:
        for module in self._training:
            module.training = True
        torch.set_rng_state(self._random)
        if self._on_device is not None and self._device is not None:
            torch.cuda.set_rng_state(self._on_device, self._device)
