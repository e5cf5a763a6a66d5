"""What the language head says at each position: the id it finds likeliest, and the loss of the token that follows.

The hook of a model that has `logits` in its output works both out at once and keeps two numbers a token. Where the model
hands out the logits of the last positions alone (`logits_to_keep`, every prefill of `generate`), the head is run over the
states in front of it in chunks, and what it makes at the positions that the model did hand out must be the model's own: the
logits of all positions are never held together. The token after the last one of a call is known when the next call of the
sequence comes; until then the logits of one position a row wait.

Letters: B rows, T tokens of a row, N = B x T, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from probes.calls import Call, Tail
from probes.errors import ProbeError
from probes.labels import Rows, as_array
from probes.modality import Endings, Placeholders, configurations

CHUNK_ELEMENTS = 2**24  # logits worked out at once: 64 MiB in float32
# What a chunk may differ from the model's own logits by, of their largest value: rounding of another matrix shape.
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}
HALF_TOLERANCE = 3e-2
_IN_PLACE = ("diffusion_gemma",)  # a position holds its own token
_NOT_READ = ("encoder", "vision", "audio")  # stacks whose tokens no language head reads


@dataclass
class Late:
    """Losses that were not known when their rows were counted: those of the last tokens of unfinished sequences."""

    waiting: list[tuple[Tail, int]] = field(default_factory=list)

    def number(self, tail: Tail, row: int) -> int:
        self.waiting.append((tail, row))
        return len(self.waiting) - 1

    def values(self) -> np.ndarray:
        """float32, the loss by number, NaN where no token followed."""
        found = [np.nan if tail.value is None else float(tail.value[row]) for tail, row in self.waiting]
        return np.array(found, dtype=np.float32)


@dataclass
class _Waiting:
    """The logits of the last real position of each row of a call, until the next token of the row is fed.

    Attributes:
        reached: tokens in the cache after the call.
        logits: float32 [B, V]. ids: int64 [B], the token at that position.
    """

    rows: Rows
    reached: int
    tail: Tail
    logits: Tensor
    ids: Tensor


class Predictions:
    """Reads the heads of one probe's model.

    Args:
        predicted, loss: which of the two is wanted.
        endings: ids fed after the end of a row: they are no tokens that follow.
    """

    def __init__(self, predicted: bool, loss: bool, endings: Endings) -> None:
        self.predicted, self.loss = predicted, loss
        self.calls_read = 0
        self._endings = endings
        self._states: list[Tensor] = []
        self._waiting: dict[int, _Waiting] = {}

    def forget(self) -> None:
        """What waits belongs to no row any more (beams were reordered, or the block was left)."""
        self._waiting.clear()

    def clear(self) -> None:
        """Let go of the states of a pass."""
        self._states.clear()

    @torch.no_grad()
    def read(self, module: nn.Module, output: Any, calls: Sequence[Call], stacks: Sequence[str]) -> None:
        """Take what a model of the composite returned.

        Args:
            module: the model that returned it.
            calls: calls of the pass that have ended.
            stacks: names of the stacks by number.

        Raises:
            ProbeError: if the logits cannot be worked out at every position.
        """
        logits = getattr(output, "logits", None)
        if not isinstance(logits, Tensor) or logits.dim() != 3 or not logits.is_floating_point():
            states = getattr(output, "last_hidden_state", None)
            if isinstance(states, Tensor) and states.dim() == 3:
                self._states.append(states)
            return
        call = _call_of(logits, calls, stacks) if _foretells(module) else None
        if call is None or call.predicted is not None or call.loss is not None:
            return
        self.calls_read += 1
        ids = None if call.input_ids is None else call.input_ids.to(logits.device).long()
        self._settle(call, ids)
        if logits.shape[1] == call.shape[1]:
            flat = logits.detach().reshape(-1, logits.shape[-1])
            self._fill(call, ids, lambda place: flat[place].float(), logits, output)
        else:
            self._fill(call, ids, self._reader(module, logits, call.shape), logits, output)

    def _settle(self, call: Call, ids: Tensor | None) -> None:
        """The first token of a decode step is what the last token of the step before should have foretold."""
        waits = self._waiting.pop(call.stack, None)
        if waits is None or ids is None or not call.decode or waits.rows is not call.rows:
            return
        if len(ids) != len(waits.logits) or waits.reached != call.past:
            return  # a cache that was cut back (assisted decoding): another token follows
        target = ids[:, 0]
        value = _cross_entropy(waits.logits, target)
        pad, eos = self._endings.pad, self._endings.eos
        if pad is not None:
            over = waits.ids == pad if eos else torch.ones_like(target, dtype=torch.bool)
            for end in eos:
                over |= waits.ids == end
            value = value.masked_fill(over & (target == pad), torch.nan)
        waits.tail.value = value

    def _fill(
        self, call: Call, ids: Tensor | None, read: Callable[[slice | Tensor], Tensor], logits: Tensor, output: Any
    ) -> None:
        """Set `call.predicted`, `call.loss` and `call.tail`.

        Args:
            read: places among the N tokens of the call -> their logits, float32 [n, V].
        """
        (rows, length), device = call.shape, logits.device
        number, step = rows * length, max(1, CHUNK_ELEMENTS // logits.shape[-1])
        follows = torch.full((rows, length), -1, dtype=torch.int64, device=device)
        if ids is not None:
            follows[:, :-1] = ids[:, 1:]
        follows = follows.reshape(-1)
        predicted = torch.empty(number, dtype=torch.int32, device=device) if self.predicted else None
        loss = torch.empty(number, dtype=torch.float32, device=device) if self.loss else None
        for start in range(0, number, step):
            place = slice(start, min(start + step, number))
            part = read(place)
            if predicted is not None:
                predicted[place] = part.argmax(dim=-1).int()
            if loss is not None:
                loss[place] = _cross_entropy(part, follows[place])
        call.predicted, call.loss = predicted, loss
        kept = getattr(output, "past_key_values", None)
        kept = getattr(output, "cache_params", None) if kept is None else kept
        if loss is None or ids is None or kept is None:
            return
        last = _last_real(call).to(device)
        at = torch.arange(rows, device=device) * length + last
        call.tail = Tail(last)
        self._waiting[call.stack] = _Waiting(
            call.rows, call.past + length, call.tail, read(at), ids.gather(1, last[:, None])[:, 0]
        )

    def _reader(self, module: nn.Module, logits: Tensor, shape: tuple[int, int]) -> Callable[[slice | Tensor], Tensor]:
        """Logits from the states in front of the head, once they are proved to give the model's own where it has them."""
        get = getattr(module, "get_output_embeddings", None)
        head = get() if callable(get) else None
        kept = logits.shape[1]
        if head is not None:
            for states in reversed(self._states):
                if tuple(states.shape[:2]) != shape:
                    continue
                flat = states.detach().reshape(-1, states.shape[-1])
                own = logits.detach().reshape(-1, logits.shape[-1]).float()
                raw = _head(head, states.detach()[:, -kept:].reshape(-1, states.shape[-1]), own.shape[-1])
                finish = _finish_of(module, raw, own, logits.dtype)
                if finish is not None:
                    return lambda place: finish(_head(head, flat[place], own.shape[-1]))
        raise ProbeError(
            f"Predictions are recorded at every position, but {type(module).__name__} handed out the logits of the last {kept} of "
            f"{shape[1]} tokens and makes them in a way that is not known here: call it without logits_to_keep, or without predictions."
        )


def _foretells(module: nn.Module) -> bool:
    """Whether the logits of a model are those of a next token: not classes of tokens, nor words of a canvas filled in place."""
    can = getattr(module, "can_generate", None)
    if callable(can) and not can():
        return False
    return getattr(getattr(module, "config", None), "model_type", None) not in _IN_PLACE


def _call_of(logits: Tensor, calls: Sequence[Call], stacks: Sequence[str]) -> Call | None:
    """The call whose tokens these logits [B, t, V] belong to: all of them, or the last t."""
    for call in reversed(calls):
        read = not call.pooled and not stacks[call.stack].startswith(_NOT_READ)
        if read and call.shape[0] == logits.shape[0] and call.shape[1] >= logits.shape[1]:
            return call
    return None


def _head(head: nn.Module, states: Tensor, vocabulary: int) -> Tensor:
    device = next((parameter.device for parameter in head.parameters() if parameter.device.type != "meta"), None)
    found: Tensor = head(states if device is None else states.to(device))
    return found.detach()[..., :vocabulary].float()


def _cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """float32 [n] in nats of logits [n, V] for ids [n]; NaN where there is no such id."""
    there = (target >= 0) & (target < logits.shape[-1])
    own = logits.gather(1, target.clamp(0, logits.shape[-1] - 1)[:, None])[:, 0]
    return (logits.logsumexp(dim=-1) - own).masked_fill(~there, torch.nan)


def _finish_of(module: nn.Module, raw: Tensor, own: Tensor, dtype: torch.dtype) -> Callable[[Tensor], Tensor] | None:
    """How the model makes its logits `own` [n, V] of what its head returns, `raw`; None if in no way that is known.

    Known are a constant factor (Cohere, Granite), and a soft cap c tanh(x / c) after it (Gemma).
    """
    if raw.shape != own.shape:
        return None
    caps = [
        getattr(config, "final_logit_softcapping", None) for config in configurations(getattr(module, "config", None))
    ]
    for cap in dict.fromkeys([None, *caps]):
        plain = own.double() if cap is None else cap * torch.atanh((own.double() / cap).clamp(-1 + 1e-9, 1 - 1e-9))
        norm = float((raw.double() ** 2).sum())
        factor = float((raw.double() * plain).sum()) / norm if norm else 1.0
        factor = 1.0 if abs(factor - 1) < 1e-3 else factor
        made = _finished(raw, factor, cap)
        bound = TOLERANCE.get(dtype, HALF_TOLERANCE) * max(1e-6, float(own.abs().max()))
        if bool(((made - own).abs() <= bound).all()):
            return lambda part, factor=factor, cap=cap: _finished(part, factor, cap)  # type: ignore[misc]
    return None


def _finished(raw: Tensor, factor: float, cap: float | None) -> Tensor:
    scaled = raw if factor == 1 else raw * factor
    return scaled if cap is None else cap * torch.tanh(scaled / cap)


def _last_real(call: Call) -> Tensor:
    """int64 [B], place of the last token of each row that is no padding."""
    rows, length = call.shape
    if call.padding is None:
        return torch.full((rows,), length - 1, dtype=torch.int64)
    real = ~call.padding
    return (torch.arange(length, device=real.device) * real).argmax(dim=1)


# ---------------------------------------------------------------------- beam search
class _Beams:
    """Stands in for `model._reorder_cache`: after a step of beam search another row continues, so nothing may wait."""

    def __init__(self, model: nn.Module, predictions: Predictions) -> None:
        self.before = getattr(model, "_reorder_cache", None)
        self.predictions = predictions

    def __call__(self, cache: Any, beams: Tensor) -> Any:
        self.predictions.forget()
        if self.before is not None:
            return self.before(cache, beams)
        cache.reorder_cache(beams)
        return cache


def told_of_beams(model: nn.Module, predictions: Predictions) -> None:
    """Have `generate` tell when it reorders rows; undone by `not_told_of_beams`."""
    if hasattr(model, "generate"):
        model.__dict__["_reorder_cache"] = _Beams(model, predictions)


def not_told_of_beams(model: nn.Module) -> None:
    if isinstance(model.__dict__.get("_reorder_cache"), _Beams):
        del model.__dict__["_reorder_cache"]


# ---------------------------------------------------------------------- into token rows
def prediction_fields(
    calls: Sequence[Call],
    documents: np.ndarray,
    real: np.ndarray,
    placeholders: Placeholders,
    late: Late,
    *,
    predicted: bool,
    loss: bool,
) -> dict[str, np.ndarray]:
    """Columns of the tokens of many calls.

    Args:
        documents: int [N], number of the document of each token.
        real: bool [N], False for padding.
        placeholders: ids that stand for other modalities: no model foretells them.
        late: takes the losses that are not known yet.

    Returns:
        "predicted_id" int32 [N], -1 for none; "loss" float32 [N], NaN where no token of the document follows in the row;
        "late" int64 [N], number of a loss that is still to come, -1 for none.
    """
    fields: dict[str, np.ndarray] = {}
    if predicted:
        fields["predicted_id"] = np.concatenate(
            [
                np.full(call.tokens, -1, np.int32) if call.predicted is None else as_array(call.predicted)
                for call in calls
            ]
        ).astype(np.int32)
    if loss:
        fields["loss"] = np.full(len(documents), np.nan, dtype=np.float32)
        fields["late"] = np.full(len(documents), -1, dtype=np.int64)
        start = 0
        for call in calls:
            stop = start + call.tokens
            if call.loss is not None:
                grid = (documents[start:stop].reshape(call.shape), real[start:stop].reshape(call.shape))
                value, number = _losses(call, *grid, placeholders, late)
                fields["loss"][start:stop], fields["late"][start:stop] = value.reshape(-1), number.reshape(-1)
            start = stop
    return fields


def _losses(
    call: Call, documents: np.ndarray, real: np.ndarray, placeholders: Placeholders, late: Late
) -> tuple[np.ndarray, np.ndarray]:
    value = as_array(call.loss).reshape(call.shape).astype(np.float32)
    follows = np.zeros(call.shape, dtype=bool)
    follows[:, :-1] = (documents[:, 1:] == documents[:, :-1]) & real[:, 1:]
    known = sorted(token for ids in placeholders.ids.values() for token in ids)
    if known and call.input_ids is not None:
        follows[:, :-1] &= ~np.isin(as_array(call.input_ids)[:, 1:], known)
    value[~follows] = np.nan
    number = np.full(call.shape, -1, dtype=np.int64)
    if call.tail is not None:
        last = as_array(call.tail.column)
        for row in range(call.shape[0]):
            number[row, last[row]] = late.number(call.tail, row)
    return value, number
