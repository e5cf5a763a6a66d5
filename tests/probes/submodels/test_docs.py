"""The code blocks of docs/submodel.md run in order, and its table of families is what the command prints."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from probes import SubModel
from tests.probes.families.catalogue import all_families
from tests.probes.submodels.table import row

PAGE = Path(__file__).resolve().parents[3] / "docs" / "submodel.md"


def test_the_page_does_what_it_says() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 5
    names: dict[str, Any] = {}
    exec(compile("".join(blocks[:2]), str(PAGE), "exec"), names)  # our own page
    plan, capture = names["plan"], names["capture"]
    assert len(plan.layers["text"]) == 3
    assert all(len(kept) == 4 for kept in plan.experts.values())
    for row_of, site in enumerate(capture.sites):
        chosen = set(capture.count[row_of].sum(axis=0).nonzero()[0].tolist())
        assert chosen <= set(plan.experts.get(site.id, ()))
    exec(compile("".join(blocks[2:]), str(PAGE), "exec"), names)
    assert str(names["sub_model"]) == "layers=first:2 experts@text_0_mlp=0-3 top_k=1"
    assert SubModel.parse(names["sub_model"].to_json()) == names["sub_model"]
    assert names["found"].parameters_active < names["found"].parameters_stored < names["found"].full_parameters


def test_the_words_of_the_page_can_be_read() -> None:
    text = PAGE.read_text(encoding="utf-8").split("## Words")[1].split("## What")[0]
    words = [
        word for cell in re.findall(r"^\| (`.*?`) \|", text, re.MULTILINE) for word in re.findall(r"`(.*?)`", cell)
    ]
    words = [word for word in words if "=" in word or word == "full"]
    assert len(words) == 12
    for word in words:
        assert str(SubModel.parse(word)) == word


def test_every_family_is_in_the_table() -> None:
    assert set(table_rows()) == set(all_families())


@pytest.mark.full
@pytest.mark.parametrize("name", all_families())
def test_a_row_of_the_table(name: str) -> None:
    assert table_rows()[name] == row(name)


def table_rows() -> dict[str, str]:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    found = ((re.match(r"\| `(\w+)` \| .* \| .* \| .* \|$", line), line) for line in lines)
    return {match[1]: line for match, line in found if match}
