"""Annotated texts: spans, relations, events and the documents that hold them; read and written as JSON lines.

Offsets are Unicode code points of the text exactly as given, end exclusive: ``text[start:end]`` in Python is the mention.
A list that is missing (None) means "not annotated" and is left out of every count; an empty list means "none there".
Fields that are not known here pass through.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from workbench.extract.errors import RecordError, first_fault

MAX_LINE = 64 * 2**20  # bytes of one JSON line
_HALF = re.compile("[\ud800-\udfff]")  # a lone surrogate cannot be written as UTF-8
Offset = Annotated[int, Field(ge=0)]
Score = Annotated[float, Field(ge=0, le=1)]


class Record(BaseModel):
    """Base of the parts of a document: immutable; unknown fields pass through."""

    model_config = ConfigDict(frozen=True, extra="allow")

    def to_json(self) -> dict[str, Any]:
        """The JSON form, without what is not set."""
        return self.model_dump(exclude_none=True)


class Span(Record):
    """A typed stretch of text: an entity, a trigger, or one end of a relation."""

    start: Offset
    end: Offset
    type: str
    score: Score | None = None

    @property
    def key(self) -> tuple[int, int, str]:
        """What makes it the same span: start, end, type."""
        return self.start, self.end, self.type


class Relation(Record):
    """A relation from `head` to `tail`. A sentiment triplet has the polarity as its type, an aspect as head, an opinion as tail."""

    type: str
    head: Span
    tail: Span
    score: Score | None = None

    @property
    def key(self) -> tuple[str, tuple[int, int, str], tuple[int, int, str]]:
        """What makes it the same relation: type, head, tail."""
        return self.type, self.head.key, self.tail.key


class Argument(Record):
    """A stretch of text that plays a role in an event."""

    role: str
    start: Offset
    end: Offset
    score: Score | None = None

    @property
    def key(self) -> tuple[str, int, int]:
        """What makes it the same argument: role, start, end."""
        return self.role, self.start, self.end


class Event(Record):
    """An event: its type, the words that trigger it, and its arguments. `score` is the trigger's."""

    type: str
    trigger: Span
    arguments: tuple[Argument, ...] = ()
    score: Score | None = None

    @model_validator(mode="before")
    @classmethod
    def _type_of_trigger(cls, value: Any) -> Any:
        """A trigger without a type has the event's."""
        trigger = value.get("trigger") if isinstance(value, dict) else None
        if isinstance(trigger, dict) and "type" not in trigger and "type" in value:
            return {**value, "trigger": {**trigger, "type": value["type"]}}
        return value

    @property
    def key(self) -> tuple[str, int, int]:
        """What makes it the same trigger: type, start, end."""
        return self.type, self.trigger.start, self.trigger.end


class Document(Record):
    """A text with what is known, or was found, in it."""

    id: str
    text: str
    entities: tuple[Span, ...] | None = None
    relations: tuple[Relation, ...] | None = None
    events: tuple[Event, ...] | None = None

    @model_validator(mode="before")
    @classmethod
    def _id_as_text(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("id"), int) and not isinstance(value["id"], bool):
            return {**value, "id": str(value["id"])}
        return value

    @model_validator(mode="after")
    def _offsets_inside(self) -> Document:
        if not self.text.isascii() and _HALF.search(self.text):
            raise ValueError("the text holds half a surrogate pair: save it as proper UTF-8")
        length = len(self.text)
        for what, start, end in self.stretches():
            if not start < end <= length:
                raise ValueError(
                    f"{what} runs from {start} to {end}, but the text has {length} characters: offsets count Unicode code points from 0, end exclusive"
                )
        return self

    def stretches(self) -> Iterator[tuple[str, int, int]]:
        """Every (what it is, start, end) of the document."""
        for n, span in enumerate(self.entities or (), start=1):
            yield f"entity {n}", span.start, span.end
        for n, relation in enumerate(self.relations or (), start=1):
            yield f"the head of relation {n}", relation.head.start, relation.head.end
            yield f"the tail of relation {n}", relation.tail.start, relation.tail.end
        for n, event in enumerate(self.events or (), start=1):
            yield f"the trigger of event {n}", event.trigger.start, event.trigger.end
            for argument in event.arguments:
                yield f"the argument '{argument.role}' of event {n}", argument.start, argument.end

    @classmethod
    def read(cls, value: Any, where: str = "The annotated text") -> Document:
        """The document that parsed JSON describes.

        Args:
            where: names the place in the error.

        Raises:
            RecordError: it is none, or an offset lies outside its text.
        """
        try:
            return cls.model_validate(value)
        except ValidationError as fault:
            raise RecordError(f"{where} cannot be read: {first_fault(fault)}.") from None

    def dumps(self) -> str:
        """One JSON line, without the line break."""
        return json.dumps(self.to_json(), ensure_ascii=False)


def read_documents(path: str | Path) -> Iterator[Document]:
    """Annotated texts of a JSONL file, one at a time; a line without an id is named by its number.

    Raises:
        RecordError: the file is missing, or a line is too long, not UTF-8, not JSON or not an annotated text.
    """
    path = Path(path)
    if not path.is_file():
        raise RecordError(f"The file '{path}' does not exist: check the path.")
    with path.open("rb") as file:
        for number in range(1, 2**62):
            line = file.readline(MAX_LINE + 1)
            if not line:
                return
            where = f"Line {number} of '{path.name}'"
            if len(line) > MAX_LINE:
                raise RecordError(f"{where} is longer than {MAX_LINE // 2**20} MB: put one text on each line.")
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                value = json.loads(text) if text else None
            except UnicodeDecodeError:
                raise RecordError(f"{where} is not UTF-8: save the file as UTF-8.") from None
            except (json.JSONDecodeError, RecursionError):
                raise RecordError(f"{where} is not JSON: write one JSON object on each line.") from None
            if not text:
                continue
            if not isinstance(value, dict):
                raise RecordError(f'{where} is no JSON object: write {{"id": …, "text": …}}.')
            yield Document.read({"id": str(number), **value}, where)


def write_documents(path: str | Path, documents: Iterable[Document]) -> int:
    """Write annotated texts as JSON lines, whole or not at all; returns how many."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    count = 0
    try:
        with part.open("w", encoding="utf-8", newline="\n") as file:
            for document in documents:
                file.write(document.dumps() + "\n")
                count += 1
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return count


def json_schema() -> dict[str, Any]:
    """The JSON Schema of one line; docs/schemas/document.json is this."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Document.model_json_schema()}
