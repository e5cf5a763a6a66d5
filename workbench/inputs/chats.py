"""Chats: `{"id", "group", "messages": [{"role", "content": str or [{"type": "text"|"image"|"audio"|"video", ...}]}]}`, one a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workbench.inputs.documents import MODALITIES, InputError, Message, Part
from workbench.inputs.media import check_media

PATH_KEYS = ("path", "url")  # what other programs call the place of a picture, besides the name of its type


def read_messages(value: Any, where: str, file: Path) -> tuple[Message, ...]:
    """The messages of one chat; pictures, sounds and clips are looked for beside the file.

    Args:
        value: what stands under "messages".
        where: "line 3", for sentences.
        file: the file that it was read from.

    Raises:
        InputError: naming file and line.
    """
    if not isinstance(value, list) or not value:
        raise InputError(f"'{file}' should have a list of messages in {where}, but it is empty or no list.")
    messages = []
    for number, message in enumerate(value, start=1):
        place = f"message {number} of {where} of '{file}'"
        if not isinstance(message, dict) or not isinstance(message.get("role"), str) or "content" not in message:
            raise InputError(f"A message is an object with role and content, but {place} is not.")
        messages.append(Message(message["role"], _parts(message["content"], place, file)))
    if not any(part.text.strip() or part.path for message in messages for part in message.parts):
        raise InputError(f"'{file}' has a chat without a word in {where}: take it out.")
    return tuple(messages)


def _parts(content: Any, place: str, file: Path) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (Part("text", text=content),)
    if not isinstance(content, list):
        raise InputError(
            f"The content of {place} should be a text or a list of parts, but is a {type(content).__name__}."
        )
    parts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            parts.append(Part("text", text=part["text"]))
        elif kind in MODALITIES:
            parts.append(Part(kind, path=_path(part, kind, place, file)))
        else:
            raise InputError(
                f"A part of {place} should be a text, image, audio or video with its content, but is of type '{kind}'."
            )
    return tuple(parts)


def _path(part: dict[str, Any], kind: str, place: str, file: Path) -> Path:
    name = next((part[key] for key in (kind, *PATH_KEYS) if isinstance(part.get(key), str)), None)
    if name is None:
        raise InputError(f"The {kind} of {place} names no file: write {{'type': '{kind}', '{kind}': 'FILE'}}.")
    if "://" in name:
        raise InputError(
            f"The {kind} of {place} is an address on the network, and only files are read: download it first."
        )
    path = Path(name) if Path(name).is_absolute() else file.parent / name
    if not path.is_file():
        raise InputError(
            f"The {kind} of {place} is not there ('{name}'): paths are taken from the folder of that file."
        )
    check_media(kind, path)
    return path
