"""Files of any modality to documents, grouped as asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from workbench.inputs.chats import read_messages
from workbench.inputs.documents import DEFAULT_PROMPTS, MODALITIES, Document, InputError, InputOptions, Message, Part
from workbench.inputs.files import Source, find_sources
from workbench.inputs.media import check_media
from workbench.inputs.texts import has_text_column, read_rows, read_text, text_of, value_of


@dataclass(frozen=True)
class Inputs:
    """What was read.

    Attributes:
        documents: in the order of the files.
        files: number of files read.
        skipped: files of a named folder that are of no kind that is known.
    """

    documents: tuple[Document, ...]
    files: int
    skipped: int


def read_documents(paths: Sequence[str | Path], options: InputOptions | None = None) -> list[Document]:
    """The documents of files and folders; see `read_inputs`."""
    return list(read_inputs(paths, options).documents)


def read_inputs(paths: Sequence[str | Path], options: InputOptions | None = None) -> Inputs:
    """Read every file that `paths` name; a picture, sound or clip is checked here and decoded when it is run.

    Raises:
        InputError: naming the file, for anything that cannot be read, and if there is no document.
    """
    options = options or InputOptions()
    sources, skipped = find_sources([Path(path).expanduser() for path in paths])
    documents = [document for source in sources for document in _of_file(source, options)]
    if not documents:
        raise InputError(
            f"{', '.join(repr(str(path)) for path in paths) or '--input'} holds no document: name at least one file with text."
        )
    if options.group_by == "role" and not any(document.messages for document in documents):
        raise InputError(
            "--group-by role groups by the roles of a chat, but no input is a chat: name a jsonl with messages."
        )
    return Inputs(tuple(_unique(documents)), len(sources), skipped)


def _of_file(source: Source, options: InputOptions) -> Iterator[Document]:
    if source.kind in MODALITIES:
        check_media(source.kind, source.path)
        found: Iterator[Document] = _media(source, options)
    elif source.kind == "text" or (
        source.kind == "csv" and options.text_column is None and not has_text_column(source)
    ):
        found = _texts(source, options)
    else:
        found = _rows(source, options)
    return found


def _group(source: Source, options: InputOptions) -> str | None:
    """The group that the place of a file gives to all of it."""
    if options.group_by == "file":
        return source.name
    return source.folder if options.group_by == "folder" else None


def _needs_rows(source: Source, options: InputOptions) -> None:
    if options.column is not None or options.group_by == "group":
        field = options.column or "group"
        raise InputError(
            f"'{source.path}' is no table, so it has no '{field}' to group by: use --group-by file or folder."
        )


def _texts(source: Source, options: InputOptions) -> Iterator[Document]:
    _needs_rows(source, options)
    text = read_text(source)
    if options.lines and source.kind == "text":
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                yield from _prompted(Document(f"{source.name}#{number}", _group(source, options), text=line), options)
        return
    yield from _prompted(Document(source.name, _group(source, options), text=text), options)


def _rows(source: Source, options: InputOptions) -> Iterator[Document]:
    column = options.text_column or "text"
    for number, (where, row) in enumerate(read_rows(source, options), start=1):
        name = row.get("id")
        key = f"{source.name}#{number}" if name is None or name == "" else str(name)
        group = _group(source, options)
        if options.group_by == "group":
            group = value_of(row, where, source, "group")
        elif options.column is not None:
            group = value_of(row, where, source, options.column)
        if options.text_column is None and row.get("messages") is not None:
            yield Document(key, group, messages=read_messages(row["messages"], where, source.path))
        else:
            yield from _prompted(Document(key, group, text=text_of(row, where, source, column)), options)


def _media(source: Source, options: InputOptions) -> Iterator[Document]:
    _needs_rows(source, options)
    prompts = options.prompts or (DEFAULT_PROMPTS[source.kind],)
    for number, prompt in enumerate(prompts, start=1):
        parts = (Part(source.kind, path=source.path), Part("text", text=prompt))
        group = prompt if options.group_by == "prompt" else _group(source, options)
        key = source.name if len(prompts) == 1 else f"{source.name} with prompt {number}"
        yield Document(key, group, messages=(Message("user", parts),), prompt=prompt)


def _prompted(document: Document, options: InputOptions) -> Iterator[Document]:
    """A text once with each prompt, or once without any."""
    if not options.prompts:
        yield replace(document, group="no prompt") if options.group_by == "prompt" else document
        return
    for number, prompt in enumerate(options.prompts, start=1):
        key = document.id if len(options.prompts) == 1 else f"{document.id} with prompt {number}"
        group = prompt if options.group_by == "prompt" else document.group
        yield replace(document, id=key, prompt=prompt, group=group)


def _unique(documents: list[Document]) -> Iterator[Document]:
    seen: dict[str, int] = {}
    for document in documents:
        number = seen[document.id] = seen.get(document.id, 0) + 1
        yield document if number == 1 else replace(document, id=f"{document.id} ({number})")
