"""Which model directories of transformers route tokens to experts: read off the source, without the builders.

A class counts if one of its names (attributes, strings, its own) speaks of a number of experts, of experts or of a router.
The few directories whose names say so although nothing is routed are listed with the reason.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

NOT_ROUTED = {
    "bamba": "num_experts = 1 is a constant left over from Jamba: one dense block",
    "gemma3n": "the modality router of AltUp mixes streams, all of them, always",
    "gemma4_unified": "takes output_router_logits, has no block of experts",
    "granite_docling": "the density router sends a whole image down one of two resolutions",
    "kyutai_speech_to_text": "a gated dense block by the name of GatingMLP",
    "moshi": "a gated dense block by the name of GatingMLP",
}

_NAME = re.compile(r"(\w*_)?(n|num)_\w*experts|\w{0,20}router\w{0,20}|\w{0,30}[eE]xperts")
_CLASS = re.compile(r"Router|Experts|MoE|Moe[A-Z]|Gating")
_ANY = re.compile(r"[eE]xperts|[rR]outer|MoE|Moe|Gating")
_NOT_A_BLOCK = re.compile(r"Output(With\w+)?$|ForCausalLM|ForConditionalGen")


def directories_that_speak_of_experts() -> dict[str, list[str]]:
    """Directory under transformers/models -> names of the classes that speak of experts or routers."""
    import transformers

    found: dict[str, list[str]] = {}
    for file in sorted((Path(transformers.__file__).parent / "models").glob("*/modeling_*.py")):
        source = file.read_text()
        if not _ANY.search(source):  # parsing is what takes the time
            continue
        body = ast.parse(source).body
        classes = [node.name for node in body if isinstance(node, ast.ClassDef) and _speaks_of_experts(node)]
        if classes:
            found.setdefault(file.parent.name, []).extend(classes)
    return found


def _speaks_of_experts(node: ast.ClassDef) -> bool:
    if _NOT_A_BLOCK.search(node.name):
        return False
    return bool(_CLASS.search(node.name)) or any(_NAME.fullmatch(name) for name in _names(node))


def _names(node: ast.ClassDef) -> set[str]:
    names = set()
    for child in ast.walk(node):
        if isinstance(child, ast.Attribute):
            names.add(child.attr)
        elif isinstance(child, ast.Name):
            names.add(child.id)
        elif isinstance(child, ast.Constant) and isinstance(child.value, str):
            names.add(child.value)
    return names
