"""Run documents through a model under a routing probe: what the page's job and `workbench capture` both call.

loaded = load_model("kinds-moe")
capture = record(loaded, read_documents(["texts/"], InputOptions(group_by="folder")), RecordOptions(group_by="folder"))
"""

from __future__ import annotations

import inspect
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from workbench.capture import Capture
from workbench.capture.errors import WorkbenchError
from workbench.capture.regroup import group_by_phase
from workbench.inputs import Document, InputError, InputOptions
from workbench.inputs.media_rows import MediaMaker, MediaRow
from workbench.inputs.rows import Row, RowMaker

if TYPE_CHECKING:
    import torch

    from probes import RoutingProbe
    from workbench.models import LoadedModel
    from workbench.unified.recording import SampleMaker

DEFAULT_MAX_LENGTH = 2048
MIN_LENGTH = 4
# Documents that are tokenized at a time, in batches: enough to sort rows by length, little enough to start at once.
_BUFFERED_BATCHES = 32
# Optional columns of the token rows, and the fields of `RecordOptions` that ask for them.
STREAMS = {"scores": "scores", "predicted": "predictions", "loss": "loss"}
UNIFIED = "unified_omni"  # family that takes files by its own tokenizers
_BY_PROBE = ("modality", "phase")  # groups that the probe tells by itself
_HUGE = 10**9  # tokenizers say "no limit" with numbers far above this


class RecordingError(WorkbenchError):
    """Documents could not be run through the model."""


@dataclass(frozen=True)
class RecordOptions:
    """How documents are run and what of them is kept.

    Attributes:
        group_by: as in `InputOptions`; the documents carry their groups already, except for chat roles.
        batch_size: rows of a forward pass.
        max_length: tokens of a row; longer texts are cut into windows. None: what the model takes, at most 2,048.
        generate: new tokens at the end of each document, greedy; all but the last are fed back and recorded as decode steps.
        tokens: keep a row a token.
        scores: keep the router's score of every expert in the token rows.
        predictions: keep the id that the model finds likeliest after each token.
        loss: keep the cross-entropy in nats of the token that follows each token.
        coactivation: count pairs of experts chosen together.
        max_tokens: bound on token rows kept.
        untrained: run the model's configuration with weights drawn anew by `seed`: the null of untrained weights.
        seed: of the sample of token rows, and of anything random in the model.
        notes, licence: words for the capture.
    """

    group_by: str = "modality"
    batch_size: int = 8
    max_length: int | None = None
    generate: int = 0
    tokens: bool = True
    scores: bool = False
    predictions: bool = False
    loss: bool = False
    coactivation: bool = True
    untrained: bool = False
    max_tokens: int = 200_000
    seed: int = 0
    notes: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        InputOptions(group_by=self.group_by)
        for name, value, least in (
            ("--batch-size", self.batch_size, 1),
            ("--max-tokens", self.max_tokens, 1),
            ("--generate", self.generate, 0),
            ("--max-length", MIN_LENGTH if self.max_length is None else self.max_length, MIN_LENGTH),
        ):
            if value < least:
                raise RecordingError(f"{name} must be at least {least}, but is {value}.")
        if not self.tokens and (self.predictions or self.loss):
            raise RecordingError(
                "Predicted tokens and losses stand in the token rows, and --no-tokens keeps none: leave one of the two out."
            )


def wanted_streams(wish: str) -> dict[str, Any]:
    """Fields of `RecordOptions` for the optional columns named in `wish`, such as "scores,loss".

    Raises:
        RecordingError: for a name that is none.
    """
    names = [name for part in wish.split(",") if (name := part.strip())]
    for name in names:
        if name not in STREAMS:
            raise RecordingError(f"--streams takes {', '.join(STREAMS)}, separated by commas, but got '{name}'.")
    return {STREAMS[name]: True for name in names}


@dataclass(frozen=True)
class Progress:
    """How far a recording is.

    Attributes:
        documents, total: documents run, and in all.
        tokens: tokens that went through the model, padding left out.
        seconds: since the first batch.
    """

    documents: int
    total: int
    tokens: int
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.seconds > 0 else 0.0

    def sentence(self) -> str:
        return f"{self.documents:,} of {self.total:,} documents, {self.tokens:,} tokens, {self.tokens_per_second:,.0f} tokens/s"


@dataclass
class _Tally:
    """What was run so far."""

    total: int
    begun: float
    rows: Counter[str] = field(default_factory=Counter)  # rows of each document still to run
    windows: int = 0
    cut: int = 0
    documents: int = 0
    tokens: int = 0

    def progress(self) -> Progress:
        return Progress(self.documents, self.total, self.tokens, time.monotonic() - self.begun)

    def plan(self, document: str, rows: int) -> None:
        self.rows[document] += rows
        if rows > 1:
            self.cut += 1
            self.windows += rows

    def ran(self, document: str) -> None:
        self.rows[document] -= 1
        if self.rows[document] <= 0:
            del self.rows[document]
            self.documents += 1


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
    runner = _Runner(loaded, options)
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
    tally = _Tally(len(documents), time.monotonic())
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
                tally.tokens += sum(_length(row) for row in batch)
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


class _Runner:
    """One model with its options: makes batches, and runs them."""

    def __init__(self, loaded: LoadedModel, options: RecordOptions) -> None:
        self.loaded, self.options = loaded, options
        self.model: Any = loaded.model
        self.device = loaded.model.device
        self.max_length = row_length(loaded, options)
        by_role = options.group_by == "role"
        generating = options.generate > 0
        self.texts = (
            RowMaker(loaded.tokenizer, self.max_length, by_role=by_role, generating=generating)
            if loaded.tokenizer is not None
            else None
        )
        self.media = media_maker(loaded, by_role=by_role, generating=generating)
        self.parameters = inspect.signature(type(loaded.model).forward).parameters
        self.pad = pad_id(loaded)
        if generating and not (hasattr(loaded.model, "can_generate") and loaded.model.can_generate()):
            raise RecordingError(
                f"The model '{loaded.info.id}' ({type(loaded.model).__name__}) cannot generate: leave --generate out."
            )

    def check(self, documents: Sequence[Document]) -> None:
        """Refuse documents that this model cannot take before anything is run."""
        for document in documents:
            if document.media:
                self.media.check(document)
            elif self.texts is None:
                kinds = " and ".join(sorted(self.loaded.modalities)) or "nothing that is read here"
                raise InputError(
                    f"'{document.id}' is a text, and the model '{self.loaded.info.id}' has no tokenizer (it takes {kinds})."
                )

    def batches(self, documents: Sequence[Document], tally: _Tally) -> Iterator[list[Row] | list[MediaRow]]:
        """Batches of rows of nearly the same length and the same prompt; a document with media is one by itself."""
        step = self.options.batch_size * _BUFFERED_BATCHES
        for start in range(0, len(documents), step):
            rows: list[Row] = []
            for document in documents[start : start + step]:
                if document.media or self.texts is None:
                    tally.plan(document.id, 1)
                    yield [self.media.row(document)]
                    continue
                made = self.texts.rows(document)
                tally.plan(document.id, len(made))
                rows += made
            # The longest first: too large a batch fails at once. A document's last window follows its others.
            rows.sort(key=lambda row: (row.prefix, self._writes(row), -len(row.ids)))
            yield from self._alike(rows)

    def _writes(self, row: Row) -> bool:
        """Whether the model writes on after this row: what it wrote inside a document would stand before the next window."""
        return self.options.generate > 0 and row.last

    def _alike(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """Rows in batches of one prompt, all of them written on or none."""
        size = self.options.batch_size
        for _, group in itertools.groupby(rows, key=lambda row: (row.prefix, self._writes(row))):
            same = list(group)
            yield from (same[start : start + size] for start in range(0, len(same), size))

    def run(self, probe: RoutingProbe, batch: Sequence[Row] | Sequence[MediaRow]) -> None:
        first = batch[0]
        if isinstance(first, MediaRow):
            self._run_media(probe, first)
        else:
            self._run_rows(probe, [row for row in batch if isinstance(row, Row)])

    def _run_rows(self, probe: RoutingProbe, rows: Sequence[Row]) -> None:
        import numpy as np
        import torch

        width = max(len(row.ids) for row in rows)
        ids = torch.full((len(rows), width), self.pad, dtype=torch.int64)
        mask = torch.zeros((len(rows), width), dtype=torch.int64)
        offsets = np.zeros((len(rows), width, 2), dtype=np.int64)
        groups = np.full((len(rows), width), None, dtype=object)
        # generate() continues the last column, so padding stands before the text there.
        writes = self._writes(rows[0])
        left = writes and not self.loaded.is_encoder_decoder
        for number, row in enumerate(rows):
            place = slice(width - len(row.ids), width) if left else slice(0, len(row.ids))
            ids[number, place] = torch.tensor(row.ids)
            mask[number, place] = 1
            if row.offsets is not None:
                offsets[number, place] = row.offsets
            groups[number, place] = row.groups if row.groups is not None else row.group
        probe.label(
            documents=[row.document for row in rows],
            groups=self._groups(rows, groups),
            offsets=offsets if all(row.offsets is not None for row in rows) else None,
            prefix_ids=rows[0].prefix,
        )
        self._forward({"input_ids": ids.to(self.device), "attention_mask": mask.to(self.device)}, writes)

    def _groups(self, rows: Sequence[Row], grid: Any) -> Any:
        if self.options.group_by in _BY_PROBE:
            return None
        return grid if any(row.groups is not None for row in rows) else [row.group for row in rows]

    def _run_media(self, probe: RoutingProbe, row: MediaRow) -> None:
        import numpy as np

        groups: Any = None
        if self.options.group_by not in _BY_PROBE:
            groups = [row.group] * row.rows
            if row.groups is not None:
                groups = np.array([row.groups], dtype=object)
        probe.label(documents=[row.document] * row.rows, groups=groups)
        inputs = {name: self._placed(value, row.exact) for name, value in row.inputs.items()}
        self._forward(inputs, self.options.generate > 0)

    def _placed(self, value: Any, exact: bool) -> Any:
        """A tensor on the model's device, floats in its number format unless they are to stay exact."""
        if not hasattr(value, "to"):
            return value
        if exact or not value.is_floating_point():
            return value.to(self.device)
        return value.to(self.device, self.model.dtype)

    def _forward(self, inputs: dict[str, Any], writes: bool) -> None:
        if writes:
            self.model.generate(
                **inputs, max_new_tokens=self.options.generate, do_sample=False, num_beams=1, pad_token_id=self.pad
            )
            return
        if "use_cache" in self.parameters:
            inputs["use_cache"] = False
        if "logits_to_keep" in self.parameters:
            inputs["logits_to_keep"] = 1  # routing needs no vocabulary
        if self.loaded.is_encoder_decoder and "decoder_input_ids" in self.parameters:
            inputs["decoder_input_ids"] = self._decoder_start(inputs["input_ids"])
        self.model(**inputs)

    def _decoder_start(self, ids: torch.Tensor) -> torch.Tensor:
        """A decoder is given its start token alone: what it would write is only known by --generate."""
        config = self.model.config
        start = getattr(config, "decoder_start_token_id", None)
        return ids.new_full((len(ids), 1), self.pad if start is None else int(start))


def media_maker(loaded: LoadedModel, *, by_role: bool = False, generating: bool = False) -> MediaMaker | SampleMaker:
    """What makes inputs of files and chats for this model: its processor, or the own way of the unified model."""
    if loaded.info.family == UNIFIED:
        from workbench.unified.recording import SampleMaker

        return SampleMaker(loaded, by_role=by_role, generating=generating)
    return MediaMaker(loaded.processor, loaded.modalities, loaded.info.id, by_role=by_role, generating=generating)


def row_length(loaded: LoadedModel, options: RecordOptions) -> int:
    """Tokens of a row: what was asked for, or what the model takes, at most 2,048.

    Raises:
        RecordingError: if more was asked for than the model has positions.
    """
    config = loaded.model.config
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    positions = getattr(text, "max_position_embeddings", None)
    positions = int(positions) if isinstance(positions, int) and positions > 0 else None
    told = getattr(loaded.tokenizer, "model_max_length", None)
    if options.max_length is None:
        limits = [DEFAULT_MAX_LENGTH]
        limits += [positions - options.generate] if positions is not None else []
        limits += [int(told)] if isinstance(told, int) and told < _HUGE else []
        if min(limits) < MIN_LENGTH:
            raise RecordingError(
                f"--generate {options.generate} leaves no room in the model's {positions} positions: ask for fewer tokens."
            )
        return min(limits)
    if positions is not None and options.max_length + options.generate > positions:
        raise RecordingError(
            f"--max-length {options.max_length} and --generate {options.generate} make {options.max_length + options.generate} tokens, but "
            f"'{loaded.info.id}' has {positions} positions: choose a smaller --max-length."
        )
    return options.max_length


def _length(row: Row | MediaRow) -> int:
    if isinstance(row, Row):
        return len(row.ids)
    ids = row.inputs.get("input_ids")
    return int(ids.numel()) if ids is not None else 1


def pad_id(loaded: LoadedModel) -> int:
    """An id to pad with; masked, so any one does where the tokenizer has none of its own."""
    sources = (loaded.tokenizer, loaded.model.config)
    for name in ("pad_token_id", "eos_token_id"):
        for source in sources:
            value = getattr(source, name, None)
            value = value[0] if isinstance(value, list) and value else value
            if isinstance(value, int) and value >= 0:
                return value
    return 0


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


def _notes(options: RecordOptions, tally: _Tally, runner: _Runner, stopped: bool) -> str:
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


def with_model(capture: Capture, loaded: LoadedModel) -> Capture:
    """The capture with what only the loader knows of the model: its revision, and how it was quantized."""
    known = {"revision": loaded.info.revision, "parameters": loaded.info.parameters}
    if loaded.info.dtype in ("8bit", "4bit"):
        known["dtype"] = loaded.info.dtype
    capture.manifest = capture.manifest.model_copy(update={"model": capture.manifest.model.model_copy(update=known)})
    return capture
