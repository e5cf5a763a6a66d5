"""Which demonstrations stand in which prompt (`predictor.py`, `gettestset`)."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence

SEED, CONTEXT, BUDGET = 2333, 5, 512  # of the original


def interleave(types: Sequence[str], kinds: Sequence[Collection[str]], seed: int = SEED) -> list[int]:
    """The order of demonstrations: shuffled, then one of each type in turn, so that types alternate.

    Args:
        types: in the order of the schema. kinds: the types in each demonstration.

    Returns:
        Numbers of demonstrations; those that hold none of the types come last.
    """
    left = list(range(len(kinds)))
    random.Random(seed).shuffle(left)
    order: list[int] = []
    while True:
        before = len(order)
        for type_ in types:
            found = next((n for n in left if type_ in kinds[n]), None)
            if found is not None:
                left.remove(found)
                order.append(found)
        if len(order) == before:
            return order + left


def prompts(sizes: Sequence[int], room: int, most: int = CONTEXT) -> list[list[int]]:
    """Demonstrations of each prompt.

    The ordered support is gone through twice; a prompt is given out when it holds `most` demonstrations or has no room for the next one, until more
    demonstrations were used than there are. So 5 demonstrations make 1 prompt, 6 make 2, 18 make 4, 20 make 5 and 30 make 7. A demonstration
    that has no room even alone is preceded by a prompt without any, as in the original.

    Args:
        sizes: tokens of each demonstration, in order. room: tokens that demonstrations may take. most: demonstrations of a prompt.

    Returns:
        Numbers of demonstrations, a list a prompt; one empty list where there is no demonstration.
    """
    if not sizes:
        return [[]]
    most = min(most, len(sizes))
    found: list[list[int]] = []
    chosen: list[int] = []
    used = 0
    for place in range(2 * len(sizes)):
        number = place % len(sizes)
        if len(chosen) >= most or used + sizes[number] > room:
            found.append(chosen)
            if place > len(sizes):
                break
            chosen, used = [], 0
        chosen.append(number)
        used += sizes[number]
    return found or [chosen]
