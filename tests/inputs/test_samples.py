"""The sample texts and chats that the project ships: small, whole, and each with its source and licence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from workbench.inputs import InputOptions, read_documents
from workbench.training.sample_recipe import KINDS

SAMPLES = Path(__file__).resolve().parents[2] / "sample_data" / "inputs"


@pytest.mark.parametrize("kind", KINDS)
def test_every_text_is_small_and_names_its_source_and_licence(kind: str) -> None:
    files = sorted((SAMPLES / "kinds" / kind).iterdir())
    readme = (SAMPLES / "README.md").read_text(encoding="utf-8")
    assert len(files) == 10
    for file in files:
        assert 1500 <= len(file.read_text(encoding="utf-8").encode()) <= 4096
        (line,) = [row for row in readme.splitlines() if f"`{kind}/{file.name}`" in row]
        source, licence = (cell.strip() for cell in line.split("|")[2:4])
        assert source and licence


def test_all_samples_together_are_small() -> None:
    assert sum(file.stat().st_size for file in SAMPLES.rglob("*") if file.is_file()) < 250_000


def test_chats_are_read_with_their_groups() -> None:
    file = SAMPLES / "chats.jsonl"
    chats = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    read = read_documents([file], InputOptions(group_by="group"))
    assert 8 <= len(chats) == len(read) and len({chat["id"] for chat in chats}) == len(chats)
    for chat, document in zip(chats, read, strict=True):
        assert document.group == chat["group"]
        roles = [message.role for message in document.messages]
        assert roles == (["user", "assistant"] * len(roles))[: len(roles)] and len(roles) >= 2
        for message, given in zip(document.messages, chat["messages"], strict=True):
            assert message.role == given["role"] and message.text == given["content"][0]["text"]
