"""Annotated texts: spans, relations, events and the documents that hold them; read and written as JSON lines.

Offsets are Unicode code points of the text exactly as given, end exclusive: ``text[start:end]`` in Python is the mention.
A list that is missing (None) means "not annotated" and is left out of every count; an empty list means "none there".
Fields that are not known here pass through, null or not; what JSON cannot hold of them is turned by `json_form`.
"""

from __future__ import annotations

import json
import math
import os
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from workbench.extract.errors import RecordError, first_fault

MAX_LINE = 64 * 2**20  # bytes of one JSON line
LONG_NUMBER = (
    "holds a whole number of thousands of digits: shorten it or write it as text"  # Python reads 4,300 of them
)
_HALF = re.compile("[\ud800-\udfff]")  # a lone surrogate cannot be written as UTF-8
Offset = Annotated[int, Field(ge=0)]
Score = Annotated[float, Field(ge=0, le=1)]


class Record(BaseModel):
    """Base of the parts of a document: immutable; unknown fields pass through in the form that `json_form` gives them."""

    model_config = ConfigDict(frozen=True, extra="allow")

    @model_validator(mode="after")
    def _can_be_written(self) -> Record:
        """Refuse here what could not be written later: a long run must not end in it."""
        for name, value in self.__dict__.items():
            if isinstance(value, str) and not value.isascii() and _HALF.search(value):
                raise ValueError(f"the {name} holds half a surrogate pair: save it as proper UTF-8")
        unknown = self.model_extra
        if unknown:
            try:
                written = json.dumps(unknown, ensure_ascii=False, allow_nan=False)
            except (TypeError, ValueError, RecursionError):
                try:
                    unknown.update({name: json_form(value) for name, value in unknown.items()})
                    written = json.dumps(unknown, ensure_ascii=False)
                except RecursionError:
                    raise ValueError("its unknown fields are nested too deeply: leave out the deepest") from None
            if not written.isascii() and _HALF.search(written):
                name = next(n for n, v in unknown.items() if _HALF.search(json.dumps([n, v], ensure_ascii=False)))
                raise ValueError(f"the field {name!r} holds half a surrogate pair: save it as proper UTF-8")
        return self

    def to_json(self) -> dict[str, Any]:
        """The JSON form, without what is not set; an unknown field that is null stays."""
        known = {name: _part_to_json(value) for name, value in self.__dict__.items() if value is not None}
        return {**known, **(self.model_extra or {})}


def _part_to_json(value: Any) -> Any:
    """The JSON form of a known field: a record, several, or a plain value."""
    if isinstance(value, Record):
        return value.to_json()
    return [_part_to_json(each) for each in value] if isinstance(value, list | tuple) else value


def json_form(value: Any) -> Any:
    """What JSON can hold of a value out of a table, without loss where there is a way.

    Returns:
        Dates and times as ISO 8601 text, spans of time as its `PnDTnS`, decimals and UUIDs as text, bytes as base64, NaN and infinity
        as None; objects and lists part by part.

    Raises:
        ValueError: another kind of value.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Mapping):
        return {str(json_form(key)): json_form(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [json_form(each) for each in value]
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        sign, length = ("-", -value) if value < timedelta(0) else ("", value)
        nanoseconds = 1000 * length.microseconds + getattr(length, "nanoseconds", 0)  # the latter of pandas' kind
        return f"{sign}P{length.days}DT{length.seconds + Decimal(nanoseconds) / 10**9:f}S"
    if isinstance(value, Decimal | UUID):
        return str(value)
    if isinstance(value, bytes | bytearray):
        return b64encode(value).decode("ascii")
    raise ValueError(f"a value of the kind {type(value).__name__} has no place in JSON: turn it into text")


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
            except ValueError:
                raise RecordError(f"{where} {LONG_NUMBER}.") from None
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
