"""One recording: a model under a probe, document by document, into a capture."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from workbench.capture import Capture
from workbench.capture.regroup import group_by_phase
from workbench.inputs import Document, InputOptions
from workbench.recording.options import RecordingError, RecordOptions
from workbench.recording.progress import Progress, Tally
from workbench.recording.runner import Runner, length_of

if TYPE_CHECKING:
    from workbench.models import LoadedModel


def record(
    loaded: LoadedModel,
    documents: Sequence[Document],
    options: RecordOptions | None = None,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Capture:
    """Run documents and return the capture of their routing.

    Args:
        loaded: from `load_model`.
        documents: from `read_documents`.
        on_progress: called after every batch, in the thread that calls this.
        cancelled: asked before every batch; where it says True, what was recorded is returned, and the notes say so.

    Raises:
        RecordingError: if memory runs out, the model cannot generate, or it was cancelled before the first batch.
        InputError: if a document cannot be run by this model.
        ProbeError: if the probe's record fails its own checks.
    """
    import torch

    from probes import RoutingProbe

    options = options or RecordOptions()
    if not documents:
        raise RecordingError("There is no document to run: name at least one file with text.")
    if options.untrained:
        from workbench.models.fresh import fresh_weights

        loaded = fresh_weights(loaded, options.seed)
    runner = Runner(loaded, options)
    runner.check(documents)
    torch.manual_seed(options.seed)
    loaded.model.eval()
    probe = RoutingProbe(
        loaded.model,
        tokens=options.tokens,
        processor=loaded.processor if loaded.processor is not None else loaded.tokenizer,
        coactivation=options.coactivation,
        scores=options.scores,
        predictions=options.predictions,
        loss=options.loss,
        max_tokens=options.max_tokens,
        seed=options.seed,
    )
    tally = Tally(len(documents), time.monotonic())
    stopped = False
    try:
        with probe, torch.inference_mode():
            for batch in runner.batches(documents, tally):
                if cancelled is not None and cancelled():
                    stopped = True
                    break
                runner.run(probe, batch)
                for row in batch:
                    tally.ran(row.document)
                tally.tokens += sum(length_of(row) for row in batch)
                if on_progress is not None:
                    on_progress(tally.progress())
    except (RuntimeError, MemoryError) as fault:
        raise _memory_error(fault, options) from fault
    if stopped and not tally.tokens:
        raise RecordingError("The recording was stopped before its first batch, so there is nothing to keep.")
    notes = _notes(options, tally, runner, stopped)
    capture = probe.capture(
        model_id=loaded.info.id,
        licence=options.licence,
        notes=notes,
        grouped_by=InputOptions(group_by=options.group_by).grouped_by,
    )
    made = with_model(group_by_phase(capture) if options.group_by == "phase" else capture, loaded)
    if options.untrained:
        from workbench.models.fresh import marked_untrained

        made = marked_untrained(made, options.seed)
    return made


def with_model(capture: Capture, loaded: LoadedModel) -> Capture:
    """The capture with what only the loader knows of the model: its revision, and how it was quantized."""
    known = {"revision": loaded.info.revision, "parameters": loaded.info.parameters}
    if loaded.info.dtype in ("8bit", "4bit"):
        known["dtype"] = loaded.info.dtype
    capture.manifest = capture.manifest.model_copy(update={"model": capture.manifest.model.model_copy(update=known)})
    return capture


def _memory_error(fault: Exception, options: RecordOptions) -> Exception:
    if (
        not isinstance(fault, MemoryError)
        and "out of memory" not in str(fault).lower()
        and "can't allocate" not in str(fault)
    ):
        return fault
    if options.batch_size > 1:
        hint = f"use a smaller --batch-size, for instance {options.batch_size // 2}"
    else:
        hint = "--batch-size is 1 already, so use a smaller --max-length, --dtype bfloat16 or --device cpu"
    return RecordingError(f"The memory was not enough for a batch of {options.batch_size}: {hint}.")


def _notes(options: RecordOptions, tally: Tally, runner: Runner, stopped: bool) -> str:
    said = [options.notes] if options.notes else []
    if stopped:
        said.append(f"Stopped early: {tally.documents} of {tally.total} documents were recorded whole.")
    if tally.cut:
        said.append(
            f"{tally.cut} of {tally.total} documents were longer than {runner.max_length} tokens and were cut into {tally.windows} windows."
        )
    if runner.loaded.is_encoder_decoder and not options.generate:
        said.append("The decoder was given its start token alone.")
    return " ".join(said)
