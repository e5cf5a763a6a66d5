"""What is looked for in a text: entity types, relations, event types with their roles, and sentiment.

One JSON form, the same in a file, on the command line and on the page (docs/extract.md):

    {"entities": ["person", {"name": "gene", "description": "…", "threshold": 0.6}],
     "relations": {"works for": {"head": ["person"], "tail": ["company"]}},
     "events": {"attack": ["attacker", "victim"]},
     "sentiment": {"polarities": ["positive", "negative", "neutral"]}}

Each key is optional. An empty `head` or `tail` takes every type. `sentiment` is short for the entities `aspect` and `opinion`
and a relation for each polarity: `Schema.expanded` writes it out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from workbench.extract.errors import SchemaError, first_fault

POLARITIES = ("positive", "negative", "neutral")
ASPECT, OPINION = "aspect", "opinion"
MAX_LABELS = 20_000  # of all kinds together: above it the file is surely not a schema
MAX_NAME = 200  # characters
MAX_BYTES = 8 * 2**20


class Frozen(BaseModel):
    """Base of the schema's parts: immutable, and strict about keys, so that a misspelt one is not silently ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME, pattern=r"\S")]


class Label(Frozen):
    """A type of entity.

    Attributes:
        name: the type's name, as it is shown and written.
        description: what belongs to it, in words; an engine that reads descriptions puts it beside the name.
        threshold: least score of this type, in [0, 1]; None: that of the whole run.
    """

    name: Name
    description: Annotated[str, Field(max_length=2000)] = ""
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None


def _label(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class RelationRule(Frozen):
    """Which entity types may stand at the two ends of a relation; empty: every type."""

    head: tuple[Name, ...] = ()
    tail: tuple[Name, ...] = ()


class Sentiment(Frozen):
    """Aspects, opinions about them, and the polarity that joins the two."""

    polarities: Annotated[tuple[Name, ...], Field(min_length=1)] = POLARITIES


class Schema(Frozen):
    """Everything that one run looks for.

    Raises:
        SchemaError: from `read`, `load` and `of`: one sentence about the first fault.
    """

    entities: tuple[Annotated[Label, BeforeValidator(_label)], ...] = ()
    relations: dict[Name, RelationRule] = Field(default_factory=dict)
    events: dict[Name, tuple[Name, ...]] = Field(default_factory=dict)
    sentiment: Sentiment | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Schema:
        names = [label.name for label in self.entities]
        _no_double(names, "an entity type")
        for event, roles in self.events.items():
            _no_double(roles, f"a role of the event '{event}'")
        if self.sentiment is not None:
            _no_double(self.sentiment.polarities, "a polarity")
        declared = {*names, *((ASPECT, OPINION) if self.sentiment is not None else ())}
        for relation, rule in self.relations.items():
            for end, types in (("head", rule.head), ("tail", rule.tail)):
                _no_double(types, f"a {end} of the relation '{relation}'")
                for type_ in types:
                    if type_ not in declared:
                        raise ValueError(
                            f"the relation '{relation}' names '{type_}' as its {end}, but no entity type of that name is declared: add it under \"entities\""
                        )
        if self.relations and not declared:
            raise ValueError('relations need entity types to stand between: add some under "entities"')
        if not (names or self.events or self.sentiment):
            raise ValueError("it is empty: name at least one entity type, event type or sentiment")
        if self.size > MAX_LABELS:
            raise ValueError(f"it has {self.size:,} labels, and at most {MAX_LABELS:,} are read")
        return self

    @classmethod
    def read(cls, value: Any) -> Schema:
        """The schema that parsed JSON describes; a `Schema` passes as it is.

        Raises:
            SchemaError: it is not a schema.
        """
        if isinstance(value, Schema):
            return value
        if isinstance(value, Mapping) and not value:
            raise SchemaError("The schema is empty: name at least one entity type, event type or sentiment.")
        if not isinstance(value, Mapping):
            raise SchemaError(
                f'A schema is a JSON object such as {{"entities": ["person"]}}, but {_kind(value)} came: see docs/extract.md.'
            )
        try:
            return cls.model_validate(dict(value))
        except ValidationError as fault:
            raise SchemaError(f"The schema cannot be used: {first_fault(fault)}.") from None

    @classmethod
    def parse(cls, text: str) -> Schema:
        """The schema of a JSON text; a key that stands twice is an error, not the loss of the first.

        Raises:
            SchemaError: it is not JSON, or not a schema.
        """
        if len(text) > MAX_BYTES:
            raise SchemaError(f"The text has more than {MAX_BYTES // 2**20} million characters: it is no schema.")
        if not text.strip():
            return cls.read({})  # an empty schema, and no puzzle of what JSON expects at column 1
        try:
            return cls.read(json.loads(text, object_pairs_hook=_no_double_keys))
        except json.JSONDecodeError as fault:
            raise SchemaError(
                f"The schema is not JSON (line {fault.lineno}, column {fault.colno}: {fault.msg}): correct that place."
            ) from None
        except RecursionError:
            raise SchemaError("The schema is nested too deeply to be one.") from None
        except ValueError:  # the one kind beside JSONDecodeError: Python does not read such numbers
            raise SchemaError("The schema holds a whole number of thousands of digits: shorten it.") from None

    @classmethod
    def load(cls, path: str | Path) -> Schema:
        """The schema in a JSON file.

        Raises:
            SchemaError: the file is missing, too large, not JSON or not a schema.
        """
        path = Path(path)
        if not path.is_file():
            raise SchemaError(f"The schema file '{path}' does not exist: check the path.")
        if path.stat().st_size > MAX_BYTES:
            raise _too_large(path.name)
        return cls.from_bytes(path.name, path.read_bytes())

    @classmethod
    def from_bytes(cls, name: str, data: bytes) -> Schema:
        """The schema in the bytes of a JSON file, for instance of an upload.

        Args:
            name: of the file, for what is said about it.

        Raises:
            SchemaError: too large, not JSON or not a schema.
        """
        if len(data) > MAX_BYTES:
            raise _too_large(name)
        try:
            return cls.parse(data.decode("utf-8-sig"))
        except UnicodeDecodeError:
            raise SchemaError(f"The schema file '{name}' is not UTF-8 text: save it as UTF-8.") from None

    @classmethod
    def of(cls, *entities: str, **parts: Any) -> Schema:
        """Shorthand for notebooks: ``Schema.of("person", "company", relations={…})``."""
        return cls.read({"entities": list(entities), **parts})

    def to_json(self) -> dict[str, Any]:
        """The JSON form, as short as it can be: a label without description or threshold is its name; empty parts are left out."""
        form: dict[str, Any] = {}
        if self.entities:
            form["entities"] = [
                label.name
                if not label.description and label.threshold is None
                else {key: value for key, value in label.model_dump().items() if value not in ("", None)}
                for label in self.entities
            ]
        if self.relations:
            form["relations"] = {
                name: {"head": list(rule.head), "tail": list(rule.tail)} for name, rule in self.relations.items()
            }
        if self.events:
            form["events"] = {name: list(roles) for name, roles in self.events.items()}
        if self.sentiment is not None:
            form["sentiment"] = {"polarities": list(self.sentiment.polarities)}
        return form

    def dumps(self, indent: int | None = None) -> str:
        """`to_json` as text."""
        return json.dumps(self.to_json(), ensure_ascii=False, indent=indent)

    def expanded(self) -> Schema:
        """The same schema with sentiment written out as entities and relations; itself where there is none."""
        return self if self.sentiment is None else self._written_out

    @cached_property
    def _written_out(self) -> Schema:
        """`expanded` of a schema with sentiment, made once (never itself: that would be a circle inside it)."""
        sentiment = self.sentiment or Sentiment()
        names = {label.name for label in self.entities}
        extra = tuple(Label(name=name) for name in (ASPECT, OPINION) if name not in names)
        rule = RelationRule(head=(ASPECT,), tail=(OPINION,))
        return Schema(
            entities=self.entities + extra,
            relations={**self.relations, **{p: rule for p in sentiment.polarities if p not in self.relations}},
            events=self.events,
        )

    @property
    def size(self) -> int:
        """Labels of all kinds: entity types, relations, event types, roles (each once) and those of sentiment."""
        roles = {role for roles in self.events.values() for role in roles}
        sentiment = 2 + len(self.sentiment.polarities) if self.sentiment is not None else 0
        return len(self.entities) + len(self.relations) + len(self.events) + len(roles) + sentiment

    def labels(self) -> tuple[str, ...]:
        """Every name that a result can carry as its type: entities, relations, events; sentiment written out."""
        whole = self.expanded()
        return tuple(dict.fromkeys([*(label.name for label in whole.entities), *whole.relations, *whole.events]))

    def allows(self, relation: str, head: str, tail: str) -> bool:
        """Whether a relation of this name may stand between entities of these types."""
        rule = self.expanded().relations.get(relation)
        return rule is not None and (not rule.head or head in rule.head) and (not rule.tail or tail in rule.tail)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a schema file; docs/schemas/schema.json is this."""
    form = Schema.model_json_schema()
    entities = form["properties"]["entities"]
    entities["items"] = {"anyOf": [{"type": "string", "minLength": 1, "maxLength": MAX_NAME}, entities["items"]]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **form}


def _too_large(name: str) -> SchemaError:
    return SchemaError(f"The schema file '{name}' has more than {MAX_BYTES // 2**20} MB: it is no schema.")


def _no_double(names: Iterable[str], what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"'{name}' is declared twice as {what}: remove one")
        seen.add(name)


def _no_double_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise SchemaError(f"The schema cannot be used: '{key}' is declared twice: remove one.")
        found[key] = value
    return found


def _kind(value: Any) -> str:
    names = {
        list: "a list",
        str: "a text",
        int: "a number",
        float: "a number",
        bool: "true or false",
        type(None): "null",
    }
    return names.get(type(value), f"a {type(value).__name__}")
