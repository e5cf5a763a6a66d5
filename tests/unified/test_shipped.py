"""The unified model that ships: it loads as anybody would load it, reads what it never saw far above chance, and its folder is whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from workbench.analysis.significance import NullName, significance_table
from workbench.capture import DEFAULT_GROUPS, Capture
from workbench.unified.checkpoint import load_checkpoint
from workbench.unified.data.words import DIGITS, GARMENTS, find_name
from workbench.unified.files import prompt_of_file
from workbench.unified.generate import Generator
from workbench.unified.sampling import Sampling

SAMPLES = Path(__file__).resolve().parents[2] / "sample_data"
CHECKPOINT = SAMPLES / "checkpoints" / "omni-mini"


@pytest.fixture(scope="module")
def generator() -> Generator:
    return Generator(*load_checkpoint(CHECKPOINT))


def test_the_folder_is_whole_and_small() -> None:
    names = {path.relative_to(CHECKPOINT).as_posix() for path in CHECKPOINT.rglob("*") if path.is_file()}
    assert {"README.md", "LICENSE", "curves.csv", "config.json", "model.safetensors"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl", ".pickle"))]
    assert sum((CHECKPOINT / name).stat().st_size for name in names) <= 35_000_000


def test_transformers_loads_it() -> None:
    from transformers import AutoModelForCausalLM

    import workbench.unified  # noqa: F401 - makes the type known

    model = AutoModelForCausalLM.from_pretrained(CHECKPOINT)
    assert model.config.num_experts_per_tok * 16 <= model.config.num_experts


def test_it_reads_pictures_that_it_never_saw(generator: Generator) -> None:
    """Test pictures of ten garments and digits of another collection; 14 of 30 by chance alone is a matter of one in a million."""
    files = sorted((SAMPLES / "inputs" / "unified" / "pictures").glob("*.png"))
    said = generator.answer(
        [(prompt_of_file(file, generator.tokenizers),) for file in files],
        max_tokens=12,
        settings=Sampling(greedy=True),
    )
    names = (*DIGITS, *GARMENTS)
    right = sum(names[find_name(text, names)] in file.stem.split("-") for text, file in zip(said, files, strict=True))
    assert len(files) == 30 and right >= 14, list(zip([file.stem for file in files], said, strict=True))


def test_it_draws_the_size_and_range_of_a_picture(generator: Generator) -> None:
    drawn = generator.draw(["a handwritten three"] * 2, settings=Sampling(temperature=0.7, guidance=1.5))
    assert drawn.shape == (2, 3, 32, 32) and drawn.dtype == np.uint8
    assert drawn.max() > 150 and np.median(drawn) < 60  # bright strokes on a dark ground


@pytest.mark.parametrize("name", ["omni", "omni-untrained"])
def test_its_captures_hold_the_six_groups(name: str) -> None:
    capture = Capture.load(SAMPLES / "captures" / name)
    capture.validate()
    counted = capture.token_count.sum(0)
    assert all(counted[capture.group_index(group.name)] > 0 for group in DEFAULT_GROUPS)


@pytest.mark.parametrize("null", ["labels", "untrained"])
def test_its_groups_route_apart_beyond_permuted_labels_and_untrained_weights(null: NullName) -> None:
    """In most of the seven layers most of the fifteen pairs of groups differ from what the null gives (Jensen-Shannon)."""
    trained, untrained = (Capture.load(SAMPLES / "captures" / name) for name in ("omni", "omni-untrained"))
    table = significance_table(trained, "Jensen-Shannon", null=null, untrained=untrained, resamples=200, draws=200)
    assert table.p_adjusted.shape == (7, 15)
    beyond = (table.p_adjusted <= 0.05).sum(1)
    assert (beyond > 7).sum() > 3, beyond
