"""Reading inputs: every kind of file, every grouping, and the sentence for each that is broken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from workbench.inputs import InputError, InputOptions, read_documents, read_inputs
from workbench.inputs import files as files_module


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_text_file_is_a_document_and_lines_are_on_request(tmp_path: Path) -> None:
    file = write(tmp_path / "a.txt", "one\r\n\ntwo\n")
    (whole,) = read_documents([file])
    assert whole.text == "one\n\ntwo\n" and whole.id == "a.txt" and whole.group is None
    lines = read_documents([file], InputOptions(lines=True, group_by="file"))
    assert [(line.text, line.id, line.group) for line in lines] == [
        ("one", "a.txt#1", "a.txt"),
        ("two", "a.txt#3", "a.txt"),
    ]


def test_folders_are_walked_and_give_groups(tmp_path: Path) -> None:
    write(tmp_path / "in" / "prose" / "deep" / "x.txt", "x")
    write(tmp_path / "in" / "code" / "y.py", "y = 1")
    write(tmp_path / "in" / "top.txt", "z")
    write(tmp_path / "in" / ".hidden" / "h.txt", "h")
    write(tmp_path / "in" / "thing.xyz", "?")
    found = read_inputs([tmp_path / "in"], InputOptions(group_by="folder"))
    assert {document.id: document.group for document in found.documents} == {
        "code/y.py": "code",
        "prose/deep/x.txt": "prose",
        "top.txt": "in",
    }
    assert found.skipped == 1


def test_jsonl_csv_and_parquet(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    write(tmp_path / "a.jsonl", '{"id": "j", "text": "first", "lang": "en"}\n\n{"text": "second", "lang": "de"}\n')
    found = read_documents([tmp_path / "a.jsonl"], InputOptions(group_by="column:lang"))
    assert [(one.id, one.text, one.group) for one in found] == [("j", "first", "en"), ("a.jsonl#2", "second", "de")]
    write(tmp_path / "b.csv", 'body,lang\n"with, comma\nand line",fr\nplain,\n')
    found = read_documents([tmp_path / "b.csv"], InputOptions(text_column="body", group_by="column:lang"))
    assert [(one.text, one.group) for one in found] == [("with, comma\nand line", "fr"), ("plain", "none")]
    (whole,) = read_documents([tmp_path / "b.csv"])  # no column called text: a table as a text
    assert whole.text is not None and whole.text.startswith("body,lang")
    pq.write_table(pa.table({"text": ["p", "q"], "kind": [1, 2], "heavy": ["x", "y"]}), tmp_path / "c.parquet")
    found = read_documents([tmp_path / "c.parquet"], InputOptions(group_by="column:kind"))
    assert [(one.text, one.group) for one in found] == [("p", "1"), ("q", "2")]


def test_chats(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (4, 4)).save(tmp_path / "p.png")
    content = [{"type": "image", "path": "p.png"}, {"type": "text", "text": "what is it"}]
    row = {
        "id": "c",
        "group": "zoo",
        "messages": [{"role": "user", "content": content}, {"role": "assistant", "content": "a cat"}],
    }
    write(tmp_path / "chats.jsonl", json.dumps(row))
    (chat,) = read_documents([tmp_path / "chats.jsonl"], InputOptions(group_by="group"))
    assert chat.group == "zoo" and [message.role for message in chat.messages] == ["user", "assistant"]
    assert chat.media[0].path == tmp_path / "p.png" and chat.messages[1].text == "a cat"


def test_media_get_a_stated_prompt_and_prompts_make_groups(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (4, 4)).save(tmp_path / "p.png")
    (one,) = read_documents([tmp_path / "p.png"])
    assert one.messages[0].text == "Describe this picture."
    both = read_documents([tmp_path / "p.png"], InputOptions(group_by="prompt", prompts=("Count.", "Name.")))
    assert [document.group for document in both] == ["Count.", "Name."] and len({document.id for document in both}) == 2
    texts = read_documents(
        [write(tmp_path / "t.txt", "x")], InputOptions(group_by="prompt", prompts=("Count.", "Name."))
    )
    assert [(document.prompt, document.group) for document in texts] == [("Count.", "Count."), ("Name.", "Name.")]


def test_ids_are_unique(tmp_path: Path) -> None:
    found = read_documents([write(tmp_path / "x" / "a.txt", "1"), write(tmp_path / "y" / "a.txt", "2")])
    assert len({document.id for document in found}) == 2


BROKEN = [
    ("empty.txt", b"  \n", {}, "is an empty text"),
    ("latin.txt", b"caf\xe9", {}, "is not UTF-8 text"),
    ("zero.txt", b"a\x00b", {}, "is no text"),
    ("picture.png", b"not a picture", {}, "is no picture that can be read"),
    ("a.jsonl", b'{"text": "x"}\n{broken', {}, "Line 2 of"),
    ("list.jsonl", b"[1]", {}, "should be a JSON object"),
    ("wrong.jsonl", b'{"body": "x"}', {}, "has no column 'text'"),
    ("number.jsonl", b'{"text": 3}', {}, "should hold text"),
    ("gap.jsonl", b'{"text": ""}', {}, "has an empty text in line 1"),
    ("wrong.csv", b"a,b\n1,2\n", {"text_column": "c"}, "has no column 'c'"),
    ("group.csv", b"text,b\n1,2\n", {"group_by": "column:z"}, "has no column 'z' to group by"),
    ("broken.parquet", b"PAR1 no", {}, "cannot be read as parquet"),
    ("head.csv", b"text,b\n", {}, "holds no document"),
    ("chat.jsonl", b'{"messages": []}', {}, "list of messages"),
    ("part.jsonl", b'{"messages": [{"role": "user", "content": [{"type": "smell"}]}]}', {}, "type 'smell'"),
    (
        "net.jsonl",
        b'{"messages": [{"role": "user", "content": [{"type": "image", "url": "http://x/y.png"}]}]}',
        {},
        "on the network",
    ),
    (
        "gone.jsonl",
        b'{"messages": [{"role": "user", "content": [{"type": "image", "path": "n.png"}]}]}',
        {},
        "is not there",
    ),
    ("text.txt", b"x", {"group_by": "role"}, "no input is a chat"),
    ("text.txt", b"x", {"group_by": "column:a"}, "is no table"),
]


@pytest.mark.parametrize(("name", "content", "options", "words"), BROKEN, ids=[f"{one[0]} {one[3]}" for one in BROKEN])
def test_a_broken_file_is_named_in_one_sentence(
    tmp_path: Path, name: str, content: bytes, options: dict[str, str], words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as fault:
        read_documents([tmp_path / name], InputOptions(**options))  # type: ignore[arg-type]
    said = str(fault.value)
    assert words in said and "\n" not in said and said.endswith(".")
    assert name in said or options.get("group_by") == "role"


def test_missing_path_empty_folder_and_large_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="There is no file and no folder"):
        read_documents([tmp_path / "gone"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no text"):
        read_documents([tmp_path / "empty"])
    monkeypatch.setitem(files_module.LIMITS, "text", 3)
    with pytest.raises(InputError, match="split it"):
        read_documents([write(tmp_path / "big.txt", "four")])


def test_unknown_grouping_and_empty_prompt() -> None:
    for options in ({"group_by": "colour"}, {"group_by": "column:"}, {"prompts": (" ",)}):
        with pytest.raises(InputError):
            InputOptions(**options)  # type: ignore[arg-type]
