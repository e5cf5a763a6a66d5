"""Triplets of aspect sentiment: `sentence####[([aspect token indices], [opinion token indices], 'POS')]` a line (ASTE-Data-V2).

A triplet becomes a relation whose type is the polarity, from an `aspect` to an `opinion`. Aspects and opinions without a triplet have
no place: the entities that are read are those of triplets. Events have none either: they are read as "not annotated".
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from workbench.extract.errors import RecordError
from workbench.extract.formats.files import expected, lines
from workbench.extract.formats.tokens import Counts, join, leave_out, run, tokens_of
from workbench.extract.records import Document, Relation, Span
from workbench.extract.schema import ASPECT, OPINION

POLARITY = {"POS": "positive", "NEG": "negative", "NEU": "neutral"}
CODE = {name: code for code, name in POLARITY.items()}


def read_aste(path: str | Path, counts: Counts | None = None) -> Iterator[Document]:
    """Sentences with aspects, opinions and polarities. A mention with a gap is left out with its triplet, and counted.

    Raises:
        RecordError: a line is not in this form.
    """
    path, counts = Path(path), Counts() if counts is None else counts
    for number, line in enumerate(lines(path), start=1):
        if not line.strip():
            continue
        sentence, mark, written = line.rpartition("####")
        if not mark:
            raise RecordError(
                f"Line {number} of '{path.name}' has no '####' between sentence and triplets: expected ASTE triplets."
            )
        with expected(path, "a line of ASTE triplets", f"Line {number} of '{path.name}'"):
            tokens = join(sentence.split(" ") if sentence else ())
            relations = []
            for aspect, opinion, code in ast.literal_eval(written):
                runs = run(aspect), run(opinion)
                if runs[0] is None or runs[1] is None:
                    counts["triplets with a discontinuous mention"] += 1
                    continue
                ends = [tokens.chars(*place) for place in runs if place is not None]
                head, tail = (Span(start=s, end=e, type=t) for (s, e), t in zip(ends, (ASPECT, OPINION), strict=True))
                relations.append(Relation(type=POLARITY[code], head=head, tail=tail))
            mentions = dict.fromkeys(end for r in relations for end in (r.head, r.tail))
            yield Document.model_validate(
                {
                    "id": f"{path.stem}-{number}",
                    "text": tokens.text,
                    "entities": tuple(sorted(mentions, key=lambda s: s.key)),
                    "relations": tuple(dict.fromkeys(relations)),
                    "tokens": [list(pair) for pair in tokens.offsets],
                }
            )


def write_aste(path: str | Path, documents: Iterable[Document], counts: Counts | None = None) -> None:
    """Triplets of each document, whose text becomes its tokens joined by spaces: this format has no place for another.

    Other relations, entities that are in no triplet and events are left out and counted, as are ends whose type the format says
    otherwise and parts that are not annotated.
    """
    counts = Counts() if counts is None else counts
    with Path(path).open("w", encoding="utf-8", newline="\n") as file:
        for document in documents:
            tokens, triplets = tokens_of(document, solid=True), []
            said: set[tuple[int, int, str]] = set()
            for relation in document.relations or ():
                head = tokens.tokens(relation.head.start, relation.head.end)
                tail = tokens.tokens(relation.tail.start, relation.tail.end)
                if relation.type not in CODE or head is None or tail is None:
                    counts["relations that are no sentiment triplet"] += 1
                    continue
                triplets.append((list(range(*head)), list(range(*tail)), CODE[relation.type]))
                for end, type_ in ((relation.head, ASPECT), (relation.tail, OPINION)):
                    leave_out(counts, "ends of triplets whose type became aspect or opinion", end.type != type_)
                    said.add(end.key)
            alone = sum(span.key not in said for span in document.entities or ())
            leave_out(counts, "entities that are in no triplet", alone)
            leave_out(counts, "events, which ASTE triplets have no place for", len(document.events or ()))
            if document.relations is None:
                leave_out(
                    counts, "texts whose relations are not annotated, which ASTE triplets cannot tell from none there"
                )
            joined = " ".join(tokens.words)
            leave_out(counts, "texts that became their tokens joined by spaces", document.text != joined)
            line = f"{joined}####{triplets}\n"
            if line.startswith("\ufeff") and not file.tell():  # readers take one mark off the start of a file
                file.write("\ufeff")
            file.write(line)
