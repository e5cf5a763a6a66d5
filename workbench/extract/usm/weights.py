"""A USM model on disk: config.json, model.safetensors, the tokenizer. Matrices may be stored as int8, a scale a row.

Nothing is unpickled and no remote code runs. int8 is storage only: weights are float again once loaded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from workbench.capture.errors import reason
from workbench.extract.errors import EngineError
from workbench.extract.usm.config import UsmConfig
from workbench.extract.usm.model import UsmModel

WEIGHTS, CONFIG = "model.safetensors", "config.json"
SCALE = ".scale"
STORAGES = ("float32", "float16", "int8")
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix as int8 with a scale a row: weight ≈ int8 x scale.

    Args:
        weight: [R, C].

    Returns:
        int8 [R, C]; float16 [R].
    """
    scale = (weight.float().abs().amax(1) / 127).clamp_min(1e-7).to(torch.float16)
    return (weight.float() / scale.float()[:, None]).round().clamp(-127, 127).to(torch.int8), scale


def dequantise(weight: Tensor, scale: Tensor) -> Tensor:
    """What `quantise` stored, as float32."""
    return weight.float() * scale.float()[:, None]


def save_model(folder: Path, model: UsmModel, tokenizer: Any, storage: str = "float32") -> int:
    """Write a model and its tokenizer.

    Args:
        storage: of `STORAGES`; vectors stay float32 with int8.

    Returns:
        Bytes written.
    """
    if storage not in STORAGES:
        raise EngineError(f"Weights are stored as {', '.join(STORAGES)}, not as '{storage}': choose one of them.")
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        if not value.is_floating_point():
            continue  # position numbers and the like, which the encoder makes anew
        value = value.detach().cpu()
        if storage == "int8" and value.ndim == 2 and value.numel() > 4096:
            tensors[name], tensors[name + SCALE] = quantise(value)
        else:
            tensors[name] = value.to(torch.float16 if storage == "float16" else torch.float32).contiguous()
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt", "storage": storage})
    values = json.loads(model.config.to_json_string(use_diff=False))
    kept = {key: values[key] for key in UsmConfig().to_diff_dict() | _own(model.config) if key in values}
    (folder / CONFIG).write_text(
        json.dumps({"model_type": "usm", "architectures": ["UsmModel"], **kept}, indent=1) + "\n", encoding="utf-8"
    )
    tokenizer.save_pretrained(folder)
    for file in folder.iterdir():  # tokenizer.json holds it all
        if file.name in ("vocab.txt", "special_tokens_map.json", "added_tokens.json", "merges.txt", "vocab.json"):
            file.unlink()
    return sum((folder / name).stat().st_size for name in (WEIGHTS, CONFIG, *_TOKENIZER) if (folder / name).exists())


def load_model(folder: Path, device: str = "cpu", attention: str = "eager") -> tuple[UsmModel, Any]:
    """The model and the tokenizer of a folder.

    Args:
        attention: implementation of the encoder's attention; only "eager" can show its weights.

    Raises:
        EngineError: the folder holds no USM model, or its files do not fit each other.
    """
    from transformers import PreTrainedTokenizerFast

    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise EngineError(
            f"'{folder}' holds no USM model (it needs {CONFIG} and {WEIGHTS}): name the folder that `workbench train` wrote."
        )
    try:
        values = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if values.get("model_type") != "usm":
            raise EngineError(
                f"'{folder}' holds a model of type '{values.get('model_type')}', not usm: name the folder that `workbench train` wrote."
            )
        config = UsmConfig(
            **{key: value for key, value in values.items() if key not in ("model_type", "architectures")}
        )
        encoder = config.encoder_config()
        encoder._attn_implementation = attention
        from transformers import AutoModel

        model = UsmModel(config, AutoModel.from_config(encoder, attn_implementation=attention))
        model.load_state_dict(_read(folder / WEIGHTS), strict=False)
        _complete(model, folder)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as fault:
        raise EngineError(
            f"The USM model in '{folder}' cannot be read ({reason(fault)}): get the whole folder again."
        ) from None
    return model.to(device).eval(), tokenizer


def _read(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:
        names = set(file.keys())
        tensors = {}
        for name in names:
            if name.endswith(SCALE) and name.removesuffix(SCALE) in names:
                continue
            value = file.get_tensor(name)
            tensors[name] = dequantise(value, file.get_tensor(name + SCALE)) if name + SCALE in names else value.float()
    return tensors


def _complete(model: UsmModel, folder: Path) -> None:
    """Raise unless the file holds every weight of the model, of the right shape."""
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        there = set(file.keys())
    wanted = {name for name, value in model.state_dict().items() if value.is_floating_point()}
    if missing := sorted(wanted - there):
        raise EngineError(
            f"The USM model in '{folder}' lacks {len(missing)} weights, for instance {missing[0]}: get the whole folder again."
        )


def _own(config: UsmConfig) -> dict[str, Any]:
    return {key: value for key, value in vars(config).items() if not key.startswith("_")}
