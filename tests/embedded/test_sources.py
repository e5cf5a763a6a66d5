"""Readers of sources, and the layout that collect writes."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from workbench.embedded import KINDS, collect, sources
from workbench.embedded.corpus import read_corpus
from workbench.embedded.samples import write_samples

SENTENCE = "The quick brown fox jumps over the lazy dog while nobody looks at it. "
SATZ = "Der Hund ist nicht auf dem Dach, und die Katze wird von einem Kind in das Haus gelassen. "


def test_prose_undoes_line_breaks_and_keeps_every_word() -> None:
    book = "\n\n".join(SENTENCE.replace(" ", "\n", 3) * 5 for _ in range(30))
    documents = list(sources.prose(book))
    assert len(documents) > 2
    assert " ".join(" ".join(documents).split()) == " ".join(book.split())
    assert all("\n" not in paragraph for d in documents for paragraph in d.split("\n\n"))


def test_code_is_cut_before_definitions_and_nothing_is_lost() -> None:
    text = "\n".join(f"def function_{n}(x):\n    return x + {n}\n" for n in range(300))
    documents = list(sources.code(text))
    assert len(documents) > 2
    assert all(d.startswith("def function_") for d in documents)
    assert "\n".join(documents).split() == text.split()


def test_table_repeats_its_header_and_keeps_rows_whole() -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["name", "note", "value"])
    rows = [[f"row {n}", 'a "quoted", value', str(n)] for n in range(400)]
    writer.writerows(rows)
    documents = list(sources.table(buffer.getvalue(), most=10**9))
    read = []
    for document in documents:
        header, *body = csv.reader(io.StringIO(document))
        assert header == ["name", "note", "value"]
        read += body
    assert len(documents) > 2
    assert read == rows[: len(read)] and len(rows) - len(read) < 20  # the last block may be too short
    fewer = list(sources.table(buffer.getvalue(), most=4000))
    assert 0 < len(fewer) < len(documents)
    assert fewer[-1].split("\n")[1] > documents[len(documents) // 3].split("\n")[1], (
        "spread over the table, not its beginning"
    )


def test_german_leaves_english_paragraphs_out() -> None:
    markup = "".join(
        f"<p>{SATZ * 6}</p><p>{SENTENCE}</p><pre>code</pre><div class='para'>{SATZ}</div>" for _ in range(8)
    )
    documents = list(sources.german(sources.html_text(markup)))
    assert documents
    joined = " ".join(documents)
    assert "fox" not in joined and "code" not in joined
    assert 50 < joined.count("Katze") <= 8 * 7  # a short last document may be dropped


def arguments(tmp_path: Path) -> list[str]:
    origin = tmp_path / "origin"
    for folder in ("prose", "dialogue", "code", "tables", "german"):
        (origin / folder).mkdir(parents=True)
    for n in range(3):
        (origin / "prose" / f"book{n}.txt").write_text(
            "\n\n".join(f"{n} {i} {SENTENCE * 4}" for i in range(60)), encoding="utf-8"
        )
        (origin / "dialogue" / f"play{n}.txt").write_text(
            "\n\n".join(f"KING:\n{n} {i} {SENTENCE}" for i in range(200)), encoding="utf-8"
        )
        (origin / "code" / f"m{n}.py").write_text(
            "\n".join(f"def f{i}_{n}():\n    return {i}\n" for i in range(500)), encoding="utf-8"
        )
        (origin / "tables" / f"t{n}.csv").write_text(
            "a,b\n" + "".join(f"{i},{n}{i * i}\n" for i in range(2000)), encoding="utf-8"
        )
        (origin / "german" / f"g{n}.txt").write_text(
            "\n\n".join(f"{n} {i} {SATZ * 4}" for i in range(60)), encoding="utf-8"
        )
        (origin / "prose" / "LICENCE.txt").write_text("public domain\n", encoding="utf-8")
    named = [part for kind in KINDS for part in (f"--{kind}", str(origin / kind))]
    return [*named, "--out", str(tmp_path / "data")]


def test_collect_writes_a_layout_that_the_recipe_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert collect.main(arguments(tmp_path)) == 0
    corpus = read_corpus(tmp_path / "data", KINDS)
    records = [
        json.loads(line) for line in (tmp_path / "data" / "SOURCES.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    listed = {(r["kind"], r["name"]): r for r in records}
    assert set(listed) == {(d.kind, d.name) for kind in KINDS for d in corpus.documents[kind]}
    assert all(listed[d.kind, d.name]["held_out"] == d.held_out for kind in KINDS for d in corpus.documents[kind])
    assert {r["licence"] for r in records if r["kind"] == "prose"} == {"public domain"}, (
        "the licence file is no document"
    )
    capsys.readouterr()
    assert collect.main(arguments_again(tmp_path)) == 1
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("Expected a new or empty folder")
    write_samples(tmp_path / "data", tmp_path / "samples", ("prose",), 2)
    assert {p.name for p in (tmp_path / "samples" / "prose").iterdir()} <= {d.name for d in corpus.held_out("prose")}


def arguments_again(tmp_path: Path) -> list[str]:
    origin = tmp_path / "origin"
    return [*(part for kind in KINDS for part in (f"--{kind}", str(origin / kind))), "--out", str(tmp_path / "data")]


def test_files_of_the_same_name_are_both_kept(tmp_path: Path) -> None:
    named = {}
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "book.txt").write_text(
            "\n\n".join(f"{folder} {i} {SENTENCE * 4}" for i in range(20)), encoding="utf-8"
        )
    named["prose"] = [tmp_path / "one", tmp_path / "other"]
    collect.collect(named, tmp_path / "data", 10**9)
    texts = [d.text for d in read_corpus(tmp_path / "data", ("prose",)).documents["prose"]]
    for folder in ("one", "other"):
        assert sum(text.startswith(f"{folder} 0 ") for text in texts) == 1


def test_a_missing_source_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = arguments(tmp_path)
    given[1] = str(tmp_path / "nowhere")
    assert collect.main(given) == 1
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("Expected a file, or a folder with .txt files")
