"""brat standoff: a folder with NAME.txt and NAME.ann.

Text-bound lines (T) are entities, unless an event names them as its trigger; R are relations, E events. A discontinuous mention ("0
5;8 12") is left out with everything that hangs on it, and counted. Attributes, notes and normalisations are passed over, but for
one note that is ours: it marks a mention that was no entity where it came from (`NO_ENTITY`).

A part that is "not annotated" cannot be told from one that is empty: every part is read as annotated.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from workbench.extract.errors import RecordError
from workbench.extract.formats.files import expected, lines, whole
from workbench.extract.formats.tokens import PARTS, Counts, leave_out
from workbench.extract.records import Argument, Document, Event, Relation, Span

NO_ENTITY = "only an end of a relation or an argument, no entity"  # a note that brat shows beside the mention


def read_brat(folder: str | Path, counts: Counts | None = None) -> Iterator[Document]:
    """Documents of a brat folder, by name.

    Raises:
        RecordError: it has no .ann file, one has no .txt beside it, or a line is not brat's.
    """
    folder, counts = Path(folder), Counts() if counts is None else counts
    files = sorted(folder.glob("*.ann")) if folder.is_dir() else [folder] if folder.suffix == ".ann" else []
    if not files:
        raise RecordError(f"'{folder.name}' holds no .ann file: expected a folder with NAME.txt and NAME.ann.")
    for file in files:
        with expected(file, "a brat annotation"):
            yield _document(file, counts)


def _document(file: Path, counts: Counts) -> Document:
    spans: dict[str, Span] = {}
    words: dict[str, str] = {}
    relations, events, gone, apart = [], [], set(), set()
    for line in lines(file):
        name, _, rest = line.partition("\t")
        if name.startswith("T"):
            said, _, words[name] = rest.partition("\t")
            type_, places = said.split(" ", 1)
            if ";" in places:
                gone.add(name)
                counts["discontinuous mentions"] += 1
                continue
            start, end = places.split()
            spans[name] = Span(start=int(start), end=int(end), type=type_)
        elif name.startswith("R"):
            type_, first, second = rest.split()
            relations.append((type_, first.partition(":")[2], second.partition(":")[2]))
        elif name.startswith("E"):
            parts = [part.partition(":")[::2] for part in rest.split()]
            events.append((name, parts[0][0], parts[0][1], parts[1:]))
        elif name.startswith("#") and rest.endswith(f"\t{NO_ENTITY}"):
            apart.add(rest.partition("\t")[0].split(" ")[-1])
    triggers = {trigger for _, _, trigger, _ in events}
    of_event = {name: trigger for name, _, trigger, _ in events}

    def found(name: str) -> Span | None:
        """A mention, an event standing for its trigger."""
        name = of_event.get(name, name)
        if name not in spans and name not in gone:
            raise RecordError(f"'{file.name}' speaks of {name}, which it does not define: correct the file.")
        return spans.get(name)

    made_relations, made_events = [], []
    for type_, head_name, tail_name in relations:
        head, tail = found(head_name), found(tail_name)
        if head is None or tail is None:
            counts["relations of a discontinuous mention"] += 1
        else:
            made_relations.append(Relation(type=type_, head=head, tail=tail))
    for _, type_, trigger_name, parts in events:
        trigger = found(trigger_name)
        if trigger is None:
            counts["events with a discontinuous trigger"] += 1
            continue
        arguments = []
        roles = {role for role, _ in parts}
        for role, filler_name in parts:
            filler = found(filler_name)
            if filler is None:
                counts["arguments that are discontinuous mentions"] += 1
            else:  # a number without the plain role beside it is part of the name
                plain = _unnumbered(role)
                said = plain if plain in roles else role
                arguments.append(Argument(role=said, start=filler.start, end=filler.end))
        made_events.append(
            Event(
                type=type_, trigger=Span(start=trigger.start, end=trigger.end, type=type_), arguments=tuple(arguments)
            )
        )
    text = _text(file.with_suffix(".txt"), [(span, words[name]) for name, span in spans.items()], counts)
    return Document(
        id=file.stem,
        text=text,
        entities=tuple(span for name, span in spans.items() if name not in triggers and name not in apart),
        relations=tuple(made_relations),
        events=tuple(made_events),
    )


def _text(file: Path, mentions: Sequence[tuple[Span, str]], counts: Counts) -> str:
    """The text that offsets count in: without a byte order mark at its start if the words of the mentions say so, or there are none.

    Mentions whose words are others than those at their place are counted: such a text was changed after it was annotated.
    """

    def amiss(text: str) -> int:
        outside = sum(span.end > len(text) for span, _ in mentions)
        return outside + sum(
            _one_line(text[span.start : span.end]) != _one_line(words) for span, words in mentions if words
        )

    text = whole(file, marked=True)
    bare = text.removeprefix("\ufeff")
    text = min((text, bare), key=amiss) if mentions else bare
    leave_out(counts, "mentions whose words are not those of the text at their place", amiss(text))
    return text


def _one_line(words: str) -> str:
    return " ".join(words.split())


def write_brat(folder: str | Path, documents: Iterable[Document], counts: Counts | None = None) -> None:
    """A NAME.txt and NAME.ann for every document; characters of an id that a file name cannot hold become "_".

    So do white space and colons in a type or role. Both are counted, as are numbered roles that brat reads as the plain one beside
    them, and parts that are not annotated. A filler or an end of a relation that is no entity is written as a mention with the note
    `NO_ENTITY`, a filler under the type Argument.

    Raises:
        RecordError: two ids give the same file name.
    """
    folder, counts = Path(folder), Counts() if counts is None else counts
    folder.mkdir(parents=True, exist_ok=True)
    seen: set[str] = set()
    for document in documents:
        stem = re.sub(r"[^\w.\-]", "_", document.id)[:200].lstrip(".") or "_"
        if stem in seen:
            raise RecordError(f"Two documents would be written as '{stem}.ann': give them different ids.")
        seen.add(stem)
        (folder / f"{stem}.txt").write_text(document.text, encoding="utf-8", newline="")
        (folder / f"{stem}.ann").write_text(annotation(document), encoding="utf-8", newline="\n")
        leave_out(counts, "ids that a file name cannot hold and that were changed", stem != document.id)
        changed = sum(name != _word(name) for name in _names(document))
        leave_out(counts, 'types and roles whose white space or colons became "_"', changed)
        leave_out(counts, "numbered roles that brat reads as the plain role beside them", _merged(document))
        for part in PARTS:
            if getattr(document, part) is None:
                leave_out(counts, f"texts whose {part} are not annotated, which brat cannot tell from none there")


def annotation(document: Document) -> str:
    """The .ann of one document."""
    out: list[str] = []
    names: dict[tuple[int, int, str], str] = {}
    plain: dict[tuple[int, int], str] = {}
    mentions = notes = 0

    def mention(start: int, end: int, type_: str) -> str:
        nonlocal mentions
        mentions += 1
        name = f"T{mentions}"
        out.append(f"{name}\t{_word(type_)} {start} {end}\t{_one_line(document.text[start:end])}")
        return name

    def entity(span: Span) -> str:
        if span.key not in names:
            names[span.key] = mention(*span.key)
            plain.setdefault((span.start, span.end), names[span.key])
        return names[span.key]

    def end(span: Span) -> str:
        """A mention that may be no entity."""
        nonlocal notes
        if span.key not in names:
            notes += 1
            out.append(f"#{notes}\tAnnotatorNotes {entity(span)}\t{NO_ENTITY}")
        return names[span.key]

    for span in document.entities or ():
        entity(span)
    for n, relation in enumerate(document.relations or (), start=1):
        out.append(f"R{n}\t{_word(relation.type)} Arg1:{end(relation.head)} Arg2:{end(relation.tail)}")
    for n, event in enumerate(document.events or (), start=1):
        parts = [f"{_word(event.type)}:{mention(event.trigger.start, event.trigger.end, event.type)}"]
        for argument in event.arguments:
            filler = plain.get((argument.start, argument.end)) or end(
                Span(start=argument.start, end=argument.end, type="Argument")
            )
            parts.append(f"{_word(argument.role)}:{filler}")
        out.append(f"E{n}\t{' '.join(parts)}")
    return "".join(line + "\n" for line in out)


def _names(document: Document) -> Iterator[str]:
    """The type or role of every item, a mention once."""
    ends = [end for relation in document.relations or () for end in (relation.head, relation.tail)]
    for _, _, type_ in dict.fromkeys(span.key for span in [*(document.entities or ()), *ends]):
        yield type_
    for relation in document.relations or ():
        yield relation.type
    for event in document.events or ():
        yield event.type
        yield from (argument.role for argument in event.arguments)


def _merged(document: Document) -> int:
    """How many roles have a number that reading takes away."""
    found = 0
    for event in document.events or ():
        roles = [_word(argument.role) for argument in event.arguments]
        found += sum(_unnumbered(role) != role and _unnumbered(role) in roles for role in roles)
    return found


def _unnumbered(role: str) -> str:
    """A role without the number that brat gives one that is repeated: Theme2 is Theme."""
    return re.sub(r"(?<=\D)\d+$", "", role)


def _word(name: str) -> str:
    """A name as brat can write it: white space and colons, which end a name there, become "_"; so does no name at all."""
    return re.sub(r"[\s:]+", "_", name) or "_"
