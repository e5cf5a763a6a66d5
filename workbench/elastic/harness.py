"""Quality by tasks of lm-evaluation-harness (the optional package lm-eval), imported only where a task is asked for.

Source of the tasks and of every measure's definition: https://github.com/EleutherAI/lm-evaluation-harness.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.capture.errors import reason
from workbench.elastic.errors import SweepError

if TYPE_CHECKING:
    from workbench.models import LoadedModel

ONLY_GROUP = "task"  # what stands for a group of texts in a row about a task


def check_harness(tasks: Sequence[str], folder: Path | None = None) -> None:
    """Refuse tasks before anything is run where the package is missing, or knows no such task.

    Args:
        tasks: names of tasks. folder: further task files (YAML), or None.

    Raises:
        SweepError: with the install line, or naming the task.
    """
    if tasks:
        _manager(tasks, folder)


def _manager(tasks: Sequence[str], folder: Path | None) -> Any:
    """The harness's list of tasks, with all of these in it."""
    if find_spec("lm_eval") is None:
        raise SweepError(
            f"The task '{tasks[0]}' needs the package lm-eval, which is not installed: install it with `pip install 'unified-workbench[harness]'`."
        )
    if folder is not None and not folder.is_dir():
        raise SweepError(f"--task-folder names '{folder}', which is no folder: name the one that holds the task files.")
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=None if folder is None else str(folder))
    known = set(manager.all_tasks)
    missing = [task for task in tasks if task not in known]
    if missing:
        raise SweepError(
            f"lm-evaluation-harness knows no task '{missing[0]}': check its name with `lm-eval ls tasks`, or name the folder of its YAML file "
            "with --task-folder."
        )
    return manager


class Harness:
    """Runs tasks on the model as it is at the moment, sub-model or not.

    Args:
        loaded: the model and its tokenizer.
        tasks: names of tasks.
        folder: further task files (YAML), or None.
        limit: documents of each task, or None for all.
        batch_size: rows of a forward pass.

    Raises:
        SweepError: if the package or a task is missing.
    """

    def __init__(
        self, loaded: LoadedModel, tasks: Sequence[str], *, folder: Path | None, limit: int | None, batch_size: int
    ) -> None:
        self.limit, self.tasks = limit, list(tasks)
        self._manager = _manager(tasks, folder)
        from lm_eval.models.huggingface import HFLM

        self._model: Any = HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=batch_size)

    def run(self, task: str) -> list[dict[str, Any]]:
        """The measures of one task, in the form of a curve's `quality`.

        Raises:
            SweepError: if the task cannot be run, for instance because its data is not at hand.
        """
        import lm_eval

        try:
            found = lm_eval.simple_evaluate(
                model=self._model, tasks=[task], task_manager=self._manager, limit=self.limit, bootstrap_iters=1000,
                log_samples=False, verbosity="ERROR",
            )  # fmt: skip
        except Exception as fault:  # tasks are programs of others, and load data from anywhere
            raise SweepError(
                f"The task '{task}' could not be run ({reason(fault)}): check that its data can be had here."
            ) from fault
        return measures_of(task, found or {})


def measures_of(task: str, found: dict[str, Any]) -> list[dict[str, Any]]:
    """Every number of a task's result; the interval is value ± 1.96 of the harness's own standard error."""
    results = dict(found.get("results", {}).get(task, {}))
    higher = found.get("higher_is_better", {}).get(task, {})
    samples = found.get("n-samples", {}).get(task, {})
    entries = []
    for key, value in results.items():
        name, _, rest = key.partition(",")
        if isinstance(value, bool) or not isinstance(value, int | float) or name.endswith("_stderr") or not rest:
            continue
        error = results.get(f"{name}_stderr,{rest}")
        spread = 1.96 * error if isinstance(error, int | float) else None
        entries.append(
            {
                "group": ONLY_GROUP,
                "measure": f"{task} {name}" if rest == "none" else f"{task} {name} ({rest})",
                "value": float(value),
                "low": None if spread is None else value - spread,
                "high": None if spread is None else value + spread,
                "better": "lower" if higher.get(name) is False else "higher",
                "documents": samples.get("effective"),
                "tokens": None,
            }
        )
    return entries
