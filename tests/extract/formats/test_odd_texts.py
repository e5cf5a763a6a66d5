"""Texts that could pass for the form's own signs, and stored tokens that hold white space or leave words out: offsets stand all the same."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import pytest

from workbench.extract.formats import Counts, read_annotated, schema_of, write_annotated, write_uie
from workbench.extract.records import Document, Relation, Span

SIGNS = [
    *"ab. ,#-|<", "\n", "\r", "\t", "\u2028", "\x85", "\x0b", "\x0c", "\x1c", "\x00", "\u200d", "\u0301", "\ufeff", "\u202e", "\xa0",
    "\u3000", "😀", "👩‍🔬", "א", "中", "B-", "# text = ", "# id = ", "####", "T1\t", "<spot>",
]  # fmt: skip


def odd(seed: int) -> Document:
    """Up to 25 signs, spans anywhere in them, relations between these, and half of the time tokens cut anywhere."""
    chance = random.Random(seed)
    text = "".join(chance.choice(SIGNS) for _ in range(chance.randint(1, 25)))
    starts = [chance.randrange(len(text)) for _ in range(chance.randint(1, 4))]
    spans = dict.fromkeys(
        Span(start=at, end=chance.randint(at + 1, min(len(text), at + 6)), type=chance.choice("xy")) for at in starts
    )
    pairs = {(chance.choice(("positive", "knows")), chance.choice([*spans]), chance.choice([*spans])) for _ in range(2)}
    relations = tuple(Relation(type=type_, head=head, tail=tail) for type_, head, tail in sorted(pairs, key=str))
    found = Document(id=f"d{seed}", text=text, entities=tuple(spans), relations=relations)
    if chance.random() < 0.5:
        cuts = sorted(chance.sample(range(len(text) + 1), min(len(text) + 1, chance.randint(2, 6))))
        found = Document.model_validate({**found.model_dump(), "tokens": [*pairwise(cuts)]})
    return found


def through(form: str, given: list[Document], folder: Path) -> tuple[list[Document], Counts]:
    """What a form gives back, and what it says that it has no place for."""
    folder.mkdir()
    counts, out = Counts(), folder / form
    if form == "uie":
        write_uie(out, {"train": given}, schema_of(given), counts)
    else:
        write_annotated(out, given, form, counts)
    return list(read_annotated(out, form)), counts


def bare(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("form", ["jsonl", "conll", "spert", "uie", "brat", "spacy"])
def test_spans_stand_where_they_stood(form: str, tmp_path: Path) -> None:
    if form == "spacy":
        pytest.importorskip("spacy")
    for seed in range(0, 600, 2):
        given = [odd(seed), odd(seed + 1)]
        found, counts = through(form, given, tmp_path / str(seed))
        assert len(found) == 2
        lost = 0
        for before, after in zip(given, found, strict=True):
            same = {10: " ", 13: " "} if form == "conll" else {}  # columns have a line for a text
            assert after.text == before.text.translate(same), (seed, form)
            old, new = ({span.key for span in d.entities or ()} for d in (before, after))
            assert new <= old, (seed, form)
            lost += len(old - new)
        assert lost == counts["entities that begin or end in white space"], (seed, form)


def test_triplets_keep_their_words(tmp_path: Path) -> None:
    """ASTE has no place for white space: what is no white space stands at the same place among what is none."""

    def said(document: Document) -> set[tuple[object, ...]]:
        """Triplets by characters that are no white space."""
        return {
            (r.type, *(len(bare(document.text[:at])) for end in (r.head, r.tail) for at in (end.start, end.end)))
            for r in document.relations or ()
        }

    def sayable(document: Document, relation: Relation) -> bool:
        borders = "".join(
            document.text[end.start] + document.text[end.end - 1] for end in (relation.head, relation.tail)
        )
        return relation.type == "positive" and not any(map(str.isspace, borders))

    compared = 0
    for seed in range(0, 600, 2):
        given = [odd(seed), odd(seed + 1)]
        found, counts = through("aste", given, tmp_path / str(seed))
        assert [bare(d.text) for d in found] == [bare(d.text) for d in given], seed
        lost = 0
        for before, after in zip(given, found, strict=True):
            assert said(after) <= said(before), seed
            compared += len(said(after))
            lost += sum(not sayable(before, relation) for relation in before.relations or ())
        assert lost == counts["relations that are no sentiment triplet"], seed
    assert compared > 100


def test_a_mark_at_the_start_of_a_brat_text_is_counted_as_its_mentions_count_it(tmp_path: Path) -> None:
    for name, start in (("with", 1), ("without", 0)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "a.txt").write_bytes(b"\xef\xbb\xbfBo met Al")
        (folder / "a.ann").write_text(f"T1\tx {start} {start + 2}\tBo\nT2\tx {start + 7} {start + 9}\tAl\n")
        counts = Counts()
        (found,) = read_annotated(folder, "brat", counts)
        assert [found.text[s.start : s.end] for s in found.entities or ()] == ["Bo", "Al"] and not counts
        assert found.text == "\ufeff" * start + "Bo met Al"


def test_a_brat_text_that_was_changed_is_counted(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("So Bo met Al")
    (tmp_path / "a.ann").write_text("T1\tx 0 2\tBo\nT2\tx 10 12\tAl\n")
    counts = Counts()
    list(read_annotated(tmp_path, "brat", counts))
    assert counts == {"mentions whose words are not those of the text at their place": 1}
