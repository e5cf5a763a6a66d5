"""The stacks of a model: for each token axis the list of layers that can be left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from probes.errors import SubModelError
from probes.sites import FoundSite

TOWERS = ("vision", "audio")  # changed only when a choice names them


@dataclass(frozen=True)
class Stack:
    """The layers of one token axis.

    Attributes:
        name: as in the site ids ("text", "encoder", ...).
        owner: dotted path of the model that has the layers ("" for the root).
        path: dotted path of the list of layers.
        layers: the layers in order.
    """

    name: str
    owner: str
    path: str
    layers: tuple[nn.Module, ...]

    @property
    def is_tower(self) -> bool:
        return self.name.startswith(TOWERS)


def find_stacks(model: nn.Module, found: Sequence[FoundSite]) -> dict[str, Stack]:
    """The stacks of the found sites, in their order.

    Raises:
        SubModelError: if the sites of a stack lie in no list of layers, or in several.
    """
    stacks: dict[str, Stack] = {}
    for one in found:
        path = _list_of(model, one)
        name = one.site.stack
        known = stacks.get(name)
        if known is not None and known.path != path:
            raise SubModelError(
                f"The layers of a stack were expected in one list, but those of '{name}' lie in {known.path} and {path}: this model "
                "cannot be cut, write an issue with its class."
            )
        if known is None:
            stacks[name] = Stack(name, one.owner, path, tuple(model.get_submodule(path)))  # type: ignore[arg-type]
    return stacks


def _list_of(model: nn.Module, one: FoundSite) -> str:
    """Path of the outermost list of modules above a site, below the model that owns it."""
    parts = one.path.split(".")
    start = len(one.owner.split(".")) if one.owner else 0
    for end in range(start + 1, len(parts)):
        path = ".".join(parts[:end])
        if isinstance(model.get_submodule(path), nn.ModuleList):
            return path
    raise SubModelError(
        f"The site {one.site.id} was expected inside a list of layers (nn.ModuleList), but '{one.path}' lies in none: put the layers of "
        "the model into one."
    )
