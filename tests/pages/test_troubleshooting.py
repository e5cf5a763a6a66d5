"""The headings of docs/troubleshooting.md are beginnings of messages that the program really has."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEADINGS = re.findall(
    r"^### (.+)$", (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8"), flags=re.MULTILINE
)


def messages() -> set[str]:
    """Every text of the program, with "…" where a value is filled in."""
    found = set()
    for place in ("workbench", "probes", "pages"):
        for file in (ROOT / place).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    found.add(
                        "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
                    )
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.add(node.value.replace("%s", "…"))  # of a warning, filled in by logging
    return found


MESSAGES = messages()


@pytest.mark.parametrize("heading", HEADINGS)
def test_heading_begins_a_message(heading: str) -> None:
    assert any(message.startswith(heading) for message in MESSAGES), heading


def test_the_check_can_fail() -> None:
    assert len(HEADINGS) > 20
    assert not any(message.startswith("No message begins like this") for message in MESSAGES)
