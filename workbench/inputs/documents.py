"""What is read from files: documents, and how to read them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from workbench.capture.errors import WorkbenchError

GROUPINGS = ("modality", "file", "folder", "group", "role", "prompt", "phase")
COLUMN_PREFIX = "column:"
MODALITIES = ("image", "audio", "video")
DEFAULT_PROMPTS = {
    "image": "Describe this picture.",
    "audio": "Describe this sound.",
    "video": "Describe this clip.",
}


class InputError(WorkbenchError):
    """A file cannot be read as what it was given for; the sentence names it."""


@dataclass(frozen=True)
class Part:
    """One piece of a message: a text, or a picture, sound or clip by its path."""

    kind: str  # "text", "image", "audio" or "video"
    text: str = ""
    path: Path | None = None


@dataclass(frozen=True)
class Message:
    """One turn of a chat."""

    role: str
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        return " ".join(part.text for part in self.parts if part.kind == "text")


@dataclass(frozen=True)
class Document:
    """One input: a text, or the messages of a chat (a picture, sound or clip is a chat of one message with its prompt).

    Attributes:
        id: unique in one reading; blocks of the capture are made from it.
        group: the group that `InputOptions.group_by` gives it; None where groups are by modality or by chat role.
        text: the text, or None for a chat.
        messages: the chat, or empty for a text.
        prompt: words that stand before the text, counted apart unless groups are by prompt.
    """

    id: str
    group: str | None = None
    text: str | None = None
    messages: tuple[Message, ...] = ()
    prompt: str | None = None

    @property
    def media(self) -> tuple[Part, ...]:
        """Pictures, sounds and clips of the chat, in order."""
        return tuple(part for message in self.messages for part in message.parts if part.kind != "text")


@dataclass(frozen=True)
class InputOptions:
    """How files become documents.

    Attributes:
        group_by: "modality", "file", "folder" (first folder below the one named), "group" (that field of a row), "role" (of
            a chat's messages), "prompt", "phase" (reading or writing), or "column:NAME".
        text_column: column of csv and parquet, key of jsonl; None: "text", and a csv without such a column is one text.
        lines: text files hold a document a line.
        prompts: words before every text, or beside every picture, sound and clip; several run every document once with each.
    """

    group_by: str = "modality"
    text_column: str | None = None
    lines: bool = False
    prompts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        by = self.group_by
        if by not in GROUPINGS and not (by.startswith(COLUMN_PREFIX) and len(by) > len(COLUMN_PREFIX)):
            raise InputError(f"--group-by must be one of {', '.join(GROUPINGS)} or column:NAME, not '{by}'.")
        if any(not prompt.strip() for prompt in self.prompts):
            raise InputError("--prompt must not be empty: leave it out for the default.")

    @property
    def column(self) -> str | None:
        """The column that groups are read from."""
        return self.group_by.removeprefix(COLUMN_PREFIX) if self.group_by.startswith(COLUMN_PREFIX) else None

    @property
    def grouped_by(self) -> str | None:
        """What a capture's manifest says the groups are; None for the default."""
        if self.column is not None:
            return f"column {self.column}"
        names = {
            "file": "file",
            "folder": "folder",
            "group": "group",
            "role": "chat role",
            "prompt": "prompt",
            "phase": "phase",
        }
        return names.get(self.group_by)
