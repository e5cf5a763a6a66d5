"""A checkpoint larger than the memory that a process may take is carved, shard by shard."""

from __future__ import annotations

import json
import math
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import safe_open
from transformers import MixtralConfig

ROOT = Path(__file__).resolve().parents[2]
LAYERS, EXPERTS, WIDTH, INNER = 3, 32, 512, 2560
ROOM = 256 * 2**20  # bytes that the process may take beyond its libraries; a shard is twice as large

# Runs under a limit that the kernel holds. That one shard does not fit shows that the limit bites.
CARVE = f"""
import resource, sys
import torch, transformers
from probes import SubModel
from workbench.elastic.carve import carve
taken = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmData:"))
resource.setrlimit(resource.RLIMIT_DATA, (taken + {ROOM}, taken + {ROOM}))
try:
    open(sys.argv[1] + "/model-00002-of-00004.safetensors", "rb").read()
except MemoryError:
    carve(sys.argv[1], SubModel.parse("layers=0,2 experts=3,30 top_k=1"), sys.argv[2])
else:
    raise SystemExit("a whole shard fits, so the limit shows nothing")
"""


def _shapes() -> list[dict[str, tuple[int, ...]]]:
    """Name -> shape of the tensors of each shard: what stands outside the layers, then a shard a layer."""
    shards: list[dict[str, tuple[int, ...]]] = [
        {"model.embed_tokens.weight": (64, WIDTH), "model.norm.weight": (WIDTH,), "lm_head.weight": (64, WIDTH)}
    ]
    for layer in range(LAYERS):
        own: dict[str, tuple[int, ...]] = {"block_sparse_moe.gate.weight": (EXPERTS, WIDTH)}
        own |= {f"self_attn.{name}_proj.weight": (WIDTH, WIDTH) for name in "qkvo"}
        own |= {f"{name}_layernorm.weight": (WIDTH,) for name in ("input", "post_attention")}
        for expert in range(EXPERTS):
            part = f"block_sparse_moe.experts.{expert}"
            own |= {
                f"{part}.w1.weight": (INNER, WIDTH),
                f"{part}.w2.weight": (WIDTH, INNER),
                f"{part}.w3.weight": (INNER, WIDTH),
            }
        shards.append({f"model.layers.{layer}.{name}": shape for name, shape in own.items()})
    return shards


def _save_holes(folder: Path) -> int:
    """Write the shards as files of holes, which take no disk, with each first weight of an expert's w1 told apart; bytes of all."""
    folder.mkdir()
    shards, places, whole = _shapes(), {}, 0
    for number, shard in enumerate(shards, start=1):
        file = folder / f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        header, place = {}, 0
        for name, shape in shard.items():
            size = math.prod(shape) * 4
            header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [place, place + size]}
            place += size
        text = json.dumps(header).encode()
        with file.open("wb") as handle:
            handle.write(struct.pack("<Q", len(text)) + text)
            handle.truncate(8 + len(text) + place)
            for name in shard:
                if name.endswith("w1.weight"):
                    handle.seek(8 + len(text) + header[name]["data_offsets"][0])  # type: ignore[index]
                    handle.write(struct.pack("<f", _mark(name)))
        places |= dict.fromkeys(shard, file.name)
        whole += place
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    config = MixtralConfig(
        vocab_size=64, hidden_size=WIDTH, intermediate_size=INNER, num_hidden_layers=LAYERS, num_attention_heads=4, num_key_value_heads=4,
        num_local_experts=EXPERTS, num_experts_per_tok=2, architectures=["MixtralForCausalLM"], dtype="float32",
    )  # fmt: skip
    config.save_pretrained(folder)
    return whole


def _mark(name: str) -> float:
    """A number of its own for each layer and expert."""
    parts = name.split(".")
    return 100.0 * int(parts[2]) + int(parts[5]) + 1


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts what a process takes on Linux only")
def test_a_model_larger_than_the_memory_is_carved(tmp_path: Path) -> None:
    whole = _save_holes(tmp_path / "full")
    assert whole > 5 * ROOM and (tmp_path / "full" / "model-00002-of-00004.safetensors").stat().st_size > 1.5 * ROOM
    done = subprocess.run(
        [sys.executable, "-c", CARVE, str(tmp_path / "full"), str(tmp_path / "small")], cwd=ROOT, capture_output=True, text=True, timeout=900,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    index = json.loads((tmp_path / "small" / "model.safetensors.index.json").read_text())["weight_map"]
    assert len(set(index.values())) == 3  # the shard of layer 1 is gone
    for new, old in ((0, 0), (1, 2)):
        for place, expert in enumerate((3, 30)):
            name = f"model.layers.{new}.block_sparse_moe.experts.{place}.w1.weight"
            with safe_open(tmp_path / "small" / index[name], "pt") as handle:
                part = handle.get_slice(name)
                assert part.get_shape() == [INNER, WIDTH] and part[0, 0].item() == 100.0 * old + expert + 1
