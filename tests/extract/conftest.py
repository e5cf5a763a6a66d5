"""The rule engine of the tests as an installed plug-in."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PLUGIN = Path(__file__).resolve().parent / "plugin"


@pytest.fixture
def rule_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put the plug-in on the path of this process and of those it starts."""
    monkeypatch.syspath_prepend(str(PLUGIN))
    monkeypatch.setenv("PYTHONPATH", str(PLUGIN))
    yield
    sys.modules.pop("rule_engine", None)
