"""Pictures, sounds and clips: decoding, and the role of every token through a processor whose output is known by hand."""

from __future__ import annotations

import wave
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from workbench.inputs import Document, InputError, Message, Part, read_documents
from workbench.inputs.media import open_clip, open_sound
from workbench.inputs.media_rows import MediaMaker


class WordProcessor:
    """A token a word; a picture is three tokens 99."""

    tokenizer = SimpleNamespace(bos_token=None)
    chat_template = "yes"

    def apply_chat_template(
        self, conversation: list[dict[str, Any]], tokenize: bool, add_generation_prompt: bool
    ) -> str:
        words: list[str] = []
        for message in conversation:
            words.append(f"<{message['role']}>")
            content = message["content"]
            parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
            words += [part["text"] if part["type"] == "text" else "<image>" for part in parts]
        return " ".join(words + (["<answer>"] if add_generation_prompt else []))

    def __call__(self, text: list[str], images: list[Any], return_tensors: str) -> dict[str, torch.Tensor]:
        ids: list[int] = []
        for word in text[0].split():
            ids += [99] * 3 if word == "<image>" else [len(word)]
        return {"input_ids": torch.tensor([ids]), "pixel_values": torch.zeros(len(images), 3, 4, 4)}


def chat(tmp_path: Path) -> Document:
    from PIL import Image

    Image.new("RGB", (4, 4)).save(tmp_path / "p.png")
    user = Message("user", (Part("image", path=tmp_path / "p.png"), Part("text", text="what is it")))
    return Document("c", messages=(user, Message("assistant", (Part("text", text="a cat"),))))


def test_roles_of_a_chat_with_a_picture(tmp_path: Path) -> None:
    row = MediaMaker(WordProcessor(), frozenset({"image"}), "m", by_role=True).row(chat(tmp_path))
    assert row.groups == ("user",) * 7 + ("assistant",) * 3  # <user> 99 99 99 what is it, <assistant> a cat
    assert tuple(row.inputs["pixel_values"].shape) == (1, 3, 4, 4)


def test_a_medium_that_the_model_does_not_take(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'p.png' is a picture, and the model 'm' takes text and sounds"):
        MediaMaker(WordProcessor(), frozenset({"audio"}), "m").check(chat(tmp_path))


def test_a_processor_that_refuses_is_one_sentence(tmp_path: Path) -> None:
    class Refusing(WordProcessor):
        def __call__(self, **_: Any) -> dict[str, torch.Tensor]:
            raise ValueError("too small\nmore lines")

    with pytest.raises(InputError, match="processor refuses 'c' \\(ValueError: too small\\)"):
        MediaMaker(Refusing(), frozenset({"image"}), "m").row(chat(tmp_path))


def test_a_sound_is_resampled_to_one_channel(tmp_path: Path) -> None:
    pytest.importorskip("av")
    with wave.open(str(tmp_path / "s.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        tone = (np.sin(np.arange(8000) / 8000 * 2 * np.pi * 440) * 16000).astype("<i2")
        file.writeframes(np.repeat(tone[:, None], 2, axis=1).tobytes())
    sound = open_sound(tmp_path / "s.wav", 16_000)
    assert sound.dtype == np.float32 and abs(len(sound) - 16_000) < 100
    assert np.argmax(np.abs(np.fft.rfft(sound))) * 16_000 / len(sound) == pytest.approx(440, abs=2)


@pytest.mark.parametrize(
    ("name", "words"), [("s.wav", "no sound that can be read"), ("c.mp4", "no clip that can be read")]
)
def test_broken_media(tmp_path: Path, name: str, words: str) -> None:
    pytest.importorskip("av")
    (tmp_path / name).write_bytes(b"nothing of the kind")
    read_documents([tmp_path / name])  # decoded when it is run
    with pytest.raises(InputError, match=words) as fault:
        open_sound(tmp_path / name, 16_000) if name.endswith("wav") else open_clip(tmp_path / name)
    assert str(fault.value).count(name) == 1 and "Errno" not in str(fault.value)
