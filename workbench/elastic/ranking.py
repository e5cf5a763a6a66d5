"""The rankings that sub-models ask for, each computed once: from calibration texts, or read from a capture.

Calibration texts should not be the texts that quality is then measured on: experts chosen on a text look better on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.capture import Capture
from workbench.elastic.errors import ElasticError
from workbench.elastic.texts import Texts

if TYPE_CHECKING:
    from probes import SubModel
    from workbench.models import LoadedModel

LAYERS = "important"


def needed(sub_model: SubModel) -> frozenset[str]:
    """The rankings that a sub-model asks for: of "count", "mass", "norm", and "important" for layers."""
    words = str(sub_model).split()
    experts = {part for word in words if word.startswith("experts") for part in word.partition("=")[2].split(":")[2:3]}
    layers = {LAYERS for word in words if word.startswith("layers") and f"={LAYERS}:" in word}
    return frozenset((experts - {"random"}) | layers)


class Rankings:
    """Gives each sub-model its ranking.

    Args:
        loaded: the model; None where all rankings come from the capture.
        texts: calibration texts, or None.
        capture: a capture of this model, for count and mass; or None.
        say: told what is computed.
    """

    def __init__(
        self,
        loaded: LoadedModel | None = None,
        texts: Texts | None = None,
        capture: Capture | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.loaded, self.texts, self.capture, self.say = loaded, texts, capture, say
        self._made: dict[str, Mapping[str, np.ndarray]] = {}

    def of(self, sub_model: SubModel) -> Any:
        """What `SubModel.plan(ranking=...)` takes, or None if it needs nothing.

        Raises:
            ElasticError: if it needs a ranking that was not given, or two kinds of ranking of experts.
        """
        kinds = needed(sub_model)
        if not kinds:
            return None
        experts = sorted(kinds - {LAYERS})
        if len(experts) > 1:
            raise ElasticError(
                f"'{sub_model}' ranks experts by {' and by '.join(experts)}: rank those of one sub-model by one measure."
            )
        if self.texts is None and self.capture is not None and kinds <= {"count", "mass"}:
            return self.capture
        if self.texts is None or self.loaded is None:
            raise ElasticError(
                f"'{sub_model}' ranks by {', '.join(sorted(kinds))}, and there is nothing to rank by: name texts with --calibrate"
                f"{', or a capture of this model with --ranking' if kinds <= {'count', 'mass'} else ''}, or choose at random (share:0.5:random)."
            )
        return {name: values for kind in kinds for name, values in self._compute(kind).items()}

    def _compute(self, kind: str) -> Mapping[str, np.ndarray]:
        if kind not in self._made:
            from probes import rank_experts, rank_layers

            self.say(f"Ranking {'layers' if kind == LAYERS else f'experts by {kind}'} on the calibration texts")
            model: Any = self.loaded.model  # type: ignore[union-attr]
            batches = _calls(self.texts, model.device)
            self._made[kind] = rank_layers(model, batches) if kind == LAYERS else rank_experts(model, batches, kind)  # type: ignore[arg-type]
        return self._made[kind]


def _calls(texts: Texts | None, device: Any) -> Sequence[dict[str, Any]]:
    """Arguments of forward calls over the texts."""
    batches = texts.batches if texts is not None else ()
    return [{**batch.arguments(device), "use_cache": False} for batch in batches]
