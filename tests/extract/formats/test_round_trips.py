"""Offsets survive every format: written and read again, random documents of any script are the same."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.extract.made import document, facts
from workbench.extract.errors import ExtractError
from workbench.extract.formats import (
    Counts,
    guess,
    read_annotated,
    read_brat,
    read_uie,
    read_uie_schema,
    schema_of,
    write_annotated,
    write_uie,
)
from workbench.extract.formats.__main__ import main as rewrite_command
from workbench.extract.formats.tokens import align, join, restore, run, tokens_of
from workbench.extract.records import Argument, Document, Event, Relation, Span
from workbench.extract.schema import Schema
from workbench.extract.texts import read_texts

SEEDS = range(150)


def documents(**parts: bool) -> list[Document]:
    return [document(seed, **parts) for seed in SEEDS]


def test_jsonl(tmp_path: Path) -> None:
    written = documents()
    write_annotated(tmp_path / "a.jsonl", written, "jsonl")
    assert list(read_annotated(tmp_path / "a.jsonl")) == written


def test_conll_keeps_entities_and_text(tmp_path: Path) -> None:
    counts = Counts()
    written = [d.model_copy(update={"relations": None, "events": None}) for d in documents()]
    written.append(Document(id="blank", text=" \t "))
    write_annotated(tmp_path / "a.conll", written, "conll", counts)
    read = list(read_annotated(tmp_path / "a.conll"))
    by_id = {d.id: d for d in read}
    assert not counts
    assert len(read) == len(written)
    for each in written:  # a line break becomes a space, and nothing moves
        one_line = each.model_copy(update={"text": each.text.replace("\n", " ")})
        assert facts(by_id[each.id]) == facts(one_line)


def test_spert_keeps_entities_and_relations(tmp_path: Path) -> None:
    written = [*documents(events=False), Document(id="blank", text="  ")]
    write_annotated(tmp_path / "a.json", written, "spert")
    assert [facts(d) for d in read_annotated(tmp_path / "a.json")] == [facts(d) for d in written]


def test_uie_keeps_everything(tmp_path: Path) -> None:
    written = [*documents(), Document(id="blank", text="  ")]
    write_uie(tmp_path, {"train": written, "dev": []}, schema_of(written))
    assert [facts(d) for d in read_uie(tmp_path / "train.json")] == [facts(d) for d in written]
    assert (tmp_path / "val.json").read_text() == ""
    found, given = read_uie_schema(tmp_path), schema_of(written)
    assert {label.name for label in found.entities} == {label.name for label in given.entities}
    assert set(found.relations) == set(given.relations)
    assert found.events == given.events


def test_brat_keeps_everything_a_file_name_and_a_word_can_say(tmp_path: Path) -> None:
    written = []
    for each in documents():
        words = {"creative work": "creative_work", "works for": "works_for"}
        plain = each.model_dump()
        for entity in plain["entities"]:
            entity["type"] = words.get(entity["type"], entity["type"])
        for relation in plain["relations"]:
            relation["type"] = words.get(relation["type"], relation["type"])
            for end in (relation["head"], relation["tail"]):
                end["type"] = words.get(end["type"], end["type"])
        written.append(Document.read(plain))
    write_annotated(tmp_path / "b", written, "brat")
    read = {d.id: d for d in read_brat(tmp_path / "b")}
    for each in written:
        found = read[each.id]
        assert facts(found) == facts(each)


def test_aste_keeps_triplets_of_texts_made_of_tokens(tmp_path: Path) -> None:
    tokens = join(["The", "battery", "life", "is", "great", "####", "!"])
    ends = [
        Span(start=s, end=e, type=t) for (s, e), t in ((tokens.chars(1, 3), "aspect"), (tokens.chars(4, 5), "opinion"))
    ]
    triplet = Relation(type="positive", head=ends[0], tail=ends[1])
    given = Document.model_validate(
        {
            "id": "x",
            "text": tokens.text,
            "entities": ends,
            "relations": [triplet],
            "tokens": [list(o) for o in tokens.offsets],
        }
    )
    write_annotated(tmp_path / "a.txt", [given], "aste")
    assert (tmp_path / "a.txt").read_text() == "The battery life is great #### !####[([1, 2], [4], 'POS')]\n"
    assert [facts(d) for d in read_annotated(tmp_path / "a.txt", "aste")] == [facts(given)]


@pytest.mark.skipif(importlib.util.find_spec("spacy") is None, reason="spaCy is an optional extra")
def test_spacy_keeps_everything(tmp_path: Path) -> None:
    written = documents()
    write_annotated(tmp_path / "a.spacy", written, "spacy")
    assert [facts(d) for d in read_annotated(tmp_path / "a.spacy")] == [facts(d) for d in written]


@pytest.mark.skipif(
    importlib.util.find_spec("spacy") is not None, reason="tells what to install where spaCy is missing"
)
def test_spacy_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(ExtractError, match="spacy"):
        write_annotated(tmp_path / "a.spacy", [], "spacy")


def test_white_space_at_a_border_is_counted_not_moved(tmp_path: Path) -> None:
    given = Document(id="1", text="a b", entities=(Span(start=0, end=2, type="t"), Span(start=2, end=3, type="t")))
    for form, name in (("conll", "a.conll"), ("spert", "a.json")):
        counts = Counts()
        write_annotated(tmp_path / name, [given], form, counts)
        (read,) = read_annotated(tmp_path / name)
        assert [s.key for s in read.entities or ()] == [(2, 3, "t")]
        assert counts["entities that begin or end in white space"] == 1


def test_formats_are_guessed(tmp_path: Path) -> None:
    given = [d for d in documents() if d.text.strip()][:3]
    for form, name in (("jsonl", "a.jsonl"), ("conll", "a.tsv"), ("spert", "b.json"), ("brat", "folder")):
        write_annotated(tmp_path / name, given, form)
        assert guess(tmp_path / name) == form
    write_uie(tmp_path / "u", {"test": given}, schema_of(given))
    assert guess(tmp_path / "u" / "test.json") == "uie"


def test_stored_tokens_are_used_and_cut() -> None:
    given = Document.model_validate(
        {"id": "1", "text": "New-York", "tokens": [[0, 8]], "entities": [{"start": 0, "end": 3, "type": "t"}]}
    )
    assert tokens_of(given).words == ["New", "-York"]
    broken = given.model_copy(update={"entities": ()})
    assert tokens_of(broken).words == ["New-York"]


def test_align_falls_back_to_spaces() -> None:
    assert align(["a", "b"], "a  b").offsets == ((0, 1), (3, 4))
    assert align(["a", "b"], "a x b") == join(["a", "b"])
    assert restore(["a"], {"text": "b", "offsets": [[0, 1]]}) == join(["a"])
    assert run([2, 1, 3]) == (1, 4)
    assert run([1, 3]) is None


@pytest.mark.parametrize(
    ("name", "content", "form"),
    [
        ("a.conll", "word\n", "conll"),
        ("a.conll", "word B-x\nword\n", "conll"),
        ("a.json", '[{"tokens": ["a"], "entities": [{"type": "x", "start": 0, "end": 4}]}]', "spert"),
        ("a.json", '[{"tokens": ["a"], "entities": [], "relations": [{"type": "x", "head": 0, "tail": 4}]}]', "spert"),
        ("a.json", "[3]", "spert"),
        ("a.json", '{"tokens": ["a"], "entity": [{"type": "x", "offset": [7]}]}', "uie"),
        ("a.txt", "no marks", "aste"),
        ("a.txt", "a b####[([0], [1], 'BAD')]", "aste"),
        ("a.txt", "a b####__import__('os')", "aste"),
        ("a.jsonl", "[]", "jsonl"),
        ("a.jsonl", "{", "jsonl"),
        ("a.jsonl", '{"text": "abc", "entities": [{"start": 2, "end": 9, "type": "x"}]}', "jsonl"),
        ("a.jsonl", f'{{"text": "abc", "n": {"9" * 5000}}}', "jsonl"),
        ("a.json", f'{{"tokens": ["a"], "n": {"9" * 5000}}}', "uie"),
        ("a.json", f'[{{"tokens": ["a"], "entities": [], "n": {"9" * 5000}}}]', "spert"),
        ("a.xyz", "abc", "something"),
    ],
)
def test_bad_files_end_in_one_sentence(tmp_path: Path, name: str, content: str, form: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ExtractError) as fault:
        list(read_annotated(tmp_path / name, form))
    assert str(fault.value).endswith(".")
    assert "\n" not in str(fault.value)


def test_a_word_of_the_text_does_not_change_the_guess(tmp_path: Path) -> None:
    given = [Document(id="1", text="a start", entities=(Span(start=2, end=7, type="start"),))]
    write_uie(tmp_path / "u", {"test": given}, schema_of(given))
    assert guess(tmp_path / "u" / "test.json") == "uie"
    assert [facts(d) for d in read_annotated(tmp_path / "u" / "test.json")] == [facts(given[0])]
    own = Document.model_validate(
        {"id": "1", "text": '"tokens": "offset"', "tokens": [[0, 8]], "entities": [{"start": 0, "end": 1, "type": "t"}]}
    )
    write_annotated(tmp_path / "own.jsonl", [own], "jsonl")
    assert guess(tmp_path / "own.jsonl") == "jsonl"


def test_a_uie_folder_is_read_by_part_or_whole(tmp_path: Path) -> None:
    one, two = (Document(id=name, text="a b", entities=(Span(start=0, end=1, type="t"),)) for name in ("one", "two"))
    write_uie(tmp_path / "u", {"train": [one], "test": [two]}, schema_of([one]))
    assert [d.id for d in read_annotated(tmp_path / "u")] == ["one", "two"]
    assert [d.id for d in read_annotated(tmp_path / "u", split="test")] == ["two"]
    assert [d.id for d in read_texts(tmp_path / "u")] == ["one", "two"]
    with pytest.raises(ExtractError, match=r"val\.json"):
        list(read_annotated(tmp_path / "u", split="dev"))
    (tmp_path / "none").mkdir()
    with pytest.raises(ExtractError, match="UIE folder"):
        list(read_annotated(tmp_path / "none", "uie"))


def test_what_a_form_has_no_place_for_is_counted_only_if_it_is_there(tmp_path: Path) -> None:
    entities = (Span(start=0, end=1, type="creative work"),)
    plain = Document(id="1", text="a b", entities=entities, relations=(), events=())
    counts = Counts()
    write_annotated(tmp_path / "a.json", [plain], "spert", counts)
    assert not counts
    write_annotated(tmp_path / "b", [plain], "brat", counts)
    assert counts == {'types and roles whose white space or colons became "_"': 1}
    counts = Counts()
    write_annotated(
        tmp_path / "c", [Document(id="a/b", text="a", entities=(), relations=(), events=())], "brat", counts
    )
    assert counts == {"ids that a file name cannot hold and that were changed": 1}


@pytest.mark.parametrize("form", ["jsonl", "spert", "uie", "conll", "brat"])
def test_the_command_goes_through_a_form_and_back(
    tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    entities = (Span(start=3, end=6, type="person"), Span(start=15, end=19, type="city"))
    given = Document(id="1", text="👩\u200d Ada came to Rome.", entities=entities)
    write_annotated(tmp_path / "gold.jsonl", [given], "jsonl")
    ends = {"spert": ".json", "conll": ".conll", "jsonl": ".jsonl"}
    there, back = tmp_path / f"there{ends.get(form, '')}", tmp_path / "back.jsonl"
    assert rewrite_command(["--input", str(tmp_path / "gold.jsonl"), "--to", form, "--out", str(there)]) == 0
    assert rewrite_command(["--input", str(there), "--to", "jsonl", "--out", str(back)]) == 0
    (read,) = read_annotated(back)
    assert [read.text[s.start : s.end] for s in read.entities or ()] == ["Ada", "Rome"]
    assert [s.key for s in read.entities or ()] == [s.key for s in entities] and read.text == given.text
    assert rewrite_command(["--input", str(there), "--to", "jsonl", "--out", str(back)]) == 1
    assert "exists already" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["gold.jsonl", there.name, "back.jsonl"])


NOT_HELD = [
    ("conll", {"relations, which columns have no place for": 1, "events, which columns have no place for": 1}),
    ("spert", {"events, which SpERT JSON has no place for": 1}),
    (
        "aste",
        {
            "relations that are no sentiment triplet": 1,
            "entities that are in no triplet": 2,
            "events, which ASTE triplets have no place for": 1,
        },
    ),
    ("uie", {}),
    ("brat", {}),
    ("jsonl", {}),
]


@pytest.mark.parametrize(("form", "lost"), NOT_HELD)
def test_the_command_says_what_a_form_has_no_place_for(
    tmp_path: Path, form: str, lost: dict[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    ann, bo = Span(start=0, end=3, type="person"), Span(start=8, end=10, type="person")
    event = Event(
        type="hit", trigger=Span(start=4, end=7, type="hit"), arguments=(Argument(role="by", start=0, end=3),)
    )
    given = Document(
        id="1", text="Ann hit Bo", entities=(ann, bo), relations=(Relation(type="near", head=ann, tail=bo),), events=(event,)
    )  # fmt: skip
    write_annotated(tmp_path / "gold.jsonl", [given], "jsonl")
    out = tmp_path / "out"
    assert rewrite_command(["--input", str(tmp_path / "gold.jsonl"), "--to", form, "--out", str(out)]) == 0
    said = capsys.readouterr().err.splitlines()
    assert sorted(said) == sorted(f"Left out or changed, {reason}: {count}." for reason, count in lost.items())


@pytest.mark.parametrize("form", ["conll", "spert", "uie", "brat", "aste"])
def test_scores_and_unknown_fields_that_are_lost_are_counted(
    tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    row = (
        '{"id": "1", "text": "a", "by": null, "entities": [{"start": 0, "end": 1, "type": "t", "score": 0.5, "n": 1}]}'
    )
    (tmp_path / "gold.jsonl").write_text(row)
    arguments = ["--input", str(tmp_path / "gold.jsonl"), "--to", form, "--out", str(tmp_path / "out")]
    assert rewrite_command(arguments) == 0
    said = capsys.readouterr().err.splitlines()
    expected = {f"Left out or changed, {what}, which {form} has no place for: 1." for what in ("scores", "texts with further fields", "items with further fields")}  # fmt: skip
    assert expected <= set(said)


@pytest.mark.parametrize("form", ["conll", "spert", "uie"])
def test_what_is_not_annotated_is_not_read_as_none_there(tmp_path: Path, form: str) -> None:
    """All eight ways of leaving parts out; a form that has no place for a part gives None for it."""
    held = {"conll": 1, "spert": 2, "uie": 3}[form]
    parts = ("entities", "relations", "events")
    given = [
        Document.read({"id": str(n), "text": "a b", **{part: [] for bit, part in enumerate(parts) if n >> bit & 1}})
        for n in range(8)
    ]
    path = tmp_path / "out.json"
    if form == "uie":
        write_uie(tmp_path, {"train": given}, Schema.of("t"))
        path = tmp_path / "train.json"
    else:
        write_annotated(path, given, form)
    for n, each in enumerate(read_annotated(path, form)):
        found = [getattr(each, part) for part in parts]
        assert found == [() if n >> bit & 1 and bit < held else None for bit in range(3)]


def test_an_end_of_a_relation_stays_what_it_was(tmp_path: Path) -> None:
    ends = Span(start=0, end=1, type="t"), Span(start=2, end=3, type="u")
    relations = (Relation(type="r", head=ends[0], tail=ends[1]),)
    bare = Document(id="1", text="a b", relations=relations)
    half = Document(id="2", text="a b", entities=ends[:1], relations=relations, events=())
    counts = Counts()
    write_annotated(tmp_path / "a.json", [bare, half], "spert", counts)
    first, second = read_annotated(tmp_path / "a.json")
    assert facts(first) == facts(bare)
    assert (second.relations, second.entities) == (relations, ends)
    assert counts == {"ends of relations that were no entity and became one": 1}
    write_annotated(tmp_path / "b", [half], "brat", counts)
    assert [facts(d) for d in read_brat(tmp_path / "b")] == [facts(half)]


def test_a_relation_is_counted_where_its_end_cannot_be_said(tmp_path: Path) -> None:
    ends = Span(start=0, end=2, type="t"), Span(start=2, end=3, type="t")
    given = Document(id="1", text="a b", entities=ends, relations=(Relation(type="r", head=ends[0], tail=ends[1]),))
    counts = Counts()
    write_annotated(tmp_path / "a.json", [given], "spert", counts)
    assert counts == {
        "entities that begin or end in white space": 1,
        "relations that begin or end in white space": 1,
    }


@pytest.mark.parametrize("name", ["a:b", "Attack:x", "a\tb", "a\nb", "a b", "", "12", "x2"])
@pytest.mark.parametrize("form", ["brat", "conll"])
def test_any_name_can_be_read_back(tmp_path: Path, form: str, name: str) -> None:
    """What has to change is counted; what does not is the same."""
    span, other = Span(start=0, end=1, type=name), Span(start=2, end=3, type="t")
    event = Event(type=name, trigger=Span(start=4, end=5, type=name), arguments=(Argument(role=name, start=2, end=3),))
    given = Document(
        id="1", text="a b c", entities=(span, other), relations=(Relation(type=name, head=span, tail=other),), events=(event,)
    )  # fmt: skip
    counts = Counts()
    write_annotated(tmp_path / "out", [given], form, counts)
    (found,) = read_annotated(tmp_path / "out", form)
    became = {"a:b": "a_b", "Attack:x": "Attack_x", "a b": "a_b"} if form == "brat" else {}
    word = {"a\tb": "a_b", "a\nb": "a_b", "": "_", **became}.get(name, name)
    assert [s.type for s in found.entities or ()] == [word, "t"]
    changed = sum(number for reason, number in counts.items() if 'became "_"' in reason)
    if form == "brat":
        (relation,), (made,) = found.relations or (), found.events or ()
        assert [relation.type, made.type, *(a.role for a in made.arguments)] == [word] * 3
    assert changed == (word != name) * (4 if form == "brat" else 1)


def test_brat_takes_the_number_of_a_role_only_beside_the_plain_one(tmp_path: Path) -> None:
    def event(at: int, *roles: str) -> Event:
        fillers = tuple(Argument(role=role, start=n, end=n + 1) for n, role in enumerate(roles))
        return Event(type="e", trigger=Span(start=at, end=at + 1, type="e"), arguments=fillers)

    events = event(4, "Theme2"), event(5, "Theme", "Theme2", "Cause2"), event(6, "Theme", "Theme")
    given = Document(id="1", text="abcdefg", entities=(), relations=(), events=events)
    counts = Counts()
    write_annotated(tmp_path / "b", [given], "brat", counts)
    (found,) = read_brat(tmp_path / "b")
    roles = [[a.role for a in e.arguments] for e in found.events or ()]
    assert roles == [["Theme2"], ["Theme", "Theme", "Cause2"], ["Theme", "Theme"]]
    assert found.entities == ()
    assert counts == {"numbered roles that brat reads as the plain role beside them": 1}


def test_an_entity_of_the_type_argument_is_one(tmp_path: Path) -> None:
    """The note, not the type, tells a filler that was no entity."""
    (tmp_path / "a.txt").write_text("Bo ran")
    (tmp_path / "a.ann").write_text(
        "T1\tArgument 0 2\tBo\nT2\trun 3 6\tran\nE1\trun:T2 by:T1\n#1\tAnnotatorNotes T1\tsure\n"
    )
    (found,) = read_brat(tmp_path)
    assert [s.key for s in found.entities or ()] == [(0, 2, "Argument")]


def test_an_empty_file_is_said_to_be_empty(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.json", "a.conll", "a.txt"):
        (tmp_path / name).write_text("\ufeff \n\n")
        with pytest.raises(ExtractError, match="is empty"):
            list(read_annotated(tmp_path / name))
    with pytest.raises(ExtractError, match="is empty"):
        list(read_annotated(tmp_path / "a.txt", "conll"))
    write_annotated(tmp_path / "blank.conll", [Document(id="1", text="", entities=())], "conll")
    assert [(d.text, d.entities) for d in read_annotated(tmp_path / "blank.conll")] == [("", ())]


def test_a_guess_looks_past_blank_lines_and_marks(tmp_path: Path) -> None:
    for start in ("", "\ufeff", "\n\n", " " * 70_000 + "\n"):
        (tmp_path / "a.jsonl").write_text(start + '{"id": "1", "text": "a"}\n')
        assert guess(tmp_path / "a.jsonl") == "jsonl"
        assert [d.text for d in read_annotated(tmp_path / "a.jsonl")] == ["a"]
    (tmp_path / "deep.json").write_text('{"a":' * 10_000)
    assert guess(tmp_path / "deep.json") == "jsonl"
