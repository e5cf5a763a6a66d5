"""Two cases in which a hook cannot see the choice itself: a fused block kernel, and a choice that had to be repeated.

`RouterRerun`: kernels that replace a whole block (MegaBlocks, MXFP4 of gpt-oss) call neither router nor experts. The router is
then run again on the block's own input, and the capture says "recomputed". Only a block whose forward was replaced is watched
for it, because two more hooks a layer would be most of the hooks that a decode step runs.
`Witnesses`: where the probe repeated a choice (a linear gate beside a list of experts), the rows that each expert really
received are counted beside it, and a difference fails the capture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from probes.adapter_base import Routing, detached
from probes.calls import Call, Record
from probes.errors import ProbeError
from probes.sites import FoundSite


class RouterRerun:
    """Notice a block whose router and experts stayed silent, and ask its router again."""

    def __init__(self, sites: Sequence[FoundSite]) -> None:
        self._sites = tuple(sites)
        self.recomputed: set[int] = set()

    def watch(self, number: int, open_call: Callable[[], Call | None]) -> list[RemovableHandle]:
        """Hooks for one site: records before and after its block are compared."""
        facts = self._sites[number].facts
        block, router = facts.block, facts.router
        assert block is not None and router is not None
        before: list[int] = []  # a stack: nothing says that a block may not contain another of its kind

        def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            call = open_call()
            if call is not None:
                before.append(len(call.records))

        def leave(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            call = open_call()
            if call is None or not before:
                return
            start = before.pop()
            if output is None or any(record.site == number for record in call.records[start:]):
                return
            hidden = next(
                (part for part in (*args, *kwargs.values()) if isinstance(part, Tensor) and part.is_floating_point()),
                None,
            )
            if hidden is not None:
                call.records.append(Record(number, self._ask(number, router, hidden)))
                self.recomputed.add(number)

        return [
            block.register_forward_pre_hook(enter, with_kwargs=True),
            block.register_forward_hook(leave, with_kwargs=True, always_call=True),
        ]

    def _ask(self, number: int, router: nn.Module, hidden: Tensor) -> Routing:
        """The router's answer to the block's input [..., D], read as (logits, weights [N, K], ids [N, K])."""
        site = self._sites[number].site
        with torch.no_grad():
            output = router(hidden.detach().reshape(-1, hidden.shape[-1]))
        parts = [
            part for part in (output if isinstance(output, (tuple, list)) else (output,)) if isinstance(part, Tensor)
        ]
        top_k = self._sites[number].facts.top_k_now
        chosen = [part for part in parts if part.dim() == 2 and part.shape[-1] == top_k]
        ids = next((part for part in chosen if not part.is_floating_point()), None)
        weights = next((part for part in reversed(chosen) if part.is_floating_point()), None)
        if ids is None or weights is None:
            raise ProbeError(
                f"The block of site {site.id} runs as one fused kernel and its router ({type(router).__name__}) returns no choice of "
                f"{top_k} experts a token: load the model without kernels (use_kernels=False)."
            )
        logits = next((part for part in parts if part.is_floating_point() and part.shape[-1] == site.experts), None)
        return Routing(ids, detached(weights), logits)


class Witnesses:
    """Rows that each expert received, beside the choices that the probe repeated."""

    def __init__(self, sites: Sequence[FoundSite]) -> None:
        self._sites = tuple(sites)
        self._chosen: dict[int, Tensor] = {}
        self._tokens: dict[int, int] = {}
        self._received = {number: [0] * site.site.experts for number, site in enumerate(sites) if site.facts.witnesses}

    def watch(self, number: int, recording: Callable[[], bool]) -> list[RemovableHandle]:
        """Hooks on the experts of one site; none where the choice itself is seen."""

        def count(expert: int) -> Callable[..., None]:
            def receive(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                rows = next((part for part in (*args, *kwargs.values()) if isinstance(part, Tensor)), None)
                if rows is not None and recording():
                    self._received[number][expert] += rows.numel() // rows.shape[-1]

            return receive

        return [
            module.register_forward_pre_hook(count(expert), with_kwargs=True)
            for expert, module in enumerate(self._sites[number].facts.witnesses)
        ]

    def expect(self, number: int, ids: Tensor) -> None:
        """Note the choices [N, K] of one call of a site with witnesses."""
        if number in self._received:
            self._tokens[number] = self._tokens.get(number, 0) + len(ids)
            counts = torch.bincount(ids.reshape(-1), minlength=self._sites[number].site.experts)
            self._chosen[number] = self._chosen[number] + counts if number in self._chosen else counts

    def failures(self) -> dict[int, str]:
        """Site number -> what differs. Experts that all ran on every token (a dense loop) say nothing and pass."""
        found = {}
        for number, chosen in self._chosen.items():
            expected, received = chosen.tolist(), self._received[number]
            tokens = self._tokens[number]
            if received != expected and any(rows != tokens for rows in received):
                found[number] = f"the experts received {received} tokens, but the repeated choice says {expected}"
        return found
