"""`workbench extract` and `workbench evaluate` from the outside, with the rule engine as a plug-in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workbench.cli import run
from workbench.extract import read_documents

pytestmark = pytest.mark.usefixtures("rule_engine")
ADA = "Ada met Bo 7 times 👩‍🔬 in Rome"


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    status = run([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return status, out, err


def result(out: str) -> dict[str, Any]:
    return dict(json.loads(out.strip().splitlines()[-1]))


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    path = tmp_path / "schema.json"
    ends: dict[str, list[str]] = {"head": [], "tail": []}
    path.write_text(
        json.dumps({"entities": ["name", "number"], "relations": {"near": ends}, "events": {"blaze": ["who"]}})
    )
    return path


def test_extract_writes_annotated_texts(tmp_path: Path, schema: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"id": "a", "text": ADA, "source": "x", "entities": []}, {"text": "a fire, said Bo"}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    status, out, _ = call(
        capsys,
        "extract",
        "--engine",
        "rules",
        "--schema",
        schema,
        "--input",
        tmp_path / "in.jsonl",
        "--out",
        tmp_path / "o.jsonl",
        "--json",
    )
    assert status == 0
    assert {k: result(out)[k] for k in ("texts", "entities", "relations", "events", "stopped_early")} == {
        "texts": 2, "entities": 4, "relations": 1, "events": 1, "stopped_early": False,
    }  # fmt: skip
    first, second = read_documents(tmp_path / "o.jsonl")
    assert [(first.text[s.start : s.end], s.score) for s in first.entities or ()] == [
        ("Ada", 0.9),
        ("Bo", 0.9),
        ("Rome", 0.9),
    ]
    assert (first.model_extra or {})["source"] == "x"
    assert second.id == "2"
    assert all(r.score == 0.6 for r in (*(first.relations or ()), *(second.relations or ())))
    (event,) = second.events or ()
    assert (event.score, [a.score for a in event.arguments]) == (0.8, [0.55])


def test_threshold_and_nesting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "schema.json").write_text('{"entities": ["name", "number"]}')
    (tmp_path / "in.txt").write_text("Ada Lovelace 7\n\nBo\n")
    found = {}
    for name, options in (("nested", ()), ("flat", ("--flat",)), ("low", ("--threshold", "0.3"))):
        out = tmp_path / f"{name}.jsonl"
        assert call(capsys, "extract", "--engine", "rules", "--schema", tmp_path / "schema.json", "--input", tmp_path / "in.txt", "--lines", "--out", out, *options)[0] == 0  # fmt: skip
        documents = list(read_documents(out))
        assert [d.id for d in documents] == ["in-1", "in-3"]
        assert documents[0].relations is None  # not asked for
        found[name] = [d.text[s.start : s.end] for d in documents for s in d.entities or ()]
    assert found == {"nested": ["Ada Lovelace", "Ada", "Lovelace", "Bo"], "flat": ["Ada", "Lovelace", "Bo"], "low": ["Ada Lovelace", "Ada", "Lovelace", "7", "Bo"]}  # fmt: skip


def test_tables_keep_their_columns(tmp_path: Path, schema: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.csv").write_text('body,lang,entities\n"Ada, and Bo",en,no\nRome,it,no\n', encoding="utf-8")
    arguments = (
        "extract",
        "--engine",
        "rules",
        "--schema",
        schema,
        "--input",
        tmp_path / "in.csv",
        "--out",
        tmp_path / "o.jsonl",
    )
    status, _, err = call(capsys, *arguments)
    assert status == 1
    assert "no column 'text' (it has body, lang, entities)" in err
    assert not (tmp_path / "o.jsonl").exists()
    assert call(capsys, *arguments, "--text-column", "body")[0] == 0
    documents = list(read_documents(tmp_path / "o.jsonl"))
    assert [(d.text, (d.model_extra or {})["lang"]) for d in documents] == [("Ada, and Bo", "en"), ("Rome", "it")]


def test_what_was_done_is_kept_when_a_text_breaks(
    tmp_path: Path, schema: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.txt").write_text("Ada\n" * 8 + "BREAK\n")
    status, _, err = call(
        capsys, "extract", "--engine", "rules", "--schema", schema, "--input", tmp_path / "in.txt", "--lines", "--batch-size", 1, "--out", tmp_path / "o.jsonl"
    )  # fmt: skip
    assert status == 1
    assert "What was done before, 8 texts, is kept" in err
    assert err.strip().splitlines()[-1] == "This text breaks the engine of the tests."
    assert len(list(read_documents(tmp_path / "o.jsonl"))) == 8


def gold(path: Path) -> Path:
    rows = [
        {"id": 1, "text": "Ada met Bo", "entities": [{"start": 0, "end": 3, "type": "name"}, {"start": 8, "end": 10, "type": "number"}]},
        {"id": 2, "text": "a fire in Rome"},
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_evaluate_prints_the_promised_form(tmp_path: Path, schema: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(
        capsys, "evaluate", "--engine", "rules", "--data", gold(tmp_path / "gold.jsonl"), "--schema", schema, "--json", "--out", tmp_path / "p.jsonl"
    )  # fmt: skip
    assert status == 0
    found = result(out)
    for by in ("offset", "string"):
        leaf = found["entity"][by]
        assert (leaf["precision"], leaf["recall"], leaf["f1"]) == (0.5, 0.5, 0.5)
        for part, names in (("relation", ("strict", "boundary")), ("event", ("trigger", "argument"))):
            assert all(found[part][name][by]["f1"] is None for name in names)
    assert found["sentences"] == 2
    assert found["seconds"] >= 0
    assert found["errors"]["entity"] == {"missed": 0, "spurious": 0, "boundary": 0, "type": 1}
    assert len(list(read_documents(tmp_path / "p.jsonl"))) == 2
    _, words, _ = call(capsys, "evaluate", "--engine", "rules", "--data", tmp_path / "gold.jsonl", "--schema", schema)
    assert "0.500" in words


def test_evaluate_takes_named_sets_and_the_types_of_the_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data" / "conll04"
    folder.mkdir(parents=True)
    row = {"tokens": ["Ada", "met", "Bo"], "entities": [{"type": "Peop", "start": 0, "end": 1}], "relations": []}
    (folder / "test.json").write_text(json.dumps([row]))
    status, out, _ = call(
        capsys, "evaluate", "--engine", "rules", "--data", "conll04", "--data-root", tmp_path / "data", "--json"
    )
    assert status == 0
    assert result(out)["entity"]["offset"]["right"] == 1
    assert {p["model"] for p in result(out)["published"]} == {"USM-large", "UIE-large"}


def test_the_name_of_a_set_wins_over_a_folder_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the folder of the sets itself, and beside an unrelated file; a path says that it is one."""
    folder = tmp_path / "conll04"
    folder.mkdir()
    row = {"tokens": ["Ada", "met", "Bo"], "entities": [{"type": "Peop", "start": 0, "end": 1}], "relations": []}
    (folder / "test.json").write_text(json.dumps([row]))
    (tmp_path / "other").mkdir()
    gold(tmp_path / "other" / "conll04")
    common = ("evaluate", "--engine", "rules", "--json", "--data")
    for place, root in ((tmp_path, "."), (tmp_path / "other", "..")):
        monkeypatch.chdir(place)
        status, out, _ = call(capsys, *common, "conll04", "--data-root", root)
        assert status == 0
        found = result(out)
        assert (found["sentences"], found["split"], len(found["published"])) == (1, "test", 2)
    for more in ((), ("--data-root", "..")):
        status, out, _ = call(capsys, *common, "./conll04", *more)
        assert status == 0
        assert (result(out)["sentences"], result(out)["split"], result(out)["published"]) == (2, None, [])
    status, out, _ = call(capsys, *common, "conll04")
    assert (status, result(out)["sentences"]) == (0, 2), "without a root it is a path"


def test_what_the_schema_does_not_ask_for_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    roles = [{"role": "who", "start": 0, "end": 3}, {"role": "place", "start": 14, "end": 18}]
    event = {"type": "blaze", "trigger": {"start": 6, "end": 10}, "arguments": roles}
    row = {"text": "Ada a fire in Rome", "entities": [{"start": 0, "end": 3, "type": "name"}], "events": [event]}
    (tmp_path / "gold.jsonl").write_text(json.dumps(row))
    (tmp_path / "schema.json").write_text('{"events": {"blaze": ["who"]}}')
    status, out, err = call(
        capsys, "evaluate", "--engine", "rules", "--data", tmp_path / "gold.jsonl", "--schema", tmp_path / "schema.json", "--json"
    )  # fmt: skip
    assert status == 0
    found = result(out)
    assert (found["gold_outside_schema"], found["event"]["argument"]["offset"]["gold"]) == (2, 1)
    assert found["entity"]["offset"]["f1"] is None
    assert "2 gold items are of types, roles or relation ends that the schema does not ask for" in err


@pytest.mark.parametrize(
    ("options", "words"),
    [(("--match-mode", "odd"), "match mode 'odd'"), (("--seed", "-1"), "--seed"), (("--out", "."), "--out")],
)
def test_wrong_options_are_found_before_the_engine_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: tuple[str, str], words: str
) -> None:  # fmt: skip
    def load(*_: object, **__: object) -> None:
        raise AssertionError("the engine was loaded")

    monkeypatch.setattr("workbench.extract.load_engine", load)
    path = gold(tmp_path / "gold.jsonl")
    status, _, err = call(capsys, "evaluate", "--engine", "rules", "--data", path, *options)
    assert status != 0
    assert words in err and "engine" not in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("evaluate", "--engine", "none", "--data", "gold.jsonl"), "There is no engine 'none'"),
        (("evaluate", "--engine", "rules", "--data", "nothing"), "--data-root"),
        (("evaluate", "--engine", "rules", "--data", "gold.jsonl", "--match-mode", "odd"), "match mode 'odd'"),
        (("evaluate", "--engine", "rules", "--data", "gold.jsonl", "--schema", "missing.json"), "missing.json"),
        (
            (
                "extract",
                "--engine",
                "rules",
                "--schema",
                "schema.json",
                "--input",
                "empty.txt",
                "--lines",
                "--out",
                "o.jsonl",
            ),
            "no text",
        ),
        (
            ("extract", "--engine", "rules", "--schema", "schema.json", "--input", "gold.jsonl", "--out", "gold.jsonl"),
            "exists already",
        ),
        (
            ("extract", "--engine", "rules", "--schema", "schema.json", "--input", "none.jsonl", "--out", "o.jsonl"),
            "does not exist",
        ),
    ],
)
def test_faults_end_in_one_sentence(
    tmp_path: Path, schema: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    gold(tmp_path / "gold.jsonl")
    (tmp_path / "empty.txt").write_text("\n")
    status, _, err = call(capsys, *arguments)
    assert status == 1
    line = err.strip().splitlines()[-1]
    assert words in line
    assert line.endswith(".")
    assert "Traceback" not in err


def test_a_form_that_the_name_does_not_say_is_named(
    tmp_path: Path, schema: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.txt").write_text("Ada\tB-x\nslept\tO\n\nBo\tB-x\n")
    given = ("--input", tmp_path / "in.txt", "--format", "conll", "--out", tmp_path / "o.jsonl")
    assert call(capsys, "extract", "--engine", "rules", "--schema", schema, *given)[0] == 0
    assert [d.text for d in read_documents(tmp_path / "o.jsonl")] == ["Ada slept", "Bo"]


def test_what_was_not_looked_for_is_no_nought(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "schema.json").write_text(
        '{"entities": ["name"], "relations": {"near": {"head": ["name"], "tail": ["name"]}}}'
    )
    (tmp_path / "in.txt").write_text("Marie Curie worked in Paris.")
    for engine, relations, words in (("rules", 1, "4 entities, 1 relation, in"), ("metaner", None, " entities, in")):
        out = tmp_path / f"{engine}.jsonl"
        asked = [
            "extract",
            "--schema",
            str(tmp_path / "schema.json"),
            "--input",
            str(tmp_path / "in.txt"),
            "--engine",
            engine,
            "--out",
            str(out),
        ]
        assert run(asked) == 0
        assert words in capsys.readouterr().out
        assert run([*asked, "--overwrite", "--json"]) == 0
        assert result(capsys.readouterr().out)["relations"] == relations
