"""Files as their sets write them, small and of our own writing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from workbench.extract.errors import ExtractError
from workbench.extract.formats import Counts, read_aste, read_brat, read_conll, read_uie, schema_of
from workbench.extract.formats.conll import columns_of, spans_of
from workbench.extract.formats.sets import SETS, TYPE_SETS, hashed_split, load_data
from workbench.extract.formats.uie import sel, spot_asoc
from workbench.extract.records import Document


def mentions(document: Document) -> list[tuple[str, str]]:
    return [(document.text[s.start : s.end], s.type) for s in document.entities or ()]


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("B-A I-A O B-A", [(0, 2, "A"), (3, 4, "A")]),
        ("I-A I-A B-A O", [(0, 2, "A"), (2, 3, "A")]),  # IOB1
        ("I-A I-B", [(0, 1, "A"), (1, 2, "B")]),
        ("B-A I-A E-A S-B S-B", [(0, 3, "A"), (3, 4, "B"), (4, 5, "B")]),  # BIOES
        ("B-A L-A U-B O", [(0, 2, "A"), (2, 3, "B")]),  # BILOU
        ("O B-creative-work I-creative-work", [(1, 3, "creative-work")]),
        ("E-A", [(0, 1, "A")]),
    ],
)
def test_tag_schemes(tags: str, spans: list[tuple[int, int, str]]) -> None:
    assert list(spans_of(tags.split())) == spans


def test_two_columns(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("Ada\tB-person\nLovelace\tI-person\n\n#\tO\nLondon\tB-place\n")
    first, second = read_conll(tmp_path / "a.tsv")
    assert mentions(first) == [("Ada Lovelace", "person")]
    assert (second.text, mentions(second)) == ("# London", [("London", "place")])


def test_nested_columns(tmp_path: Path) -> None:
    rows = ["the\tB-FAC\tO\tO\tO\t", "streets\tI-FAC\tO\tO\tO\t", "of\tI-FAC\tO\tO\tO\t", "Bath\tI-FAC\tB-GPE\tO\tO\t"]
    (tmp_path / "a.tsv").write_text("\n".join(rows) + "\n")
    (document,) = read_conll(tmp_path / "a.tsv")
    assert mentions(document) == [("the streets of Bath", "FAC"), ("Bath", "GPE")]


def test_tag_in_the_last_of_four_columns(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(
        "-DOCSTART- -X- O O\n\nAcme NNP B-NP I-ORG\npays VBZ O O\n\n-DOCSTART- -X- O O\n\nRome NNP B-NP I-LOC\n"
    )
    assert columns_of(tmp_path / "a.txt") == (0, [3])
    first, second = read_conll(tmp_path / "a.txt")
    assert mentions(first) == [("Acme", "ORG")]
    assert (first.id, second.id) == ("a.1-1", "a.2-2")


def test_numbered_tokens_and_their_text(tmp_path: Path) -> None:
    (tmp_path / "a.iob2").write_text(
        "# sent_id = s1\n# text = In Oslo.\n1\tIn\tO\t-\t-\n2\tOslo\tB-LOC\t-\tx\n3\t.\tO\t-\t-\n"
    )
    (document,) = read_conll(tmp_path / "a.iob2")
    assert (document.id, document.text, mentions(document)) == ("s1", "In Oslo.", [("Oslo", "LOC")])


def test_gaps_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a b c####[([0, 2], [1], 'NEG'), ([0], [2], 'NEU')]\n")
    counts = Counts()
    (document,) = read_aste(tmp_path / "a.txt", counts)
    assert [r.type for r in document.relations or ()] == ["neutral"]
    assert counts == {"triplets with a discontinuous mention": 1}

    (tmp_path / "d.txt").write_text("left and right arm hurt")
    (tmp_path / "d.ann").write_text(
        "T1\tpart 0 4;15 18\tleft arm\nT2\tpart 9 18\tright arm\nT3\tpain 19 23\thurt\nR1\tnear Arg1:T1 Arg2:T2\n"
        "E1\tpain:T3 Place:T2 Place2:T1\n#1\tAnnotatorNotes T2\tfine\n"
    )
    counts = Counts()
    (brat,) = read_brat(tmp_path, counts)
    assert mentions(brat) == [("right arm", "part")]
    assert brat.relations == ()
    assert [(e.type, [a.role for a in e.arguments]) for e in brat.events or ()] == [("pain", ["Place"])]
    assert sum(counts.values()) == 3


def test_both_spellings_of_uie(tmp_path: Path) -> None:
    row = {
        "tokens": ["Bo", "ran", "home"],
        "entity_offsets": [{"type": "p", "offset": [0], "text": "Bo"}],
        "relation_offsets": [],
    }
    (tmp_path / "a.json").write_text(json.dumps(row))
    (document,) = read_uie(tmp_path / "a.json")
    assert mentions(document) == [("Bo", "p")]
    assert (document.relations, document.events) == ((), None)


def test_structured_string_of_uie() -> None:
    """The worked example of UIE's README."""
    row = {
        "entity": [
            {"type": "opinion", "offset": [0], "text": "great"},
            {"type": "aspect", "offset": [1], "text": "features"},
        ],
        "relation": [
            {
                "type": "positive",
                "args": [
                    {"type": "aspect", "offset": [1], "text": "features"},
                    {"type": "opinion", "offset": [0], "text": "great"},
                ],
            }
        ],
    }
    assert sel(spot_asoc(row)) == (
        "<extra_id_0> <extra_id_0> opinion <extra_id_5> great <extra_id_1> <extra_id_0> aspect <extra_id_5> features "
        "<extra_id_0> positive <extra_id_5> great <extra_id_1> <extra_id_1> <extra_id_1>"
    )
    assert sel([]) == "<extra_id_0>  <extra_id_1>"


def casie(text: str, nugget: tuple[int, int, str]) -> str:
    start, end, said = nugget
    event = {"nugget": {"startOffset": start, "endOffset": end, "text": said}, "subtype": "Phishing", "argument": []}
    return json.dumps({"content": text, "cyberevent": {"hopper": [{"events": [event]}]}})


def test_casie_is_mended_or_dropped(tmp_path: Path) -> None:
    folder = tmp_path / "casie" / "annotation"
    folder.mkdir(parents=True)
    text = "They phished Ann; later they phished Bob."
    (folder / "right.json").write_text(casie(text, (5, 12, "phished")))
    (folder / "wrong.json").write_text(casie(text, (27, 34, "phished")))  # nearer the second one
    (folder / "absent.json").write_text(casie(text, (5, 12, "stole")))
    counts = Counts()
    found = {d.id: d for d in load_data("casie", tmp_path, "all", counts)}
    starts = {name: [e.trigger.start for e in d.events or ()] for name, d in found.items()}
    assert starts == {"right": [5], "wrong": [29], "absent": []}
    assert counts == {"triggers with a wrong offset, mended": 1, "triggers with a wrong offset, dropped": 1}


def test_hashed_splits_are_apart_and_about_right() -> None:
    names = [hashed_split(f"document {n}") for n in range(4000)]
    assert hashed_split("document 7") == names[7]
    shares = [names.count(split) / len(names) for split in ("train", "dev", "test")]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.02)


def test_splits_by_hash_make_the_whole(tmp_path: Path) -> None:
    folder = tmp_path / "wikigold"
    folder.mkdir()
    (folder / "wikigold.conll.txt").write_text("".join(f"-DOCSTART- O\n\nw{n} I-ORG\n\nv{n} O\n\n" for n in range(60)))
    parts = {split: {d.id for d in load_data("wikigold", tmp_path, split)} for split in ("train", "dev", "test")}
    assert set.union(*parts.values()) == {d.id for d in load_data("wikigold", tmp_path, "all")}
    assert sum(map(len, parts.values())) == 120
    of = {name: split for split, ids in parts.items() for name in ids}
    assert all(
        of[f"wikigold.conll.{n}-{2 * n - 1}"] == of[f"wikigold.conll.{n}-{2 * n}"] for n in range(1, 61)
    )  # by document


def test_ade_finds_the_pair_by_its_distance(tmp_path: Path) -> None:
    folder = tmp_path / "ade"
    folder.mkdir()
    sentence = "Rash after drug A; no rash, yet rash after drug A."
    (folder / "DRUG-AE.rel").write_text(f"1|{sentence}|rash|132|136|drug A|143|149\n")
    (folder / "DRUG-DOSE.rel").write_text("")
    (folder / "ADE-NEG.txt").write_text("2 NEG Nothing happened.\n")
    found = {d.text: d for d in load_data("ade", tmp_path, "all")}
    (relation,) = found[sentence].relations or ()
    assert relation.head.start - relation.tail.start == 11
    assert sentence[relation.head.start : relation.head.end] == "drug A"
    assert (found["Nothing happened."].entities, found["Nothing happened."].relations) == (None, ())


def test_rams_and_wikievents(tmp_path: Path) -> None:
    (tmp_path / "rams").mkdir()
    rams = {
        "doc_key": "k",
        "sentences": [["Bo", "died", "."], ["In", "Rome", "."]],
        "evt_triggers": [[1, 1, [["life.die", 1.0]]]],
        "gold_evt_links": [[[1, 1], [4, 4], "evt089arg02place"]],
    }
    (tmp_path / "rams" / "dev.jsonlines").write_text(json.dumps(rams))
    (document,) = load_data("rams", tmp_path, "dev")
    (event,) = document.events or ()
    assert [(a.role, document.text[a.start : a.end]) for a in event.arguments] == [("place", "Rome")]
    assert document.entities is None

    (tmp_path / "wikievents").mkdir()
    wiki = {
        "doc_id": "w",
        "tokens": ["Bo", "died", ".", "Rome", "wept"],
        "text": "Bo died.Rome wept",
        "sentences": [
            [[["Bo", 0, 2], ["died", 3, 7], [".", 7, 8]], "Bo died."],
            [[["Rome", 9, 13], ["wept", 14, 18]], "Rome wept"],
        ],
        "entity_mentions": [{"id": "T1", "start": 3, "end": 4, "entity_type": "GPE"}],
        "event_mentions": [
            {
                "event_type": "Die",
                "trigger": {"start": 1, "end": 2},
                "arguments": [{"entity_id": "T1", "role": "Place"}],
            }
        ],
    }
    (tmp_path / "wikievents" / "dev.jsonl").write_text(json.dumps(wiki))
    (document,) = load_data("wikievents", tmp_path, "dev")
    assert (document.text, mentions(document)) == ("Bo died. Rome wept", [("Rome", "GPE")])


def test_docred_takes_the_nearest_pair(tmp_path: Path) -> None:
    for name in ("re_docred", "fewrel"):
        (tmp_path / name).mkdir()
    (tmp_path / "fewrel" / "pid2name.json").write_text('{"P17": ["country", "…"]}')
    row = {
        "title": "t",
        "sents": [["Oslo", "is", "nice"], ["Norway", "loves", "Oslo"]],
        "vertexSet": [
            [{"sent_id": 0, "pos": [0, 1], "type": "LOC"}, {"sent_id": 1, "pos": [2, 3], "type": "LOC"}],
            [{"sent_id": 1, "pos": [0, 1], "type": "LOC"}],
        ],
        "labels": [{"h": 0, "t": 1, "r": "P17"}],
    }
    (tmp_path / "re_docred" / "dev_revised.json").write_text(json.dumps([row]))
    (document,) = load_data("re_docred", tmp_path, "dev")
    (relation,) = document.relations or ()
    assert (relation.type, relation.head.start, relation.tail.start) == ("country", document.text.rindex("Oslo"), 13)


def test_type_sets_pass_fields_through(tmp_path: Path) -> None:
    import gzip

    (tmp_path / "ie_types" / "sgd").mkdir(parents=True)
    row = {
        "text": "at half past 11",
        "ents": [[3, 15, "time", "Restaurants_2"], [3, 99, "bad"]],
        "desc": {"time": "when"},
    }
    with gzip.open(tmp_path / "ie_types" / "sgd" / "norm.jsonl.gz", "wt") as file:
        file.write(json.dumps(row) + "\n")
    counts = Counts()
    (document,) = load_data("sgd", tmp_path, "all", counts)
    assert mentions(document) == [("half past 11", "time")]
    assert (document.model_extra or {})["desc"] == {"time": "when"}
    assert counts.total() == 1


def test_unknown_names_end_in_a_sentence(tmp_path: Path) -> None:
    for name, split in (
        ("nothing", "test"),
        ("wnut17", "test"),
        ("wnut17", "summer"),
        ("metaner_fewshot/wnut17", "train"),
    ):
        with pytest.raises(ExtractError, match=r"\.$"):
            load_data(name, tmp_path, split)
    assert not set(SETS) & set(TYPE_SETS)
    assert len(TYPE_SETS) == 31


def test_schema_of_documents() -> None:
    given = Document.read(
        {
            "id": 1,
            "text": "Bo owns Acme",
            "relations": [
                {
                    "type": "owns",
                    "head": {"start": 0, "end": 2, "type": "p"},
                    "tail": {"start": 8, "end": 12, "type": "o"},
                }
            ],
        }
    )
    assert schema_of([given]).to_json() == {
        "entities": ["o", "p"],
        "relations": {"owns": {"head": ["p"], "tail": ["o"]}},
    }
