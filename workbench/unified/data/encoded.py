"""Sounds encoded once and kept as safetensors, named after the sounds and the tokenizer that made them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from workbench.unified.tokenizers.audio import AudioTokenizer
from workbench.unified.tokenizers.sound import RATE


def sound_codes(audio: AudioTokenizer, sounds: Sequence[np.ndarray], cache: Path | None) -> list[np.ndarray]:
    """Codes of many sounds at 8 kHz, from the cache where they were encoded before.

    Args:
        audio: the tokenizer.
        sounds: float32 [samples] each.
        cache: folder; None keeps nothing.

    Returns:
        int16 [T, A] each.
    """
    path = cache / f"sounds-{_key(audio, sounds)}.safetensors" if cache is not None else None
    if path is not None and path.is_file():
        try:
            found = load_file(path)
            return np.split(found["codes"], np.cumsum(found["lengths"])[:-1])
        except (SafetensorError, KeyError, OSError):
            path.unlink(missing_ok=True)  # cut by a kill: made again below
    made = audio.encode_all(sounds, RATE)
    if path is not None and made:
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_suffix(".half")
        save_file({"codes": np.concatenate(made), "lengths": np.array([len(one) for one in made], np.int64)}, half)
        half.replace(path)
    return made


def _key(audio: AudioTokenizer, sounds: Sequence[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(audio.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.half().contiguous().numpy().tobytes())
    for sound in sounds:
        digest.update(len(sound).to_bytes(8, "little"))
        digest.update(np.ascontiguousarray(sound[:: max(len(sound) // 64, 1)]).tobytes())
    return digest.hexdigest()[:16]
