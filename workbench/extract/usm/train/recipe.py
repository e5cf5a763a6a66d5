"""What decides the result of a USM run."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from workbench.extract.errors import EngineError
from workbench.extract.loop import named_number
from workbench.extract.usm.train.sources import PLANS


@dataclass(frozen=True)
class Recipe:
    """A run.

    Attributes:
        sets: what is learnt from. held_out: sets whose types' names and synonyms are kept out, and which are not learnt from; "NAME:roles"
            keeps out the roles of its events alone.
        weights: (set, weight) that stand in place of `sources.PLANS`.
        seed: of everything that chance decides. batch: samples a step. window: pieces of text in a sample at most.
        documents: of a set at most.
        encoder_rate, head_rate: peak rates of AdamW for encoder and link heads. warmup: steps; then the rate falls linearly to 0.
        freeze_embeddings: keep the encoder's word embeddings as they are.
        bf16: autocast, where the device computes in it (`models.device.arithmetic`). clip: norm of the gradient.
        weight_decay: of matrices.
        dropout: in the encoder while it trains.
        pair_weight: of the links that only pairs have (`loss.PAIRS`) beside the others.
        own_name, from_relations, far_labels, whole, beside: see `prompts.Prompter`.
        patterns: share of samples, in the unit of `sources.PLANS`, from "X is a Y" patterns over the texts (`patterns`); 0: none.
        swaps: copies of each document in which mentions are swapped for others of their type (`swaps`).
        silver: file of texts that a model annotated under the names of the only set (`silver`); empty: none.
        labels_see_text, label_vector: of a new model, see UsmConfig; a USM model that is gone on from keeps its own.
        drop, describe: see `prompts.Prompter`.
    """

    sets: tuple[str, ...] = tuple(PLANS)
    held_out: tuple[str, ...] = ()
    seed: int = 0
    batch: int = 16
    window: int = 112
    documents: int = 6000
    encoder_rate: float = 2e-4
    head_rate: float = 1e-3
    warmup: int = 100
    weight_decay: float = 0.01
    clip: float = 5.0
    pair_weight: float = 1.0
    freeze_embeddings: bool = True
    dropout: float = 0.0
    bf16: bool = True
    drop: float = 0.1
    describe: float = 0.15
    labels_see_text: bool = False
    label_vector: str = "mean"
    own_name: float = 0.5
    from_relations: float = 0.2
    far_labels: bool = True
    whole: float = 0.0
    beside: float = 0.3
    patterns: float = 0.0
    swaps: int = 0
    silver: str = ""
    weights: tuple[tuple[str, float], ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def parse_weights(given: Iterable[str], sets: Collection[str] = tuple(PLANS)) -> tuple[tuple[str, float], ...]:
    """Weights written as "conll04=10".

    Args:
        sets: what the run learns from.

    Raises:
        EngineError: one is none, or of a set that is not learnt from.
    """
    found = []
    for each in given:
        name, value = named_number(each)
        if name not in PLANS or not 0 < value < float("inf"):
            raise EngineError(
                f"A weight is given as SET=WEIGHT with a set of docs/data.md and a number above 0, not as '{each}': write for instance conll04=10."
            )
        if name not in sets:
            raise EngineError(
                f"A weight is given of a set that the run learns from, but '{each}' came and '{name}' is not among {', '.join(sets) or 'its sets'}: name the set by --data too, do not hold it out, or leave the weight out."
            )
        found.append((name, value))
    return tuple(found)
