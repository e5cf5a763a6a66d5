"""The layers of many sub-models as a tree: what two of them have in common from the first layer on is one path.

A node is a layer with its experts and top-k; a sub-model is the path from the root to the node of its last layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probes import Plan

Key = tuple[Any, ...]


@dataclass
class Node:
    """A layer of the tree, with its experts and top-k.

    Attributes:
        layer: its number. sites: site id -> (experts, top-k) of the sites in it.
        points: sub-models whose last layer it is.
    """

    layer: int = -1
    sites: dict[str, tuple[tuple[int, ...], int]] = field(default_factory=dict)
    children: dict[Key, Node] = field(default_factory=dict)
    points: list[int] = field(default_factory=list)

    @property
    def height(self) -> int:
        return 1 + max((child.height for child in self.children.values()), default=0)


def make_tree(plans: Sequence[Plan], sites: Sequence[Any], stack: str) -> Node:
    """The root of the tree of these plans.

    Args:
        plans: numbered by their place. sites: of the model. stack: whose layers are meant.
    """
    root = Node()
    by_layer: dict[int, list[Any]] = {}
    for site in sites:
        by_layer.setdefault(site.layer, []).append(site)
    for number, plan in enumerate(plans):
        node = root
        for layer in plan.layers[stack]:
            chosen = {site.id: (tuple(plan.experts[site.id]), plan.top_k[site.id]) for site in by_layer.get(layer, [])}
            key = (layer, tuple(sorted(chosen.items())))
            node = node.children.setdefault(key, Node(layer, chosen))
        node.points.append(number)
    return root


def walk(node: Node) -> Iterator[Node]:
    """A node and all below it."""
    yield node
    for child in node.children.values():
        yield from walk(child)


def longest(node: Node) -> list[Node]:
    """From a node down to the leaf that is farthest away."""
    path = [node]
    while path[-1].children:
        path.append(max(path[-1].children.values(), key=lambda one: one.height))
    return path
