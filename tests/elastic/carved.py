"""Tiny checkpoints of every family that can be carved, and a judge that knows nothing of the workbench."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tests.probes.families.build import build
from tests.probes.families.catalogue import all_families

# What is left of each family's tiny model (4 layers, 8 experts, top-k 2; where there are groups: 2 of 4 experts).
SPECS: dict[str, str] = {
    "mixtral": "layers=0,2,3 experts=1,4,7 top_k=1",
    "qwen2_moe": "layers=1,3 experts=0,2,5,6",
    "qwen3_moe": "layers=even:3 experts=share:0.5:random:3 top_k=1",
    "olmoe": "layers=first:2 experts=3-6",
    "deepseek_v2": "layers=0,1,3 experts=4-7 top_k=2",  # a whole group
    "deepseek_v3": "layers=0,2,3 experts=0,2,5,7",  # two of each group
    "gpt_oss": "layers=1,2 experts=1,2,6 top_k=1",  # full attention first
    "ernie4_5_moe": "layers=0,2,3 experts=0,3,7",
    "granitemoe": "layers=1,2,3 experts=0-1,6-7",
    "glm4_moe": "layers=1,3 experts=0-3 top_k=1",  # no dense layer left
    "llama4_text": "layers=0,3 experts=2,3,5",
    "llama4": "layers=0,1,3 experts=0,7 top_k=1",
    "jamba": "layers=1,2,3 experts=0,1,2,5",
}

# Runs with nothing of the project on its path; `python -I` would also hide the site packages of a virtual environment.
JUDGE = """
import sys, torch, transformers
from safetensors.torch import load_file, save_file
ids = load_file(sys.argv[1])["ids"]
for folder in sys.argv[2:]:
    config = transformers.AutoConfig.from_pretrained(folder)
    kind = getattr(transformers, config.architectures[0])
    model, loading = kind.from_pretrained(folder, output_loading_info=True)
    wrong = {name: sorted(keys) for name, keys in loading.items() if keys}
    assert not wrong, wrong
    with torch.no_grad():
        logits = model.eval()(input_ids=ids).logits
    save_file({"logits": logits.contiguous()}, folder + "/../" + folder.rsplit("/", 1)[1] + ".logits")
assert not any(name.split(".")[0] in ("workbench", "probes", "tests") for name in sys.modules), "the judge knows the workbench"
"""


def save_tiny(name: str, folder: Path, **options: object) -> torch.nn.Module:
    """Build the tiny model of a family, save it, and return it."""
    model = build(all_families()[name]).model
    model.save_pretrained(folder, **options)
    return model


def token_ids() -> torch.Tensor:
    """int64 [2, 24]: longer than the tiny models' sliding window of 16."""
    return torch.randint(5, 90, (2, 24), generator=torch.Generator().manual_seed(3))


def judged(folders: Sequence[Path], tmp_path: Path) -> list[torch.Tensor]:
    """Logits of checkpoints, computed by transformers in a process that never imports the workbench."""
    save_file({"ids": token_ids()}, tmp_path / "ids.safetensors")
    script = tmp_path / "judge.py"
    script.write_text(JUDGE)
    done = subprocess.run(
        [sys.executable, "-P", str(script), str(tmp_path / "ids.safetensors"), *map(str, folders)],
        capture_output=True, text=True, cwd=tmp_path, timeout=600, check=False,
    )  # fmt: skip
    if done.returncode:
        raise AssertionError(done.stderr[-2000:])
    return [load_file(folder.parent / f"{folder.name}.logits")["logits"] for folder in folders]
