"""Models: find them, say what they need, load them; only `load_model` itself imports torch and transformers.

from workbench.models import LoadOptions, load_model
loaded = load_model("owner/model", LoadOptions(dtype="bfloat16"))
"""

from workbench.models.families import families
from workbench.models.files import (
    EmbeddedModel,
    ListedModel,
    ModelError,
    ModelSource,
    cached_models,
    embedded_models,
    find_model,
)
from workbench.models.load import LoadedModel, load_model
from workbench.models.memory import MemoryEstimate, NotEnoughMemoryError, Workload, estimate_memory
from workbench.models.options import LoadOptions

__all__ = [
    "EmbeddedModel",
    "ListedModel",
    "LoadOptions",
    "LoadedModel",
    "MemoryEstimate",
    "ModelError",
    "ModelSource",
    "NotEnoughMemoryError",
    "Workload",
    "cached_models",
    "embedded_models",
    "estimate_memory",
    "families",
    "find_model",
    "load_model",
]
