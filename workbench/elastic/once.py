"""What several runs over one batch compute alike, computed in the first of them and handed back in the others.

Two things are alike in sub-models of one model: what comes before the first layer (embedding, pictures and sounds that are taken
in, tables of positions), and, where sub-models part at a layer by its experts, what that layer does before its router. Which
modules these are is seen while they run: those that are called before a given module of the model is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


class Once:
    """Modules whose outputs are kept, batch by batch.

    Args:
        modules: that may run before the others; none inside another one.
        ends: at the first call of one of these, what is alike ends.

    The outputs are handed back as copies: what a model adds to one in place stays out of the next run.
    """

    def __init__(self, modules: Iterable[nn.Module], ends: Iterable[nn.Module]) -> None:
        self.modules, self.ends = list(modules), list(ends)
        self._kept: dict[tuple[int, int, int], Any] = {}  # (batch, module, which of its calls) -> output

    @contextmanager
    def over(self, batch: int) -> Iterator[None]:
        """One forward pass over the batch of that number."""
        from probes.submodel.patches import Patches

        patches, calls, open_ = Patches(), [0] * len(self.modules), [True]

        def end(*_: Any) -> None:
            open_[0] = False

        def kept(number: int, own: Callable[..., Any]) -> Callable[..., Any]:
            def forward(*arguments: Any, **named: Any) -> Any:
                if not open_[0]:
                    return own(*arguments, **named)
                key = (batch, number, calls[number])
                calls[number] += 1
                if key not in self._kept:
                    self._kept[key] = own(*arguments, **named)
                return _copied(self._kept[key])

            return forward

        try:
            for module in self.ends:
                patches.hook(module.register_forward_pre_hook(end))
            for number, module in enumerate(self.modules):
                patches.attribute(module, "forward", kept(number, module.forward))
            yield
        finally:
            patches.restore()


def before_layers(model: nn.Module, layers: Sequence[nn.Module]) -> Once:
    """What runs before the first of the layers of a model, which is called in every pass, left out or not."""
    return Once(_beside(model, {id(layer) for layer in layers}), layers[:1])


def before_experts(layer: nn.Module, blocks: Iterable[nn.Module]) -> Once:
    """What a layer runs before the first of its blocks of experts.

    Args:
        layer: the layer. blocks: modules of it in which the experts are chosen.
    """
    inner = {id(block) for block in blocks}
    ends = [child for child in layer.children() if any(id(one) in inner for one in child.modules())]
    return Once(_beside(layer, inner), ends)


def _beside(module: nn.Module, inner: set[int]) -> Iterator[nn.Module]:
    """The largest modules within `module` that hold none of the inner ones."""
    for child in module.children():
        if id(child) in inner:
            continue
        if any(id(one) in inner for one in child.modules()):
            yield from _beside(child, inner)
        elif not _is_list(child):
            yield child
        else:
            yield from child.children()


def _is_list(module: nn.Module) -> bool:
    """Whether a module is never called itself."""
    from torch.nn import ModuleDict, ModuleList

    return isinstance(module, ModuleList | ModuleDict)


def _copied(value: Any) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, dict) and hasattr(value, "to_tuple"):  # an output of transformers
        return type(value)(**{name: _copied(one) for name, one in value.items()})
    if isinstance(value, tuple | list):
        made = [_copied(one) for one in value]
        return type(value)(*made) if hasattr(value, "_fields") else type(value)(made)
    if isinstance(value, dict):
        return {name: _copied(one) for name, one in value.items()}
    return value
