"""Run many sub-models over the same inputs, computing every layer that two of them have in common once.

The kept layers of a sub-model, each with its experts and top-k, are a path; all paths together are a tree, and a layer is
run once for all sub-models below it. So all prefix depths of one setting come out of a single forward pass, and a sub-model
that differs from layer 5 on starts from the stored output of layer 4. What comes before the first layer, and in a layer at which
they part what comes before its experts, runs once as well (once.py). What comes after the last layer (norm, head, scaling)
is the model's own code: for each depth the model runs with that one layer, which hands back its stored output.

Not every family's layers hand on all they know by their output (some read earlier layers again). So the runner first
compares shared and plain runs on one batch, and runs every sub-model by itself where they differ; it says so.

Letters: B rows, T tokens, V vocabulary, P sub-models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.capture.errors import WorkbenchError
from workbench.elastic.once import Once, before_experts, before_layers
from workbench.elastic.texts import Batch
from workbench.elastic.tree import Node, longest, make_tree, walk

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from probes import Plan

CHECK_ROWS, CHECK_LENGTH = 2, 64  # of a batch, to compare shared and plain runs on
LOCK_SECONDS = 60.0
STATE_BYTES = 512 * 1024 * 1024  # of stored layer outputs at a time
FRONT_STATES = (
    4  # what `Once` keeps of the front and of a layer's start takes at most the room of so many layer outputs
)
# (number of the sub-model, number of the batch, what the batch makes of the output: logits [B, T, V] of texts)
Consume = Callable[[int, int, "torch.Tensor"], None]


@dataclass(frozen=True)
class Work:
    """What a run costs, counted in layers run over a batch and in passes through the head.

    Attributes:
        layers, heads: with sharing. layers_plain, heads_plain: every sub-model by itself.
    """

    layers: int
    heads: int
    layers_plain: int
    heads_plain: int


class SharedRunner:
    """Runs a set of sub-models.

    Args:
        model: the full model, in evaluation mode.
        plans: the sub-models.
        share: False runs each by itself (the plain loop that sharing is compared with).
        state_bytes: bound on stored layer outputs.

    Attributes:
        shared: whether work is shared. reason: why it is not, or "".
    """

    def __init__(
        self, model: PreTrainedModel, plans: Sequence[Plan], *, share: bool = True, state_bytes: int = STATE_BYTES
    ) -> None:
        from probes import find_sites

        self.model: Any = model
        self.plans = list(plans)
        self.state_bytes = state_bytes
        found = find_sites(model)
        self.sites = [one.site for one in found]
        self.stack = self.sites[0].stack
        self.layers = _layers_of(model, found)
        self.shared, self.reason = share, "" if share else "as asked"
        if share and (self.layers is None or any(set(plan.layers) != {self.stack} for plan in self.plans)):
            self.shared, self.reason = False, "the model has several stacks of layers"
        self.root = make_tree(self.plans, self.sites, self.stack) if self.shared else Node()
        self.blocks = _blocks_of(model, found)
        self.front = Once((), ())

    @property
    def work(self) -> Work:
        """Layers and head passes over one batch."""
        plain = sum(len(layers) for plan in self.plans for layers in plan.layers.values())
        if not self.shared:
            return Work(plain, len(self.plans), plain, len(self.plans))
        nodes = list(walk(self.root))[1:]
        return Work(len(nodes), sum(bool(node.points) for node in nodes), plain, len(self.plans))

    # ------------------------------------------------------------------ running
    def check(self, batch: Batch) -> None:
        """Compare shared with plain runs on one batch, and stop sharing where they differ.

        Where two forward passes of the same kind agree to the last bit, so must these; a tolerance of rounding is left for
        devices that sum in another order.
        """
        if not self.shared:
            return
        import torch

        batch = batch.part(CHECK_ROWS, CHECK_LENGTH)
        tested = sorted({0, len(self.plans) // 2, len(self.plans) - 1, *self._branching()})
        got: dict[int, torch.Tensor] = {}

        def keep(point: int, _: int, answer: torch.Tensor) -> None:
            if point in tested:
                got[point] = answer.float().cpu()

        try:
            self._refuse_fixed_layers()
            self._forget()
            self._visit(self.root, None, [batch], 0, keep, lambda: False)
            for point in tested:
                plain = self._plain(point, [batch])
                answer = next(plain)[1].float().cpu()
                plain.close()
                real = batch.mask.bool()
                if not torch.allclose(answer[real], got[point][real], rtol=1e-3, atol=1e-4):
                    self.shared = False
                    self.reason = "the layers of this family do not hand on all they know by their output"
                    return
        except WorkbenchError as fault:
            self.shared, self.reason = False, f"this family cannot start in the middle ({str(fault).rstrip('.')})"

    def _refuse_fixed_layers(self) -> None:
        """Raise SubModelError where a layer that others need could not be left out, as every head pass leaves out all but one."""
        from probes import find_sites
        from probes.submodel.plan import check_plan

        found = find_sites(self.model)
        for node in {node.layer: node for node in walk(self.root) if node.points and node.children}.values():
            check_plan(self._plan([node]), self.model, found)

    def _branching(self) -> list[int]:
        """One sub-model that starts from a stored state, if there is one."""
        for node in walk(self.root):
            if len(node.children) > 1 and node is not self.root:
                last = list(node.children.values())[-1]
                return next((found.points[:1] for found in walk(last) if found.points), [])
        return []

    def run(self, batches: Sequence[Batch], first: int, consume: Consume, cancelled: Callable[[], bool]) -> bool:
        """Run every sub-model over the batches.

        Args:
            batches: what to run now. first: number of the first of them, for `consume`.
            consume: given what each sub-model answers on each batch, once.
            cancelled: asked between two batches.

        Returns:
            False if it was cancelled before the end.
        """
        if self.shared:
            self._forget()
            return self._visit(self.root, None, batches, first, consume, cancelled)
        for point in range(len(self.plans)):
            for number, answer in self._plain(point, batches):
                consume(point, first + number, answer)
                if cancelled():
                    return False
        return True

    def chunks(self, batches: Sequence[Batch]) -> list[tuple[int, int]]:
        """(first, end) of the batches that run together, so that stored outputs stay within their bound."""
        if not self.shared:
            return [(0, len(batches))]
        config = self.model.config.get_text_config()
        token = int(config.hidden_size) * self.model.dtype.itemsize * (self.root.height + FRONT_STATES)
        room = max(self.state_bytes // max(token, 1), 1)
        found: list[tuple[int, int]] = []
        first = size = 0
        for number, batch in enumerate(batches):
            if number > first and size + batch.ids.numel() > room:
                found.append((first, number))
                first, size = number, 0
            size += batch.ids.numel()
        return [*found, (first, len(batches))]

    def _plain(self, point: int, batches: Sequence[Batch]) -> Generator[tuple[int, torch.Tensor], None, None]:
        import torch

        with self.plans[point].applied(self.model), torch.inference_mode():
            for number, batch in enumerate(batches):
                yield number, self._forward(batch)

    def _forget(self) -> None:
        """Start anew with other batches."""
        self.front = before_layers(self.model, self.layers or ())

    def _forward(self, batch: Batch) -> torch.Tensor:
        return batch.answer(self.model(**batch.arguments(self.model.device), use_cache=False))

    def _visit(
        self,
        node: Node,
        stored: list[Any] | None,
        batches: Sequence[Batch],
        first: int,
        consume: Consume,
        cancelled: Callable[[], bool],
    ) -> bool:
        """Run all paths below a node; `stored` are the outputs of its layer, one a batch (None at the root)."""
        parting = self._parting(node)
        for child in sorted(node.children.values(), key=lambda one: -one.height):
            path = longest(child)
            kept = {place for place, one in enumerate(path[:-1]) if one.points or len(one.children) > 1}
            states: dict[int, list[Any]] = {place: [] for place in kept}
            if not self._path(node, stored, path, states, parting.get(child.layer), batches, first, consume, cancelled):
                return False
            for place in sorted(kept):
                at, outputs = path[place], states.pop(place)
                if at.points and not self._head(at, outputs, batches, first, consume, cancelled):
                    return False
                rest = Node(
                    at.layer, at.sites, {key: one for key, one in at.children.items() if one is not path[place + 1]}
                )
                if rest.children and not self._visit(rest, outputs, batches, first, consume, cancelled):
                    return False
        return True

    def _path(
        self,
        node: Node,
        stored: list[Any] | None,
        path: Sequence[Node],
        states: dict[int, list[Any]],
        parting: Once | None,
        batches: Sequence[Batch],
        first: int,
        consume: Consume,
        cancelled: Callable[[], bool],
    ) -> bool:
        """One forward pass over the layers of a path, from the stored outputs on; keeps the outputs asked for.

        `parting` is what the first of them has in common with other paths that start with the same layer.
        """
        import torch

        start = [] if stored is None else [node]
        with self._plan([*start, *path]).applied(self.model), torch.inference_mode(), self._kept(path, states):
            for number, batch in enumerate(batches):
                with (
                    self._returning(node.layer, None if stored is None else stored[number]),
                    self.front.over(number),
                    nullcontext() if parting is None else parting.over(number),
                ):
                    answer = self._forward(batch)
                for point in path[-1].points:
                    consume(point, first + number, answer)
                if cancelled():
                    return False
        return True

    def _parting(self, node: Node) -> dict[int, Once]:
        """What the layers have in common in which several paths below a node start, with other experts or another top-k."""
        starts = Counter(child.layer for child in node.children.values())
        return {
            layer: before_experts((self.layers or ())[layer], self.blocks[layer])
            for layer, times in starts.items()
            if times > 1 and layer in self.blocks
        }

    def _head(
        self,
        node: Node,
        stored: list[Any],
        batches: Sequence[Batch],
        first: int,
        consume: Consume,
        cancelled: Callable[[], bool],
    ) -> bool:
        """What the model makes of the stored outputs of a layer, as if it were the last one."""
        import torch

        with self._only(node.layer), torch.inference_mode():
            for number, batch in enumerate(batches):
                with self._returning(node.layer, stored[number]), self.front.over(number):
                    answer = self._forward(batch)
                for point in node.points:
                    consume(point, first + number, answer)
                if cancelled():
                    return False
        return True

    @contextmanager
    def _only(self, layer: int) -> Iterator[None]:
        """Every layer but one is left out; cheaper than `applied`, because nothing else of the model changes."""
        from probes.locks import acquire, release
        from probes.submodel.layers import leave_out
        from probes.submodel.patches import Patches

        acquire(self.model, LOCK_SECONDS, "sub-model")
        patches = Patches()
        try:
            for number, module in enumerate(self.layers or ()):
                if number != layer:
                    leave_out(patches, module)
            yield
        finally:
            try:
                patches.restore()
            finally:
                release(self.model, "sub-model")

    def _plan(self, nodes: Sequence[Node]) -> Plan:
        from probes import Plan

        return Plan(
            {self.stack: tuple(node.layer for node in nodes)},
            {site: experts for node in nodes for site, (experts, _) in node.sites.items()},
            {site: top_k for node in nodes for site, (_, top_k) in node.sites.items()},
        )

    @contextmanager
    def _kept(self, path: Sequence[Node], states: dict[int, list[Any]]) -> Iterator[None]:
        """Append the output of the layers asked for to their lists, batch after batch."""
        layers = self.layers or ()
        handles = []
        for place, outputs in states.items():
            layer = layers[path[place].layer]
            handles.append(layer.register_forward_hook(_appender(outputs)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def _returning(self, layer: int, output: Any) -> Iterator[None]:
        """The layer hands back a stored output instead of computing one."""
        if output is None:
            yield
            return
        module = (self.layers or ())[layer]
        own = module.__dict__.get("forward")
        module.forward = lambda *arguments, **named: output
        try:
            yield
        finally:
            if own is None:
                del module.forward
            else:
                module.forward = own


def _appender(outputs: list[Any]) -> Callable[..., None]:
    def hook(module: Any, arguments: Any, output: Any) -> None:
        outputs.append(output)

    return hook


def _layers_of(model: Any, found: Sequence[Any]) -> Sequence[Any] | None:
    """The layers of the only stack, or None where there are several."""
    from probes.submodel.stacks import find_stacks

    stacks = find_stacks(model, found)
    return next(iter(stacks.values())).layers if len(stacks) == 1 else None


def _blocks_of(model: Any, found: Sequence[Any]) -> dict[int, list[Any]]:
    """Layer -> every module that a choice of experts or top-k changes; without the layers in which one is not known."""
    blocks: dict[int, list[Any]] = {}
    for one in found:
        facts = one.facts
        known = [model.get_submodule(one.path), facts.watch, facts.block, facts.router, facts.states_top_k]
        blocks.setdefault(one.site.layer, []).extend(module for module in known if module is not None)
    unknown = {one.site.layer for one in found if one.facts.router is None}
    return {layer: modules for layer, modules in blocks.items() if layer not in unknown}
