"""What the model writes with a change and without it, from the same prompt and the same random numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.causal.errors import CausalError
from workbench.causal.interventions import Intervention
from workbench.causal.measure import Cancelled, Stopped
from workbench.recording import RecordOptions, pad_id, row_length

if TYPE_CHECKING:
    from workbench.models import LoadedModel


@dataclass(frozen=True)
class Written:
    """The continuations of one prompt."""

    prompt: str
    full: str
    changed: str


def write_both(
    loaded: LoadedModel,
    prompts: Sequence[str],
    change: Intervention,
    *,
    tokens: int = 60,
    sampled: bool = False,
    seed: int = 0,
    on_token: Callable[[int, int], None] | None = None,
    cancelled: Cancelled | None = None,
) -> list[Written]:
    """Continue prompts twice.

    Args:
        tokens: new tokens at most. sampled: draw tokens (the same random numbers both times); otherwise the likeliest.
        on_token: told, after every written token, how many there are and how many there are at most, over all texts.

    Raises:
        CausalError: if the model cannot write, or a prompt is empty or too long.
        Stopped: if cancelled.
    """
    model: Any = loaded.model
    if loaded.tokenizer is None or not (hasattr(model, "can_generate") and model.can_generate()):
        raise CausalError(f"The model '{loaded.info.id}' writes no text: choose a language model.")
    if tokens < 1:
        raise CausalError(f"At least one new token is needed, but {tokens} were asked for.")
    room = row_length(loaded, RecordOptions(generate=tokens))
    made = []
    for number, prompt in enumerate(prompts):
        if cancelled is not None and cancelled():
            raise Stopped("The work was stopped on request, and nothing was kept: start it again when wanted.")
        ids = loaded.tokenizer(prompt, return_tensors="pt")["input_ids"]
        if not prompt.strip() or not ids.numel():
            raise CausalError("A prompt is empty: type some words for the model to go on from.")
        if ids.shape[1] > room:
            raise CausalError(
                f"A prompt has {ids.shape[1]} tokens, and with {tokens} new ones the model has room for {room}: shorten it or ask for fewer."
            )
        sides = []
        for turn, one in enumerate((None, change)):
            before = (2 * number + turn) * tokens

            def written(count: int, before: int = before) -> None:
                if on_token is not None:
                    on_token(before + count, 2 * len(prompts) * tokens)

            sides.append(_write(loaded, ids, one, tokens, sampled, seed, written, cancelled))
        made.append(Written(prompt, *sides))
    return made


def _write(
    loaded: LoadedModel,
    ids: Any,
    change: Intervention | None,
    tokens: int,
    sampled: bool,
    seed: int,
    written: Callable[[int], None],
    cancelled: Cancelled | None,
) -> str:
    import torch
    from transformers import StoppingCriteria, StoppingCriteriaList

    class Watch(StoppingCriteria):  # type: ignore[misc, unused-ignore]
        """Called by `generate` after every token: tells how many there are, and ends the writing on request."""

        count = 0

        def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
            self.count += 1
            written(self.count)
            stop = cancelled is not None and cancelled()
            return torch.full((input_ids.shape[0],), stop, device=input_ids.device, dtype=torch.bool)

    model: Any = loaded.model
    ids = ids.to(model.device)
    block: AbstractContextManager[Any] = nullcontext() if change is None or change.empty else change.applied(model)
    torch.manual_seed(seed)
    with block, torch.inference_mode():
        out = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=sampled, num_beams=1,
            pad_token_id=pad_id(loaded), stopping_criteria=StoppingCriteriaList([Watch()]),
        )  # fmt: skip
    if cancelled is not None and cancelled():
        raise Stopped("The work was stopped on request, and nothing was kept: start it again when wanted.")
    start = 0 if loaded.is_encoder_decoder else ids.shape[1]
    tokenizer: Any = loaded.tokenizer
    return str(tokenizer.decode(out[0, start:], skip_special_tokens=True))
