"""Gold to links and back is exact; what cannot come back is counted with its reason."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.extract import made
from workbench.extract.formats import schema_of
from workbench.extract.records import Argument, Document, Event, Relation, Span
from workbench.extract.schema import Schema
from workbench.extract.usm.links import Gold, targets
from workbench.extract.usm.pieces import EMOJI
from workbench.extract.usm.roundtrip import ACROSS, COMBINED, INSIDE, OUTSIDE, OVER, TABLES, found_in, round_trip


def span_of(text: str, words: str, type_: str, nth: int = 0) -> Span:
    at = -1
    for _ in range(nth + 1):
        at = text.index(words, at + 1)
    return Span(start=at, end=at + len(words), type=type_)


TEXT = "The University of Warsaw in Poland hired Marie Curie and Pierre Curie after the attack on Paris , great food but slow service ."
NESTED = span_of(TEXT, "University of Warsaw", "organization")
CITY = span_of(TEXT, "Warsaw", "city")
MARIE, PIERRE = span_of(TEXT, "Marie Curie", "person"), span_of(TEXT, "Pierre Curie", "person")
ATTACK = span_of(TEXT, "attack", "attack")
PARIS = span_of(TEXT, "Paris", "city")
FOOD, GREAT = span_of(TEXT, "food", "aspect"), span_of(TEXT, "great", "opinion")
SERVICE, SLOW = span_of(TEXT, "service", "aspect"), span_of(TEXT, "slow", "opinion")
DOCUMENT = Document(
    id="1",
    text=TEXT,
    entities=(NESTED, CITY, MARIE, PIERRE, PARIS, FOOD, GREAT, SERVICE, SLOW),
    relations=(
        Relation(type="works for", head=MARIE, tail=NESTED),
        Relation(type="works for", head=PIERRE, tail=NESTED),
        Relation(type="located in", head=NESTED, tail=CITY),
        Relation(type="positive", head=FOOD, tail=GREAT),
        Relation(type="negative", head=SERVICE, tail=SLOW),
    ),
    events=(
        Event(type="attack", trigger=ATTACK, arguments=(Argument(role="place", start=PARIS.start, end=PARIS.end),)),
    ),
)


def test_all_four_tasks_come_back(tokenizer: Any) -> None:
    read, failures, items = round_trip([DOCUMENT], schema_of([DOCUMENT]), tokenizer)
    assert not failures
    assert items == {"entities": 9, "relations": 5, "triggers": 1, "arguments": 1}
    gold = found_in(DOCUMENT)
    for table in TABLES:
        assert getattr(read[0], table).keys() == getattr(gold, table).keys()


def test_windows_and_label_blocks_lose_only_what_is_across_windows(tokenizer: Any) -> None:
    whole = schema_of([DOCUMENT])
    assert not round_trip([DOCUMENT], whole, tokenizer, most_labels=3)[1]
    _, failures, _ = round_trip([DOCUMENT], whole, tokenizer, size=12, overlap=6)
    assert failures and {reason for _, reason in failures} == {ACROSS}


def test_a_border_inside_a_piece_and_a_type_outside_the_schema_are_counted(tokenizer: Any) -> None:
    text = "Marie met Pierre"
    document = Document(
        id="1", text=text, entities=(Span(start=0, end=3, type="person"), Span(start=10, end=16, type="city"))
    )
    _, failures, _ = round_trip([document], Schema.of("person"), tokenizer)
    assert failures == {("entities", INSIDE): 1, ("entities", OUTSIDE): 1}


def test_links_of_others_can_make_a_pair_that_is_not_there(tokenizer: Any) -> None:
    """The limit that the scheme has: nested ends share heads, so two relations also say a third one."""
    outer, inner = span_of(TEXT, "Marie Curie and Pierre Curie", "person"), MARIE
    document = Document(
        id="1", text=TEXT, entities=(outer, inner, NESTED, CITY, PIERRE),
        relations=(Relation(type="r", head=inner, tail=CITY), Relation(type="r", head=PIERRE, tail=CITY)),
    )  # fmt: skip
    read, failures, _ = round_trip([document], schema_of([document]), tokenizer)
    assert failures[("relations", COMBINED)] == 1
    assert ("r", (outer.start, outer.end), (CITY.start, CITY.end)) in read[0].relations


def test_random_documents_of_any_script(tokenizer: Any) -> None:
    """What fails is inside a piece, over a border or combined; nothing else, and nothing is lost without a count."""
    documents = [made.document(seed) for seed in range(60)]
    documents = [d for d in documents if d.entities or d.events]
    read, failures, items = round_trip(documents, schema_of(documents), tokenizer)
    assert {reason for _, reason in failures} <= {INSIDE, OVER, COMBINED}
    for table in TABLES:
        lost = failures[table, INSIDE] + failures[table, OVER]
        extra = failures[table, COMBINED]
        assert sum(len(getattr(found, table)) for found in read) == items[table] - lost + extra
    inside = 0
    for document in documents:
        starts, ends = set(), set()
        for part in re.finditer(f"{EMOJI.pattern}|.+?(?={EMOJI.pattern}|$)", document.text, re.DOTALL):
            for start, end in tokenizer(part.group(), return_offsets_mapping=True)["offset_mapping"]:
                starts.add(part.start() + start)
                ends.add(part.start() + end)
        inside += sum(span.start not in starts or span.end not in ends for span in document.entities or ())
    assert items["entities"] - inside > 50 and failures["entities", INSIDE] == inside


def test_targets_against_a_plain_loop() -> None:
    draw = random.Random(4)
    length, mentions, pairs = 7, 2, 2
    for _ in range(30):

        def span() -> tuple[int, int]:
            a, b = sorted((draw.randrange(length), draw.randrange(length)))
            return a, b

        gold = Gold(typed={(draw.randrange(mentions), span()) for _ in range(3)})
        for _ in range(2):
            label, subject, object_ = mentions + draw.randrange(pairs), span(), span()
            gold.linked.add((subject, object_))
            gold.typed.add((label, object_))
            gold.subjects.add((subject, label))
        made_ = targets(gold, length, mentions, pairs)
        spans = {s for _, s in gold.typed} | {s for pair in gold.linked for s in pair}
        for a in range(length):
            for b in range(length):
                assert made_.tokens[0, a, b] == (-1 if b < a else int((a, b) in spans))
                assert made_.tokens[1, a, b] == int(any((s[0], o[0]) == (a, b) for s, o in gold.linked))
                assert made_.tokens[2, a, b] == int(any((s[1], o[1]) == (a, b) for s, o in gold.linked))
            for label in range(mentions + pairs):
                assert made_.from_label[0, label, a] == int(any(n == label and s[0] == a for n, s in gold.typed))
                assert made_.from_label[1, label, a] == int(any(n == label and s[1] == a for n, s in gold.typed))
                expected = int(any(n == label and s[0] == a for s, n in gold.subjects)) if label >= mentions else -1
                assert made_.to_label[0, a, label] == expected


def test_partly_annotated_cells_are_left_out() -> None:
    known = np.array([False, True, True, False])
    made_ = targets(Gold(typed={(0, (1, 2))}, known=known), 4, 1, 0)
    assert made_.tokens[0, 0, 3] == -1 and made_.tokens[0, 1, 2] == 1 and made_.tokens[0, 1, 3] == 0
    assert made_.from_label[0, 0].tolist() == [-1, 1, 0, -1]
    assert (made_.tokens[1:] == -1).all(), "no pair label is asked, so pairs say nothing"


def test_pairs_of_a_sentence_with_one_known_relation() -> None:
    gold = Gold(linked={((0, 0), (2, 3))}, typed={(0, (2, 3))}, subjects={((0, 0), 0)}, pairs_known=False)
    made_ = targets(gold, 5, 0, 1)
    assert made_.tokens[1, 0, 2] == 1 and made_.tokens[1, 2, 0] == 0, (
        "the other direction between the two is known to be none"
    )
    assert made_.tokens[1, 1, 4] == -1 and made_.to_label[0, 4, 0] == -1


def test_the_command_counts_what_does_not_come_back(
    tokenizer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from workbench.extract.usm.roundtrip import main

    tokenizer.save_pretrained(tmp_path / "model")
    (tmp_path / "conll04").mkdir()
    row = {
        "tokens": ["Marie", "Curie", *["xyz"] * 6, "Pierre", "Curie"],
        "entities": [{"type": "Peop", "start": 0, "end": 2}, {"type": "Peop", "start": 8, "end": 10}],
        "relations": [{"type": "hired", "head": 0, "tail": 1}],
    }
    (tmp_path / "conll04" / "test.json").write_text(json.dumps([row]))
    assert main(["--model", str(tmp_path / "model"), "--data-root", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    windows = {"window": 128, "overlap": 32, "labels": 32, "failures": []}
    assert json.loads(out) == {
        "conll04": {"texts": 1, "items": {"entities": 2, "relations": 1}, "failures": [], "in windows": windows}
    }
    assert "conll04, 1 texts: 2 entities, 1 relations. All came back." in err and "wnut17: left out." in err
    cut = ["--model", str(tmp_path / "model"), "--data", "conll04", "--data-root", str(tmp_path), "--window", "14"]
    assert main([*cut, "--overlap", "2"]) == 0
    made = json.loads(capsys.readouterr().out)["conll04"]
    assert made["failures"] == [] and ["relations", ACROSS, 1] in made["in windows"]["failures"]
    assert main([*cut, "--overlap", "14"]) == 1 and "below the window of 14" in capsys.readouterr().err
    assert main(["--model", str(tmp_path / "model"), "--data", "wnut17", "--data-root", str(tmp_path)]) == 1
    assert main(["--model", str(tmp_path), "--data-root", str(tmp_path)]) == 1
    assert "holds no tokenizer" in capsys.readouterr().err
