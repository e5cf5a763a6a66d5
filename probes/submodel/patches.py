"""Changes to modules that are taken back in reverse order: what was there before is there after, the same objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle

_ABSENT = object()


class Patches:
    """Instance attributes and hooks set on modules, and how to undo each."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []

    def attribute(self, module: nn.Module, name: str, value: Any) -> None:
        """Set an attribute of the instance (never a parameter, buffer or submodule)."""
        holder = module.__dict__
        before = holder.get(name, _ABSENT)

        def undo() -> None:
            if before is _ABSENT:
                holder.pop(name, None)
            else:
                holder[name] = before

        self._undo.append(undo)
        holder[name] = value

    def hook(self, handle: RemovableHandle) -> None:
        """Keep a hook to remove."""
        self._undo.append(handle.remove)

    def restore(self) -> None:
        """Undo everything, the last change first; one that fails does not stop the others."""
        fault: BaseException | None = None
        while self._undo:
            try:
                self._undo.pop()()
            except BaseException as error:
                fault = fault or error
        if fault is not None:
            raise fault


def forward_name(module: nn.Module) -> str:
    """Attribute that holds a module's own forward: accelerate's offloading wraps it and keeps it under another name."""
    return "_old_forward" if hasattr(module, "_hf_hook") and hasattr(module, "_old_forward") else "forward"
