"""Can a model tell types apart where the spans are given? Finer than F1 for types that it never saw: neither spans nor a threshold matter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from workbench.extract.records import Document
from workbench.extract.schema import Schema
from workbench.extract.usm.engine import UsmEngine
from workbench.extract.usm.plan import blocks
from workbench.extract.usm.roundtrip import gold_links


def told_apart(engine: UsmEngine, documents: Sequence[Document], schema: Schema) -> dict[str, Any]:
    """Share of gold mentions whose own type has the strongest label links of all entity types.

    A mention is scored under a type by the mean of L2H at its first piece and L2T at its last one.

    Args:
        documents: with gold entities.
        schema: of at most as many entity types as one pass takes.

    Returns:
        `right` and `majority` (always the commonest type), shares, and `mentions`, how many were scored; 0 shares where there is none.
    """
    (block,) = blocks(Schema(entities=schema.entities), engine.usm.config.max_labels)
    types = list(block.entities.values())
    right = mentions = 0
    counts = np.zeros(len(types), int)
    for at in range(0, len(documents), 32):
        group = documents[at : at + 32]
        windows = engine.windows([document.text for document in group])
        for w, _, scores in engine.passes.link_scores(windows, [block], 8):
            gold: dict[tuple[int, int], set[int]] = {}
            for label, span in gold_links(group[windows[w].text], windows[w], block).typed:
                gold.setdefault(span, set()).add(label)
            for (head, tail), labels in gold.items():
                own = (scores.L2H[types, head] + scores.L2T[types, tail]) / 2
                mentions += 1
                right += types[int(own.argmax())] in labels
                counts[[types.index(label) for label in labels]] += 1
    return {
        "right": right / mentions if mentions else 0.0,
        "majority": int(counts.max()) / mentions if mentions else 0.0,
        "mentions": mentions,
    }
