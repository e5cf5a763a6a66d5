"""How the next token is chosen: a temperature, a nucleus, and a seed that belongs to this run alone.

torch's global generator is shared by every thread of the program, so two runs at once would disturb each other's draws. Here
each sequence draws from a generator of its own: the same seed gives the same text whatever else runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.live.prompt import LiveError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

MAX_NEW_TOKENS = 2048


@dataclass(frozen=True)
class Sampling:
    """How tokens are written.

    Attributes:
        max_new_tokens: at most so many are written; 0 reads the prompt alone.
        temperature: 0 takes the most probable token; above 1 flattens, below 1 sharpens.
        top_p: the smallest set of tokens with at least this probability is drawn from (Holtzman et al. 2020, section 3.1); 1 takes all.
        seed: of the draws.
    """

    max_new_tokens: int = 64
    temperature: float = 0.8
    top_p: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.max_new_tokens <= MAX_NEW_TOKENS:
            raise LiveError(
                f"0 to {MAX_NEW_TOKENS:,} new tokens were expected, but {self.max_new_tokens} came: choose a number between."
            )
        if not 0 <= self.temperature <= 10:
            raise LiveError(
                f"A temperature from 0 to 10 was expected, but {self.temperature} came: choose one between."
            )
        if not 0 < self.top_p <= 1:
            raise LiveError(
                f"A top-p above 0 and at most 1 was expected, but {self.top_p} came: 1 draws from all tokens."
            )


class Picker:
    """Chooses the token of a step inside `generate`, as one of its logits processors.

    The scores go back with only the chosen token left, so that `generate`, told to be greedy, takes it.

    Args:
        sampling: how to choose.
        device: where the scores are.
        told: is given the chosen token int64 [1] and the scores float32 [1, V] before temperature and top-p; both stay on the
            device, and nobody changes them afterwards.
    """

    def __init__(self, sampling: Sampling, device: Any, told: Callable[[Tensor, Tensor], None]) -> None:
        import torch

        self._sampling = sampling
        self._told = told
        self._generator = torch.Generator(device=device)
        self._generator.manual_seed(sampling.seed)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores float32 [1, V] -> scores [1, V] whose largest is the chosen token."""
        chosen = pick(scores, self._sampling, self._generator)
        self._told(chosen, scores)
        if self._sampling.temperature == 0:
            return scores
        only = scores.new_full(scores.shape, -float("inf"))
        return only.scatter_(1, chosen[:, None], 0.0)


def pick(scores: Tensor, sampling: Sampling, generator: torch.Generator) -> Tensor:
    """int64 [B], one token a row of scores [B, V]."""
    import torch

    if sampling.temperature == 0:
        return scores.argmax(dim=-1)
    probabilities = (scores / sampling.temperature).softmax(dim=-1)
    if sampling.top_p < 1:
        ranked, order = probabilities.sort(dim=-1, descending=True)
        before = ranked.cumsum(dim=-1) - ranked
        ranked = ranked.masked_fill(before >= sampling.top_p, 0.0)  # the first token always stays
        drawn = torch.multinomial(ranked, 1, generator=generator)
        return order.gather(1, drawn).squeeze(1)
    return torch.multinomial(probabilities, 1, generator=generator).squeeze(1)
