"""The user's documents as samples that the unified model can be scored on: what is read, and what is to be foreseen.

    a text                          every token is foreseen
    a picture, sound or clip        made from its caption, or from no words; with a caption also read, and the caption foreseen
    a chat                          what the assistant says or shows is foreseen, everything else is read

A file's caption stands in ``captions.jsonl`` in its folder or in one of the two above it (docs/unified.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.inputs.documents import DEFAULT_PROMPTS, Document, Part
from workbench.unified.data.folders import listed_captions, tidy_caption
from workbench.unified.data.pools import CHUNK
from workbench.unified.files import prompt_of_file
from workbench.unified.segments import (
    BLANK,
    Clip,
    DrawnClip,
    DrawnPicture,
    Picture,
    Sample,
    Segment,
    Sound,
    Speech,
    Text,
    UnifiedError,
)

if TYPE_CHECKING:
    from workbench.unified.tokenizers.bundle import Tokenizers

FOLDERS_UP = 3  # folders in which a file's caption is looked for, its own the first
LENGTH = CHUNK
"""Tokens of a text that are scored at once; longer ones are cut, as in training."""
TASK = "document"


@dataclass
class Reader:
    """Makes samples of documents.

    Attributes:
        tokenizers: of the model.
        length: longest piece of a text, tokens.
    """

    tokenizers: Tokenizers
    length: int = LENGTH
    _listed: dict[Path, dict[Path, str]] = field(default_factory=dict)

    def samples(self, document: Document) -> list[Sample]:
        """The samples of one document.

        Raises:
            UnifiedError: it holds nothing to foresee, or a file is of no use to the model.
            workbench.inputs.InputError: a file cannot be decoded.
        """
        if document.text is not None:
            found = self._text(document)
        elif any(message.role == "assistant" for message in document.messages):
            found = [self._chat(document)]
        elif document.media:
            found = [sample for part in document.media for sample in self._file(document, part)]
        else:
            text = " ".join(message.text for message in document.messages)
            found = self._text(Document(document.id, text=text, prompt=document.prompt))
        if not found:
            raise UnifiedError(f"Expected a text of at least one word, but '{document.id}' has none: leave it out.")
        return found

    # ------------------------------------------------------------------ each kind
    def _text(self, document: Document) -> list[Sample]:
        text = document.text or ""
        ids = self.tokenizers.text.encode(text) if text.strip() else []
        prompt = (Text(tuple(self._ids(document.prompt))),) if document.prompt else ()
        return [
            Sample(
                (*prompt, Text(tuple(ids[start : start + self.length]), learn=True)),
                TASK,
                end=start + self.length >= len(ids),
            )
            for start in range(0, len(ids), self.length)
        ]

    def _file(self, document: Document, part: Part) -> list[Sample]:
        """A file by itself: made, and read where something says what it shows."""
        read = self._media(part)
        caption = self._caption(part.path) if part.path is not None else None
        words = (BLANK,) if caption is None else tuple(self._ids(caption))
        made = Sample((Text(words), _made(read)), TASK)
        if caption is None:
            return [made]
        asked = document.prompt if document.prompt not in DEFAULT_PROMPTS.values() else None
        question = (Text(tuple(self._ids(asked))),) if asked else ()
        return [Sample((read, *question, Text(words, learn=True)), TASK), made]

    def _chat(self, document: Document) -> Sample:
        segments: list[Segment] = []
        for message in document.messages:
            own = message.role == "assistant"
            for part in message.parts:
                if part.kind != "text":
                    read = self._media(part)
                    segments.append(_made(read) if own else read)
                elif part.text.strip():
                    segments.append(Text(tuple(self._ids(part.text)), learn=own))
        return Sample(tuple(segments), TASK)

    def _ids(self, text: str) -> list[int]:
        return self.tokenizers.text.encode(text.strip())

    def _media(self, part: Part) -> Segment:
        if part.path is None:
            raise UnifiedError(f"Expected a file for the {part.kind} of a chat, but none is named: name one.")
        return prompt_of_file(part.path, self.tokenizers)

    def _caption(self, path: Path) -> str | None:
        for folder in path.absolute().parents[:FOLDERS_UP]:
            if folder not in self._listed:
                self._listed[folder] = listed_captions(folder)
            found = tidy_caption(self._listed[folder].get(path.absolute(), ""))
            if found:
                return found
        return None


def _made(read: Segment) -> Segment:
    """The same thing, to be made."""
    if isinstance(read, Picture):
        return DrawnPicture(read.pixels)
    if isinstance(read, Clip):
        return DrawnClip(read.pixels)
    if isinstance(read, Sound):
        return Speech(read.codes)
    raise UnifiedError(f"Expected a picture, clip or sound to make, got {type(read).__name__}: check the input.")
