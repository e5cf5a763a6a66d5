"""The three tokenizers of a model in one folder: ``text/``, ``image/``, ``audio/``, safetensors and JSON alone."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from workbench.unified.segments import UnifiedError
from workbench.unified.tokenizers.audio import AudioConfig, AudioTokenizer
from workbench.unified.tokenizers.image import ImageConfig, ImageTokenizer
from workbench.unified.tokenizers.text import TextTokenizer

CONFIG, WEIGHTS = "config.json", "model.safetensors"
_Config = TypeVar("_Config", ImageConfig, AudioConfig)


class Tokenizers:
    """Text, image (clips too) and audio tokenizer, ready to use (evaluation mode, no gradients).

    Args:
        text, image, audio: the three.
    """

    def __init__(self, text: TextTokenizer, image: ImageTokenizer, audio: AudioTokenizer) -> None:
        self.text = text
        self.image = image.eval().requires_grad_(False)
        self.audio = audio.eval().requires_grad_(False)

    def facts(self) -> dict[str, Any]:
        """The numbers of the tokenizers that a model's configuration holds."""
        return {
            "vocab_size": self.text.vocabulary,
            "image_size": self.image.size,
            "image_channels": self.image.channels,
            "image_bits": self.image.bits,
            "image_scales": list(self.image.scales),
            "feature_channels": self.image.feature_channels,
            "feature_grid": self.image.feature_grid,
            "audio_levels": self.audio.levels,
            "audio_codebook": self.audio.codebook,
        }

    def fingerprint(self) -> str:
        """Changes when any of the three changes."""
        digest = hashlib.sha256(self.text.backend.to_str().encode())
        for part in (self.image, self.audio):
            for name, value in sorted(part.state_dict().items()):
                digest.update(name.encode())
                digest.update(value.half().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def save(self, folder: Path) -> None:
        """Write the bundle; weights in half precision."""
        self.text.save(folder / "text")
        save_part(self.image, folder / "image")
        save_part(self.audio, folder / "audio")

    @classmethod
    def load(cls, folder: Path) -> Tokenizers:
        """Read a bundle.

        Raises:
            UnifiedError: a part is missing or broken.
        """
        text = TextTokenizer.load(folder / "text")
        image = ImageTokenizer(_read_config(folder / "image", ImageConfig))
        audio = AudioTokenizer(_read_config(folder / "audio", AudioConfig))
        load_part(image, folder / "image")
        load_part(audio, folder / "audio")
        return cls(text, image, audio)


def save_part(module: ImageTokenizer | AudioTokenizer, folder: Path) -> None:
    """Write configuration and weights (half precision; counters of a normalisation stay whole numbers)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(asdict(module.config), indent=1) + "\n", encoding="utf-8")
    tensors = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in module.state_dict().items()
    }
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def load_part(module: nn.Module, folder: Path) -> None:
    """Read weights into a tokenizer.

    Raises:
        UnifiedError: they are missing, broken or of another shape.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        raise UnifiedError(
            f"Expected the weights '{path}', but they are missing: the folder is no whole bundle of tokenizers."
        )
    try:
        tensors = load_file(path)
        module.load_state_dict({n: v.float() if v.dtype == torch.float16 else v for n, v in tensors.items()})
    except (SafetensorError, RuntimeError, OSError) as fault:
        raise UnifiedError(
            f"Expected the weights of this tokenizer in '{path}', but they don't fit or are broken: make them again."
        ) from fault


def _read_config(folder: Path, kind: type[_Config]) -> _Config:
    path = folder / CONFIG
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        known = {field.name for field in fields(kind)}
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items() if name in known
        }
        made = kind(**given)
    except (OSError, ValueError, TypeError, AttributeError) as fault:
        raise UnifiedError(
            f"Expected the shape of a tokenizer in '{path}', but it is missing or broken: make the bundle again."
        ) from fault
    return made
