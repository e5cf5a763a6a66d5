"""A short fine-tune after a carve: what was taken out leaves the rest out of tune, and a few steps bring much of it back.

Plain next-token loss with AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) on the user's own texts, all weights, a
linear warm-up and decay; for the unified model its own loss, on samples of every modality. One document in ten is held out;
its loss before and after is what the model card then says.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.elastic.errors import CarveError
from workbench.elastic.samples import SampleBatch, read_any, takes_samples
from workbench.elastic.texts import Batch, Scores, Texts
from workbench.models.files import CONFIG_FILE, read_json, weight_files

if TYPE_CHECKING:
    import torch

    from workbench.inputs import Document

HELD_OUT = 10  # one document in so many
WARM_SHARE = 0.1  # of the steps


@dataclass(frozen=True)
class RecoverOptions:
    """How to fine-tune.

    Attributes:
        steps: updates. rate: largest learning rate. batch_size: rows of an update. max_length: tokens of a row.
        seed: of the order of the rows. device, dtype: as in `LoadOptions`; float32 unless the memory says otherwise.
    """

    steps: int
    rate: float = 3e-4
    batch_size: int = 8
    max_length: int | None = None
    seed: int = 0
    device: str = "auto"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.rate > 0 or self.batch_size < 1:
            raise CarveError(
                f"A recovery needs at least one step, a rate above 0 and a batch of at least 1, not {self.steps}, {self.rate} and {self.batch_size}."
            )


@dataclass(frozen=True)
class Recovery:
    """What a fine-tune did: loss on the held-out documents, in nats a `unit`."""

    steps: int
    trained: int
    held_out: int
    before: float
    after: float
    unit: str = "token"

    def words(self) -> str:
        """A section for the model card."""
        return (
            f"\nAfter that, all weights were fine-tuned for {self.steps} steps on {self.trained} documents; on {self.held_out} held-out documents the "
            f"loss went from {self.before:.3f} to {self.after:.3f} nats a {self.unit}.\n"
        )


def recover(
    folder: Path,
    documents: Sequence[Document],
    options: RecoverOptions,
    *,
    progress: Callable[[int, int, str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Recovery:
    """Fine-tune the checkpoint in a folder and write its weights anew, in the number format that they had.

    Args:
        folder: a whole checkpoint; meant for `carve(finish=...)`, where a failure leaves nothing behind.
        documents: at least two texts.
        progress: told (steps done, steps in all, words). cancelled: asked before every step.

    Raises:
        CarveError: if there are too few documents, the model is quantised, it was cancelled, or the loss is no number.
    """
    from workbench.models import LoadOptions, load_model

    training = [document for number, document in enumerate(documents) if number % HELD_OUT]
    held_out = [document for number, document in enumerate(documents) if not number % HELD_OUT]
    if not training:
        raise CarveError(
            f"A recovery needs texts to train on and others to check, but {len(documents)} came: name at least two documents."
        )
    loaded = load_model(str(folder), LoadOptions(device=options.device, dtype=options.dtype))
    model: Any = loaded.model
    if getattr(model, "is_quantized", False):
        raise CarveError("A quantised checkpoint cannot be fine-tuned: carve without --recover, or from plain weights.")
    stored = _stored_dtype(folder)
    read = {"group_by": "modality", "batch_size": options.batch_size, "max_length": options.max_length}
    texts = read_any(loaded, training, **read)  # type: ignore[arg-type]
    check = read_any(loaded, held_out, **read)  # type: ignore[arg-type]
    before = mean_loss(model, check)
    _train(model, texts, options, progress, cancelled)
    after = mean_loss(model, check)
    if not after == after:
        raise CarveError(
            f"The recovery's loss is no number any more after {options.steps} steps: use a smaller --recover-rate."
        )
    if stored is not None:
        _to_stored(model, stored)
    for file in weight_files(folder):
        file.unlink()
    (folder / "model.safetensors.index.json").unlink(missing_ok=True)
    model.save_pretrained(folder)
    unit = "prediction" if takes_samples(loaded) else "token"
    return Recovery(options.steps, len(training), len(held_out), before, after, unit)


def _to_stored(model: Any, stored: torch.dtype) -> None:
    """Bring the weights into the format of the files, but for modules that the model keeps in float32 (a router's choice must not
    change by rounding)."""
    kept = tuple(getattr(model, "_keep_in_fp32_modules_strict", None) or ())
    with_names = [*model.named_parameters(), *model.named_buffers()]
    for name, tensor in with_names:
        if tensor.is_floating_point() and not any(part in kept for part in name.split(".")):
            tensor.data = tensor.data.to(stored)


def _stored_dtype(folder: Path) -> torch.dtype | None:
    """The number format that the folder's configuration names."""
    import torch

    config = read_json(folder / CONFIG_FILE)
    for part in (config, config.get("text_config") or {}):
        found = getattr(torch, str(part.get("dtype") or part.get("torch_dtype") or ""), None)
        if isinstance(found, torch.dtype):
            return found
    return None


def mean_loss(model: Any, texts: Texts) -> float:
    """Loss in nats a token; of samples of the unified model in nats a prediction."""
    import torch

    scores = Scores(len(texts.cells))
    model.eval()
    with torch.inference_mode():
        for batch in texts.batches:
            scores.add(batch, batch.answer(_output(model, batch)))
    return float(scores.loss.sum() / texts.tokens.sum())


def _train(
    model: Any,
    texts: Texts,
    options: RecoverOptions,
    progress: Callable[[int, int, str], None] | None,
    cancelled: Callable[[], bool] | None,
) -> None:
    import torch
    from torch.nn.functional import cross_entropy

    torch.manual_seed(options.seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=options.rate, betas=(0.9, 0.95), weight_decay=0.0)
    warm = max(round(options.steps * WARM_SHARE), 1)

    def rate(step: int) -> float:
        return min((step + 1) / warm, max(options.steps - step, 1) / max(options.steps - warm, 1), 1.0)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
    order: list[int] = []
    random_order = random.Random(options.seed)
    model.train()
    for step in range(options.steps):
        if cancelled is not None and cancelled():
            raise CarveError("The recovery was stopped on request, and nothing was kept: start it again when wanted.")
        if not order:
            order = list(range(len(texts.batches)))
            random_order.shuffle(order)
        batch = texts.batches[order.pop()]
        output = _output(model, batch)
        if isinstance(batch, SampleBatch):
            loss = output.loss
        else:
            logits = output.logits
            target = batch.ids.masked_fill(torch.from_numpy(batch.cell) < 0, -100).to(logits.device)
            loss = cross_entropy(logits[:, :-1].float().flatten(0, 1), target[:, 1:].flatten(), ignore_index=-100)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad(set_to_none=True)
        if progress is not None:
            progress(step + 1, options.steps, f"recovering, loss {loss.item():.3f}")
    model.eval()


def _output(model: Any, batch: Batch) -> Any:
    return model(**batch.arguments(model.device), use_cache=False)
