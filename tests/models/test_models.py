"""Models: found by name, described from their files, refused in one sentence; the list of families against transformers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tiny_model import EXPERTS, LAYERS, TOP_K, save_model
from workbench.models import (
    LoadOptions,
    ModelError,
    NotEnoughMemoryError,
    estimate_memory,
    families,
    find_model,
    load_model,
)
from workbench.models.families import experts_of
from workbench.models.files import list_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("models") / "tiny")


def test_a_folder_is_loaded_and_described(folder: Path) -> None:
    loaded = load_model(str(folder), LoadOptions(device="cpu"))
    assert not loaded.model.training and loaded.info.id == "tiny" and loaded.info.family == "mixtral"
    assert loaded.info.parameters == sum(weight.numel() for weight in loaded.model.parameters())
    assert loaded.modalities == frozenset() and "device cpu" in loaded.reason


def test_the_estimate_counts_the_stored_weights(folder: Path) -> None:
    from safetensors.torch import load_file

    stored = sum(weight.numel() for weight in load_file(folder / "model.safetensors").values())
    for dtype, size in (("float32", 4), ("bfloat16", 2)):
        estimate = estimate_memory(str(folder), LoadOptions(device="cpu", dtype=dtype))
        assert estimate.parameters == stored and estimate.weights == stored * size and estimate.total > estimate.weights


def test_listing_reads_the_configuration_alone(folder: Path) -> None:
    found = list_model(folder, "tiny", "embedded")
    assert found is not None and found.experts == (EXPERTS, TOP_K, LAYERS)


def test_dense_configurations_have_no_experts() -> None:
    assert experts_of({"model_type": "llama", "num_hidden_layers": 2}) is None
    assert experts_of({"model_type": "gemma4_text", "enable_moe_block": False, "num_experts": 8}) is None
    assert (
        experts_of({"model_type": "qwen3_vl_moe", "text_config": {"num_experts": 8, "num_experts_per_tok": 2}})
        is not None
    )


def test_a_dense_model_is_refused_before_its_weights_are_read(tmp_path: Path) -> None:
    from transformers import LlamaConfig

    LlamaConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=8
    ).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x02\x00\x00\x00\x00\x00\x00\x00{}")
    with pytest.raises(ModelError, match="dense|expert"):
        load_model(str(tmp_path), LoadOptions(device="cpu"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("cut", "cut off"),
        ("no weights", "no \\*.safetensors"),
        ("pickle", "workbench convert"),
        ("remote code", "never runs"),
        ("unknown type", "knows no model type"),
        ("no config", "has no config.json"),
        ("broken config", "cannot be read as JSON"),
    ],
)
def test_broken_folders_are_one_sentence(tmp_path: Path, change: str, words: str) -> None:
    folder = save_model(tmp_path / "m")
    weights, config = folder / "model.safetensors", folder / "config.json"
    fields = json.loads(config.read_text())
    if change == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif change == "no weights":
        weights.unlink()
    elif change == "pickle":
        weights.rename(folder / "pytorch_model.bin")
    elif change == "remote code":
        config.write_text(json.dumps({**fields, "model_type": "mine", "auto_map": {"AutoModel": "x.Y"}}))
    elif change == "unknown type":
        config.write_text(json.dumps({**fields, "model_type": "mine"}))
    elif change == "no config":
        config.unlink()
    else:
        config.write_text("{")
    with pytest.raises(ModelError, match=words) as fault:
        load_model(str(folder), LoadOptions(device="cpu"))
    assert "\n" not in str(fault.value)


def test_names_that_stand_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("x")
    for name in ("./nowhere/at/all", str(tmp_path / "file.txt"), "../up"):
        with pytest.raises(ModelError):
            find_model(name)


def test_too_large_a_model_is_refused_with_numbers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from workbench.models import memory

    monkeypatch.setattr(memory, "host_memory", lambda: 1000)
    with pytest.raises(NotEnoughMemoryError, match="MB"):
        load_model(str(folder), LoadOptions(device="cpu"))


@pytest.mark.parametrize("options", [{"dtype": "int3"}, {"device": "tpu"}, {"quantize": "2bit"}])
def test_unknown_choices(folder: Path, options: dict[str, str]) -> None:
    with pytest.raises(ModelError, match="must be"):
        load_model(str(folder), LoadOptions(**options))  # type: ignore[arg-type]


def test_every_family_is_a_type_of_the_installed_transformers() -> None:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    assert set(families()) <= set(CONFIG_MAPPING_NAMES)
