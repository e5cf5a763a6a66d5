"""What a tensor of a checkpoint is, from its name: of which layer, and whether it has an axis of experts.

Names on disk (an expert a tensor, or fused) and names in memory (always fused) go through the same rules, so that one cut
works on files and on a loaded model. Letters: E experts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["other", "dense", "expert", "fused", "router"]

# The text layers of a model, by itself or inside a multimodal shell; layers of a vision tower are none of them.
_LAYER = re.compile(r"^(?P<head>(?:(?:language_model|model)\.){0,2}layers\.)(?P<layer>\d+)\.(?P<rest>.+)$")
_BLOCK = r"^(?:mlp|block_sparse_moe|feed_forward|moe)\."
_EXPERT = re.compile(_BLOCK + r"experts\.(?P<expert>\d+)\.")
# gate_up_proj, down_proj, and with them _bias (gpt_oss), _blocks and _scales (its MXFP4 form); without _proj the unified
# model's; Granite's two on disk.
_FUSED = re.compile(
    _BLOCK + r"(?:experts\.(?:gate_up|down)(?:_proj(?:_bias|_blocks|_scales)?)?|(?:input|output)_linear\.weight)$"
)
_ROUTER = re.compile(
    _BLOCK + r"(?:(?:gate|router)\.(?:layer\.)?(?:weight|bias|(?:moe_statics\.)?e_score_correction_bias)"
    r"|moe_statics\.e_score_correction_bias)$"
)
_PLAIN = re.compile(_BLOCK + r"(?:shared(?:_experts?(?:_gate)?)?|gate_proj|up_proj|down_proj)\.")
_IN_BLOCK = re.compile(_BLOCK)


@dataclass(frozen=True)
class Named:
    """A tensor's name, understood.

    Attributes:
        kind: "expert" (of one expert), "fused" (axis 0 has E entries), "router" (its only long axis, or axis 0, has E
            entries), "dense" (any other of a layer), "other" (of no layer).
        layer: number of its layer; None for "other".
        expert: number of its expert, for kind "expert".
        known: False for a tensor inside a feed-forward block that no rule covers.
    """

    kind: Kind
    layer: int | None = None
    expert: int | None = None
    known: bool = True


def understand(name: str) -> Named:
    """What the tensor called `name` is."""
    found = _LAYER.match(name)
    if found is None:
        return Named("other")
    layer, rest = int(found["layer"]), found["rest"]
    one = _EXPERT.match(rest)
    if one is not None:
        return Named("expert", layer, int(one["expert"]))
    if _FUSED.match(rest):
        return Named("fused", layer)
    if _ROUTER.match(rest):
        return Named("router", layer)
    return Named("dense", layer, known=not _IN_BLOCK.match(rest) or bool(_PLAIN.match(rest)))


def renumber(name: str, layer: int, expert: int | None = None) -> str:
    """The name with its layer, and its expert if it has one, replaced."""
    found = _LAYER.match(name)
    if found is None:
        return name
    rest = found["rest"]
    one = _EXPERT.match(rest)
    if one is not None and expert is not None:
        rest = f"{rest[: one.start('expert')]}{expert}{rest[one.end('expert') :]}"
    return f"{found['head']}{layer}.{rest}"


def layer_of_module(path: str) -> tuple[str, int, str] | None:
    """(head, layer, rest) of a dotted module path of a text layer, for the lists of a quantised configuration."""
    found = re.match(r"^((?:(?:language_model|model)\.){0,2}layers\.)(\d+)((?:\..*)?)$", path)
    return None if found is None else (found[1], int(found[2]), found[3])
