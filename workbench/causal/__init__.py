"""What if: mute or force experts, or limit top-k, for one run, and see what it costs whom.

    result = causal(load_model("omni-mini"), documents, CausalOptions(group_by="modality"))
    result.sentence

`interventions` says what is changed, `measure` runs it and counts losses, `check` is the causal table of a model's groups,
`writing` lays texts that the model writes with and without a change side by side. Nothing here needs a screen.
"""

from __future__ import annotations

from workbench.causal.errors import CausalError
from workbench.causal.interventions import Intervention

__all__ = ["CausalError", "Intervention"]
