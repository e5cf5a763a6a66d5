"""The unified model: text, pictures, clips and sounds in one ultra-sparse transformer, read and made (docs/unified.md).

Importing it makes its checkpoints known to transformers: ``AutoModelForCausalLM.from_pretrained(folder)`` then loads them.
"""

from __future__ import annotations

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from workbench.unified.config import MODEL_TYPE, UnifiedConfig
from workbench.unified.model import UnifiedForCausalLM

AutoConfig.register(MODEL_TYPE, UnifiedConfig, exist_ok=True)
AutoModel.register(UnifiedConfig, UnifiedForCausalLM, exist_ok=True)
AutoModelForCausalLM.register(UnifiedConfig, UnifiedForCausalLM, exist_ok=True)

__all__ = ["UnifiedConfig", "UnifiedForCausalLM"]
