"""A USM model on disk: config.json, model.safetensors, the tokenizer. Matrices may be stored as int8 (`workbench.extract.storage`).

Nothing is unpickled and no remote code runs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from workbench.capture.errors import reason
from workbench.extract.errors import EngineError
from workbench.extract.storage import read_tensors, write_tensors
from workbench.extract.usm.config import UsmConfig
from workbench.extract.usm.model import UsmModel
from workbench.extract.usm.reading import Reading

WEIGHTS, CONFIG = "model.safetensors", "config.json"
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


def save_model(folder: Path, model: UsmModel, tokenizer: Any, storage: str = "float32") -> int:
    """Write a model and its tokenizer.

    Args:
        storage: of `STORAGES`; vectors stay float32 with int8.

    Returns:
        Bytes written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / WEIGHTS, model.state_dict(), storage)
    values = json.loads(model.config.to_json_string(use_diff=False))
    kept = {key: values[key] for key in UsmConfig().to_diff_dict() | _own(model.config) if key in values}
    (folder / CONFIG).write_text(
        json.dumps({**kept, "model_type": "usm", "architectures": ["UsmModel"]}, indent=1) + "\n", encoding="utf-8"
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
        if not isinstance(values, dict):
            raise ValueError(f"{CONFIG} holds no JSON object")
        if values.get("model_type") != "usm":
            raise EngineError(
                f"'{folder}' holds a model of type '{values.get('model_type')}', not usm: name the folder that `workbench train` wrote."
            )
        config = UsmConfig(
            **{key: value for key, value in values.items() if key not in ("model_type", "architectures")}
        )
        config.check()
        Reading.from_json(config.decoding)
        encoder = config.encoder_config()
        encoder._attn_implementation = attention
        from transformers import AutoModel

        model = UsmModel(config, AutoModel.from_config(encoder, attn_implementation=attention))
        model.load_state_dict(read_tensors(folder / WEIGHTS), strict=False)
        _complete(model, folder)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as fault:
        raise EngineError(
            f"The USM model in '{folder}' cannot be read ({reason(fault)}): get the whole folder again."
        ) from None
    return model.to(device).eval(), tokenizer


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
