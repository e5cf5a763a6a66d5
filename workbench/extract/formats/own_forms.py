"""Readers of single sets whose form is their own: CASIE, WikiEvents, RAMS, Re-DocRED, re3d, ADE, FewRel and LitBank.

Each leaves out what its file states wrongly or what has no place here, and counts it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from workbench.extract.formats.conll import read_conll
from workbench.extract.formats.files import expected, json_lines, json_value, lines
from workbench.extract.formats.tokens import Counts, join
from workbench.extract.records import Argument, Document, Event, Relation, Span

REPAIR = 200  # characters that a wrong offset may lie off its text to be mended


def read_casie(folder: Path, counts: Counts) -> Iterator[Document]:
    """CASIE: a document a file; nugget = trigger, argument types = entities. Wrong offsets are mended where the text stands nearby."""
    for file in sorted((folder / "annotation").glob("*.json")):
        with expected(file, "a CASIE annotation"):
            row = json_value(file)
            text = row["content"]
            entities: dict[Span, None] = {}
            events: dict[Event, None] = {}
            for hopper in (row.get("cyberevent") or {}).get("hopper", ()):
                for each in hopper["events"]:
                    trigger = _mended(text, each["nugget"], "trigger", counts)
                    arguments = []
                    for argument in each.get("argument") or ():
                        place = _mended(text, argument, "argument", counts)
                        if place is not None:
                            entities[Span(start=place[0], end=place[1], type=argument["type"])] = None
                            arguments.append(Argument(role=argument["role"]["type"], start=place[0], end=place[1]))
                    if trigger is not None:
                        span = Span(start=trigger[0], end=trigger[1], type=each["subtype"])
                        events[Event(type=each["subtype"], trigger=span, arguments=tuple(dict.fromkeys(arguments)))] = (
                            None
                        )
            yield Document(id=file.stem, text=text, entities=tuple(entities), events=tuple(events))


def _mended(text: str, row: Mapping[str, Any], what: str, counts: Counts) -> tuple[int, int] | None:
    """Offsets whose text is what the row says: as given, or of the nearest place that says it."""
    start, end, said = row["startOffset"], row["endOffset"], row["text"]
    if text[start:end] == said and said.strip():
        return start, end
    places = [m.start() for m in re.finditer(re.escape(said), text)] if said.strip() else []
    near = min(places, key=lambda at: abs(at - start), default=None)
    if near is None or abs(near - start) > REPAIR:
        counts[f"{what}s with a wrong offset, dropped"] += 1
        return None
    counts[f"{what}s with a wrong offset, mended"] += 1
    return near, near + len(said)


def read_wikievents(path: Path, counts: Counts) -> Iterator[Document]:
    """WikiEvents: whole documents; character offsets of its sentences."""
    for number, row in enumerate(json_lines(path), start=1):
        with expected(path, "in WikiEvents' form", f"Line {number} of '{path.name}'"):
            chars = [(token[1], token[2]) for sentence in row["sentences"] for token in sentence[0]]
            text = ""  # the file's own `text` lacks the breaks between sentences that the offsets count
            for sentence_tokens, sentence in row["sentences"]:
                text = text.ljust(sentence_tokens[0][1]) + sentence
            if any(text[s:e] != word for (s, e), word in zip(chars, row["tokens"], strict=True)):
                counts["documents whose offsets differ from their tokens, joined by spaces"] += 1
                text, chars = join(row["tokens"]).text, list(join(row["tokens"]).offsets)

            def place(start: int, end: int, chars: Any = chars) -> tuple[int, int]:
                return chars[start][0], chars[end - 1][1]

            mentions = {m["id"]: (*place(m["start"], m["end"]), m["entity_type"]) for m in row["entity_mentions"]}
            events = []
            for each in row["event_mentions"]:
                start, end = place(each["trigger"]["start"], each["trigger"]["end"])
                fillers = [(a["role"], mentions.get(a["entity_id"])) for a in each["arguments"]]
                if lost := sum(filler is None for _, filler in fillers):
                    counts["arguments that are no entity mention"] += lost
                events.append(
                    Event(
                        type=each["event_type"],
                        trigger=Span(start=start, end=end, type=each["event_type"]),
                        arguments=tuple(
                            Argument(role=role, start=f[0], end=f[1]) for role, f in fillers if f is not None
                        ),
                    )
                )
            spans = dict.fromkeys(Span(start=s, end=e, type=t) for s, e, t in mentions.values())
            yield Document(id=row["doc_id"], text=text, entities=tuple(spans), events=tuple(events))


def read_rams(path: Path) -> Iterator[Document]:
    """RAMS: five sentences a document, one event each; entities are annotated only as arguments, so they stay "not annotated"."""
    for number, row in enumerate(json_lines(path), start=1):
        with expected(path, "in RAMS' form", f"Line {number} of '{path.name}'"):
            tokens = join([word for sentence in row["sentences"] for word in sentence])
            roles = defaultdict(list)
            for trigger, filler, role in row["gold_evt_links"]:
                roles[tuple(trigger)].append(
                    (re.sub(r"^evt\d+arg\d+", "", role), tokens.chars(filler[0], filler[1] + 1))
                )
            events = []
            for first, last, types in row["evt_triggers"]:
                start, end = tokens.chars(first, last + 1)
                for type_, _ in types:
                    arguments = tuple(Argument(role=r, start=p[0], end=p[1]) for r, p in roles[(first, last)])
                    events.append(
                        Event(type=type_, trigger=Span(start=start, end=end, type=type_), arguments=arguments)
                    )
            yield Document(id=row["doc_key"], text=tokens.text, events=tuple(events))


def read_docred(path: Path, names: Mapping[str, str], counts: Counts) -> Iterator[Document]:
    """Re-DocRED: entities of a whole document, and for each related pair the two mentions that stand nearest each other."""
    for number, row in enumerate(json_value(path), start=1):
        with expected(path, "in DocRED's form", f"Document {number} of '{path.name}'"):
            starts: list[int] = []
            words: list[str] = []
            for sentence in row["sents"]:
                starts.append(len(words))
                words += sentence
            tokens = join(words)
            clusters = []
            for cluster in row["vertexSet"]:
                spans = []
                for mention in cluster:
                    shift = starts[mention["sent_id"]]
                    start, end = tokens.chars(shift + mention["pos"][0], shift + mention["pos"][1])
                    spans.append(Span(start=start, end=end, type=mention["type"]))
                clusters.append(spans)
            relations = []
            for label in row["labels"]:
                pairs = [(h, t) for h in clusters[label["h"]] for t in clusters[label["t"]] if h.key[:2] != t.key[:2]]
                if not pairs:
                    counts["relations of one mention with itself"] += 1
                    continue
                head, tail = min(pairs, key=_gap)
                relations.append(Relation(type=names.get(label["r"], label["r"]), head=head, tail=tail))
            entities = dict.fromkeys(span for cluster in clusters for span in cluster)
            yield Document(id=row["title"], text=tokens.text, entities=tuple(entities), relations=tuple(relations))


def _gap(pair: tuple[Span, Span]) -> tuple[int, int]:
    """Characters between two mentions, then the earlier head."""
    head, tail = pair
    return max(head.start, tail.start) - min(head.end, tail.end), head.start


def read_re3d(folder: Path, counts: Counts) -> Iterator[Document]:
    """re3d: defence reports of several sources; what does not stand where it says is dropped."""
    for place in sorted(path.parent for path in folder.glob("*/documents.json")):
        spans: dict[str, dict[Span, None]] = defaultdict(dict)
        texts = {row["_id"]: row["text"] for row in json_lines(place / "documents.json")}
        with expected(place, "a source of re3d"):
            for row in json_lines(place / "entities.json"):
                if texts.get(row["documentId"], "")[row["begin"] : row["end"]] != row["value"]:
                    counts["entities with a wrong offset, dropped"] += 1
                    continue
                spans[row["documentId"]][Span(start=row["begin"], end=row["end"], type=row["type"])] = None
            relations: dict[str, dict[Relation, None]] = defaultdict(dict)
            for row in json_lines(place / "relations.json"):
                known = {(span.start, span.end): span for span in spans[row["documentId"]]}
                head = known.get((row["sourceBegin"], row["sourceEnd"]))
                tail = known.get((row["targetBegin"], row["targetEnd"]))
                if head is None or tail is None:
                    counts["relations whose end is no entity, dropped"] += 1
                    continue
                relations[row["documentId"]][Relation(type=row["type"], head=head, tail=tail)] = None
            for name, text in texts.items():
                yield Document(id=name, text=text, entities=tuple(spans[name]), relations=tuple(relations[name]))


def read_ade(folder: Path, counts: Counts) -> Iterator[Document]:
    """ADE: sentences with drugs and their adverse effects or doses.

    Offsets in the files are the abstract's; in a sentence they are found by the distance of the two mentions. A sentence of
    ADE-NEG has no relation, and its entities are not annotated.
    """
    found: dict[tuple[str, str], dict[Relation, None]] = {}
    for name, type_, tail_type in (
        ("DRUG-AE.rel", "adverse effect", "adverse effect"),
        ("DRUG-DOSE.rel", "dose", "dose"),
    ):
        for number, line in enumerate(lines(folder / name), start=1):
            if not line.strip():
                continue
            with expected(folder / name, "a line of the ADE corpus", f"Line {number} of '{name}'"):
                paper, sentence, other, other_at, _, drug, drug_at, _ = line.split("|")
                apart = int(drug_at) - int(other_at)
                starts = [m.start() for m in re.finditer(re.escape(other), sentence)]
                at = next(
                    (s for s in starts if sentence[s + apart : s + apart + len(drug)] == drug and s + apart >= 0), None
                )
                mentions = found.setdefault((paper, sentence), {})
                if at is None:
                    counts["pairs that do not stand in their sentence, dropped"] += 1
                    continue
                head = Span(start=at + apart, end=at + apart + len(drug), type="drug")
                mentions[Relation(type=type_, head=head, tail=Span(start=at, end=at + len(other), type=tail_type))] = (
                    None
                )
    for number, ((paper, sentence), relations) in enumerate(found.items(), start=1):
        entities = dict.fromkeys(end for relation in relations for end in (relation.head, relation.tail))
        value = {
            "id": f"{paper}-{number}",
            "text": sentence,
            "entities": tuple(entities),
            "relations": tuple(relations),
        }
        yield Document.model_validate({**value, "paper": paper})
    for number, line in enumerate(lines(folder / "ADE-NEG.txt"), start=1):
        paper, mark, sentence = line.partition(" NEG ")
        if mark and sentence:
            yield Document.model_validate(
                {"id": f"{paper}-neg-{number}", "text": sentence, "relations": (), "paper": paper}
            )


def read_fewrel(path: Path, names: Mapping[str, str], counts: Counts) -> Iterator[Document]:
    """FewRel: a sentence with one related pair; the types of its ends, and other entities, are not annotated."""
    for relation, rows in json_value(path).items():
        for number, row in enumerate(rows, start=1):
            with expected(path, "in FewRel's form", f"Sentence {number} of '{relation}'"):
                tokens = join(row["tokens"])
                ends = []
                for side in ("h", "t"):
                    indices = row[side][2][0]
                    start, end = tokens.chars(min(indices), max(indices) + 1)
                    ends.append(Span(start=start, end=end, type=""))
                name = names.get(relation, relation)
                if m := re.fullmatch(r"(.+)\(e([12]),e[12]\)", name):  # SemEval-2010 says the direction in the name
                    name, ends = m[1], ends if m[2] == "1" else ends[::-1]
                yield Document(
                    id=f"{relation}-{number}",
                    text=tokens.text,
                    relations=(Relation(type=name, head=ends[0], tail=ends[1]),),
                )


def read_litbank(folder: Path, counts: Counts) -> Iterator[Document]:
    """LitBank: sentences with nested entities, and with event triggers where both files split the sentence alike."""
    for file in sorted((folder / "entities" / "tsv").glob("*.tsv")):
        triggers = _triggers(folder / "events" / "tsv" / file.name)
        for document in read_conll(file, token=0, tags=[1, 2, 3, 4]):
            extra = document.model_extra or {}
            words = tuple(document.text[s:e] for s, e in extra["tokens"])
            marks = triggers.get(words)
            events = None
            if marks is None:
                counts["sentences without a matching file of events"] += 1
            else:
                spans = [Span(start=extra["tokens"][n][0], end=extra["tokens"][n][1], type="event") for n in marks]
                events = tuple(Event(type="event", trigger=span) for span in spans)
            yield document.model_copy(update={"events": events}) if events is not None else document


def _triggers(path: Path) -> dict[tuple[str, ...], list[int]]:
    found: dict[tuple[str, ...], list[int]] = {}
    words: list[str] = []
    marks: list[int] = []
    for line in [*lines(path), ""] if path.is_file() else ():
        if line.strip():
            word, _, mark = line.partition("\t")
            if mark.strip() == "EVENT":
                marks.append(len(words))
            words.append(word)
        elif words:
            found[tuple(words)] = marks
            words, marks = [], []
    return found


def relation_names(path: Path) -> dict[str, str]:
    """Names of Wikidata properties in FewRel's pid2name.json; empty where it is not at hand."""
    return {code: value[0] for code, value in json_value(path).items()} if path.is_file() else {}
