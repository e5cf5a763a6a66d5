"""Quality by the unified model's own tasks: words for what is read, and what judges see and hear in what is made.

The tasks, their test data and the judges (trained on real training data alone) are those of `workbench unified evaluate`
(workbench/unified/evaluate); here each runs on the model as it is at the moment, sub-model or not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.elastic.errors import SweepError
from workbench.elastic.samples import AUDIO, IMAGE_MADE, IMAGE_READ, TEXT, VIDEO_MADE, VIDEO_READ

if TYPE_CHECKING:
    from workbench.models import LoadedModel
    from workbench.unified.sampling import Sampling

# Task -> (group of the report, parts that are measured apart).
TASKS: dict[str, tuple[str, tuple[str, ...]]] = {
    "text": (TEXT, ()),
    "image_to_word": (IMAGE_READ, ("fashion", "digits")),
    "clip_to_caption": (VIDEO_READ, ()),
    "word_to_image": (IMAGE_MADE, ("fashion", "digits")),
    "caption_to_clip": (VIDEO_MADE, ()),
    "speech_to_word": (AUDIO, ("known_speakers", "held_out_speaker")),
    "word_to_speech": (AUDIO, ()),
}


@dataclass(frozen=True)
class TaskData:
    """Where tasks find what they read.

    Attributes:
        root: folder with one folder a data set; None: the model's tasks cannot be run.
        judges: folder of trained judges; None: the checkpoint's own, else `$WORKBENCH_HOME/judges`, trained first where missing.
    """

    root: Path | None = None
    judges: Path | None = None


class UnifiedTasks:
    """Runs the unified model's tasks.

    Args:
        loaded: the model.
        tasks: names out of `TASKS`.
        data: test data and judges.
        limit: items of each task, or None for all (500 of what is made).
        seed: of sampling.
        say: told which judge is trained.

    Raises:
        SweepError: for an unknown task, or without a data root.
        UnifiedError: if a data set is missing.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        tasks: Sequence[str],
        data: TaskData,
        *,
        limit: int | None,
        seed: int = 0,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        check_tasks(tasks, data)
        assert data.root is not None  # check_tasks
        from workbench.making import GUIDANCE, TEMPERATURE
        from workbench.unified.checkpoint import tokenizers_beside
        from workbench.unified.data.clips import FRAMES
        from workbench.unified.evaluate.bench import JUDGES, Judges, default_folder, provide_judges, test_data
        from workbench.unified.evaluate.making import MADE
        from workbench.unified.generate import Generator
        from workbench.unified.sampling import Sampling

        model: Any = loaded.model
        self._generator = Generator(model, tokenizers_beside(loaded.model, loaded.info.id))
        self._root, self._limit = data.root, limit
        self._data = test_data(data.root, limit, FRAMES)
        own = Judges.load(Path(str(model.name_or_path)) / JUDGES, FRAMES) if data.judges is None else None
        self._judges = own or provide_judges(data.root, data.judges or default_folder(), FRAMES, say)
        self._settings: Sampling = Sampling(temperature=TEMPERATURE, guidance=GUIDANCE, seed=seed)
        self._count = min(limit or MADE, MADE)

    def run(self, task: str) -> list[dict[str, Any]]:
        """The measures of one task, in the form of a curve's `quality`: accuracy with its 95 % interval (Wilson 1927)."""
        from workbench.unified.evaluate.reading import text_bits

        group, parts = TASKS[task]
        if task == "text":
            bits, pieces = text_bits(self._generator, self._root, self._limit)
            return [_entry(group, "text bits a byte", bits, None, "lower", pieces)]
        return [
            _entry(group, f"{task} accuracy ({part})" if part else f"{task} accuracy", found["accuracy"], found["interval"], "higher", found["n"])
            for part in parts or ("",)
            for found in [self._measured(task, part)]
        ]  # fmt: skip

    def _measured(self, task: str, part: str) -> dict[str, Any]:
        from workbench.unified.evaluate.making import make_clips, make_pictures, make_speech, moved
        from workbench.unified.evaluate.reading import read_clips, read_pictures, read_sounds

        given = (self._generator, self._judges, self._data)
        if task == "image_to_word":
            return read_pictures(*given, part)
        if task == "speech_to_word":
            return read_sounds(*given, part)
        if task == "clip_to_caption":
            return read_clips(*given)
        if task == "word_to_image":
            number = TASKS[task][1].index(part)
            return make_pictures(*given, part, self._count, moved(self._settings, number))
        if task == "word_to_speech":
            return make_speech(*given, self._count, moved(self._settings, 2))
        return make_clips(*given, self._count, moved(self._settings, 3))


def check_tasks(tasks: Sequence[str], data: TaskData) -> None:
    """Refuse tasks that the unified model does not have, or whose data was not named.

    Raises:
        SweepError: saying which, and what to do.
    """
    unknown = next((task for task in tasks if task not in TASKS), None)
    if unknown is not None:
        raise SweepError(
            f"The unified model has the tasks {', '.join(TASKS)}, not '{unknown}': choose among them; tasks of lm-evaluation-harness are for models of text."
        )
    if tasks and data.root is None:
        raise SweepError(
            f"The task '{tasks[0]}' reads test data: name the folder of the data sets with --data-root (docs/data.md says where each is to be had)."
        )


def _entry(
    group: str, measure: str, value: float | None, interval: list[float] | None, better: str, n: int
) -> dict[str, Any]:
    low, high = interval or (None, None)
    return {
        "group": group, "measure": measure, "value": value, "low": low, "high": high, "better": better, "documents": n, "tokens": None,
    }  # fmt: skip
