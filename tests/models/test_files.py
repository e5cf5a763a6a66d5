"""What a name stands for, and what is listed without loading anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny_model import EXPERTS, LAYERS, TOP_K
from workbench.models import ModelError, embedded_models, find_model
from workbench.models.files import list_model


def test_listing_reads_the_configuration_alone(folder: Path) -> None:
    found = list_model(folder, "tiny", "embedded")
    assert found is not None and found.experts == (EXPERTS, TOP_K, LAYERS)


@pytest.mark.parametrize(
    ("name", "sentence"), [("./not/here", "no folder"), ("a/b/c", "no folder"), ("../x", "no folder")]
)
def test_names_that_are_nothing(name: str, sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        find_model(name)


def test_a_file_of_another_kind_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(ModelError, match="is a file of another kind"):
        find_model(str(tmp_path / "file.txt"))


def test_the_embedded_model_is_listed() -> None:
    assert [model.name for model in embedded_models()] == ["omni-mini"]
