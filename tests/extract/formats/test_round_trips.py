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
from workbench.extract.records import Document, Relation, Span
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
    write_annotated(tmp_path / "a.conll", written, "conll", counts)
    read = list(read_annotated(tmp_path / "a.conll"))
    by_id = {d.id: d for d in read}
    assert not counts
    inked = [d for d in written if d.text.strip()]
    assert len(read) == len(inked)
    for each in inked:  # a line break becomes a space, and nothing moves
        one_line = each.model_copy(update={"text": each.text.replace("\n", " ")})
        assert facts(by_id[each.id]) == facts(one_line)


def test_spert_keeps_entities_and_relations(tmp_path: Path) -> None:
    written = [d for d in documents(events=False) if d.text.strip()]
    write_annotated(tmp_path / "a.json", written, "spert")
    assert [facts(d) for d in read_annotated(tmp_path / "a.json")] == [facts(d) for d in written]


def test_uie_keeps_everything(tmp_path: Path) -> None:
    written = [d for d in documents() if d.text.strip()]
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
        # an argument that is no entity is written as one of type Argument
        kept = tuple(s for s in found.entities or () if s.type != "Argument")
        assert facts(found.model_copy(update={"entities": kept})) == facts(each)


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
    plain = Document(id="1", text="a b", entities=(Span(start=0, end=1, type="creative work"),), events=())
    counts = Counts()
    write_annotated(tmp_path / "a.json", [plain], "spert", counts)
    assert not counts
    write_annotated(tmp_path / "b", [plain], "brat", counts)
    assert counts == {'types and roles whose white space became "_"': 1}


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
