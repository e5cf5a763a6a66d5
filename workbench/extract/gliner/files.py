"""A GLiNER checkpoint on disk, checked before GLiNER's own loader sees it.

That loader reads a pickle where there are no safetensors, allows code from a repository for the encoder, and leaves weights that are
missing as chance made them. So here: safetensors only, an encoder of transformers' own, and every weight there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from workbench.capture.errors import reason
from workbench.extract.errors import EngineError, no_model

CONFIG, WEIGHTS, PICKLE = "gliner_config.json", "model.safetensors", "pytorch_model.bin"
_WANTED = ("*.json", "*.safetensors", "*.model", "*.spm", "*.txt")  # never a pickle, never code
_NAMED = {
    "model_name": "encoder_config",
    "labels_encoder": "labels_encoder_config",
    "labels_decoder": "labels_decoder_config",
}
_ENCODERS = (*_NAMED.values(), "span_encoder_config")


def folder_of(model: str) -> Path:
    """The folder of a checkpoint, fetched from the hub where it is none on this machine.

    Raises:
        EngineError: there is no such checkpoint.
    """
    if Path(model).is_dir():
        return Path(model)
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(model, allow_patterns=list(_WANTED)))
    except Exception as fault:  # the hub's client raises many kinds
        raise no_model("GLiNER", model, fault) from None


def check(folder: Path, name: str = "") -> dict[str, Any]:
    """The checkpoint's configuration, if its files may be loaded.

    Args:
        name: what a person calls it; the folder's name if not given.

    Raises:
        EngineError: what is there is no GLiNER checkpoint, holds its weights as a pickle, or wants code of its own.
    """
    name = name or folder.name
    try:
        values = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise EngineError(
            f"'{name}' holds no {CONFIG} that can be read ({reason(fault)}): name the folder or hub id of a GLiNER checkpoint."
        ) from None
    if not isinstance(values, dict):
        raise EngineError(f"The {CONFIG} of '{name}' is no JSON object: get the checkpoint anew.")
    if not (folder / WEIGHTS).is_file():
        if (folder / PICKLE).is_file():
            raise EngineError(
                f"The weights of '{name}' are a pickle ({PICKLE}), which is not opened here: make safetensors of it by `workbench convert` and name the new folder."
            )
        raise EngineError(
            f"'{name}' holds no {WEIGHTS}: get the whole checkpoint; one that has only {PICKLE} is to be downloaded by you and passed through `workbench convert`."
        )
    _no_code(values, name)
    _known_encoders(values, folder, name)
    _no_code_of_encoders(values, name)
    return values


def complete(folder: Path, names: Mapping[str, Any], shared: Mapping[str, str]) -> None:
    """Raise unless the file holds every weight of the model that GLiNER made.

    Args:
        names: the model's state by name. shared: names that share a tensor with another one -> that one.
    """
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            stored = set(file.keys())
    except (OSError, SafetensorError) as fault:
        raise EngineError(
            f"The weights of '{folder.name}' cannot be read ({reason(fault)}): get the checkpoint anew."
        ) from None
    missing = sorted(name for name in names if name not in stored and shared.get(name) not in stored)
    if missing:
        raise EngineError(
            f"The checkpoint '{folder.name}' lacks {len(missing)} weights of the model that its configuration describes, '{missing[0]}' for one: get it anew."
        )


def _no_code(values: Any, name: str) -> None:
    if isinstance(values, dict):
        if "auto_map" in values:
            raise EngineError(
                f"The checkpoint '{name}' wants to run code that it brings itself, which is not allowed here: choose one with an encoder of transformers."
            )
        values = list(values.values())
    if isinstance(values, list):
        for value in values:
            _no_code(value, name)


def _known_encoders(values: Mapping[str, Any], folder: Path, name: str) -> None:
    """Refuse encoders that transformers does not have."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    for part in _ENCODERS:
        kind = (values.get(part) or {}).get("model_type", "deberta-v2")
        if kind not in CONFIG_MAPPING_NAMES:
            raise EngineError(
                f"The encoder '{str(kind)[:60]}' of the checkpoint '{name}' is none that transformers has: choose another checkpoint."
            )
    for path in folder.glob("**/tokenizer_config.json"):
        try:
            _no_code(json.loads(path.read_text(encoding="utf-8")), name)
        except (OSError, ValueError) as fault:
            raise EngineError(
                f"The tokenizer of '{name}' cannot be read ({reason(fault)}): get the checkpoint anew."
            ) from None


def _no_code_of_encoders(values: Mapping[str, Any], name: str) -> None:
    """The same for encoders that the checkpoint only names: their configuration is read here, without code, before GLiNER reads it."""
    from transformers import AutoConfig

    for part, given in _NAMED.items():
        if values.get(part) and not values.get(given):
            try:
                found = AutoConfig.from_pretrained(str(values[part]), trust_remote_code=False)
            except (OSError, ValueError) as fault:
                raise EngineError(
                    f"The encoder '{str(values[part])[:100]}' that the checkpoint '{name}' names cannot be read ({reason(fault)}): get it, or choose another checkpoint."
                ) from None
            _no_code({"auto_map": 1} if getattr(found, "auto_map", None) else {}, name)
