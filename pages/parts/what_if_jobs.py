"""The work behind the What if page: the check of the groups, and a change of one's own with texts before and after.

Runs in the thread of a job, so it draws nothing; torch loads here, when a job begins, and not with the page.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pages.parts.faults import FIELDS, in_words_of
from workbench.capture.errors import WorkbenchError
from workbench.causal.stored import StoredCheck
from workbench.jobs import Task

if TYPE_CHECKING:
    from workbench.causal.writing import Written
    from workbench.inputs import Document
    from workbench.models import LoadedModel

TEXTS = Path(__file__).resolve().parents[2] / "sample_data" / "inputs" / "kinds"
_FIELDS = FIELDS | {
    "--batch-size": "“Texts at once”",
    "--by": "“A group's experts”",
    "--documents": "“Texts a group”",
    "--draws": "“Random sets of equal load”",
    "--force": "“Force”",
    "--max-length": "“Tokens a text”",
    "--mute": "“Mute”",
    "--prompt": "“Write on from”",
    "--share": "“Part of the experts of each layer”",
    "--top-k": "“Experts a token”",
}


@dataclass(frozen=True)
class Order:
    """What is asked for.

    Attributes:
        model: embedded name, folder, GGUF file or hub id. dtype, device: as in `LoadOptions`.
        files: uploaded files in `folder`, none for the shipped texts.
        group_by, text_column: as on the command line.
        share, by, draws, documents, batch_size, max_length, seed: as in `CausalOptions`.
        mute, force: words such as "text_3_mlp:0,7". top_k: fewer experts a token.
        prompt, new_tokens, sampled: what is written with and without the change; no prompt writes nothing.
    """

    model: str
    files: tuple[Path, ...] = ()
    folder: Path | None = None
    group_by: str = "folder"
    text_column: str | None = None
    share: float = 0.25
    by: str = "used"
    draws: int = 5
    documents: int | None = None
    batch_size: int = 8
    max_length: int | None = None
    seed: int = 0
    dtype: str = "auto"
    device: str = "auto"
    mute: tuple[str, ...] = ()
    force: tuple[str, ...] = ()
    top_k: int | None = None
    prompt: str = ""
    new_tokens: int = 60
    sampled: bool = False


@dataclass(frozen=True)
class Change:
    """What a change of one's own gave."""

    stored: StoredCheck
    sentence: str
    written: tuple[Written, ...] = field(default_factory=tuple)


def run_check(order: Order, task: Task) -> StoredCheck:
    """The check of the groups.

    Raises:
        WorkbenchError: one sentence; Cancelled when stopped.
    """
    from workbench.causal.check import causal

    def work(loaded: LoadedModel, documents: list[Document]) -> StoredCheck:
        found = causal(loaded, documents, _options(order, loaded), on_progress=_told(task), cancelled=task.cancelled)
        return StoredCheck(found.losses, _settings(order, loaded, found.used, found.known, found.table), found.muted)

    result: StoredCheck = _run(order, task, work)
    return result


def run_change(order: Order, task: Task) -> Change:
    """A change of one's own; raises as `run_check`."""
    from workbench.causal.interventions import Intervention, parse_experts
    from workbench.causal.what_if import what_if
    from workbench.causal.writing import write_both

    def work(loaded: LoadedModel, documents: list[Document]) -> Change:
        change = Intervention(
            "your change", parse_experts(order.mute, "--mute"), parse_experts(order.force, "--force"), order.top_k
        )
        found = what_if(
            loaded, documents, change, _options(order, loaded), on_progress=_told(task), cancelled=task.cancelled
        )
        written = write_both(
            loaded, [order.prompt] if order.prompt.strip() else [], change, tokens=order.new_tokens, sampled=order.sampled,
            seed=order.seed, on_token=lambda count, most: task.progress(count, most, "Writing with and without"),
            cancelled=task.cancelled,
        )  # fmt: skip
        experts = {"mute": dict(change.mute), "force": dict(change.force), "top_k": change.top_k}
        stored = StoredCheck(found.losses, _settings(order, loaded, found.used, found.known, found.table), experts)
        return Change(stored, found.sentence, tuple(written))

    result: Change = _run(order, task, work)
    return result


def tidy(order: Order) -> None:
    """Remove the uploaded files; given to the job as its clean-up."""
    if order.folder is not None:
        shutil.rmtree(order.folder, ignore_errors=True)


def _run(order: Order, task: Task, work: Any) -> Any:
    from workbench.inputs import InputOptions, read_documents
    from workbench.models import LoadOptions, Workload, load_model
    from workbench.recording import DEFAULT_MAX_LENGTH

    try:
        with in_words_of(_FIELDS, order.folder):
            task.progress(0, None, "Reading the texts")
            options = InputOptions(group_by=order.group_by, text_column=order.text_column)
            documents = list(read_documents(list(order.files) or [TEXTS], options))
            task.check()
            loaded = load_model(
                order.model,
                LoadOptions(dtype=order.dtype, device=order.device),
                progress=lambda said: task.progress(0, None, said),
                workload=Workload(order.batch_size, order.max_length or DEFAULT_MAX_LENGTH),
            )
            return work(loaded, documents)
    except WorkbenchError:
        task.check()  # stopped: said as every job says it
        raise


def _options(order: Order, loaded: LoadedModel) -> Any:
    """As the form says; a text is never longer than the model takes."""
    from workbench.causal.check import CausalOptions
    from workbench.live.prompt import positions

    room = positions(loaded)
    longest = order.max_length if room is None or order.max_length is None else min(order.max_length, room)

    return CausalOptions(
        group_by=order.group_by, share=order.share, by=order.by, draws=order.draws, documents=order.documents,
        batch_size=order.batch_size, max_length=longest, seed=order.seed,
    )  # fmt: skip


def _settings(order: Order, loaded: LoadedModel, used: int, known: int, table: Any) -> Mapping[str, Any]:
    return {
        "model": loaded.info.id, "device": str(loaded.model.device), "group_by": order.group_by, "share": order.share, "by": order.by,
        "used": used, "known": known, "seed": order.seed, "resamples": table.resamples, "level": table.level, "separate": table.separate,
    }  # fmt: skip


def _told(task: Task) -> Any:
    return lambda done, total, what: task.progress(done, total or None, what)
