"""Loading models: what is loaded and why, and what is refused, each in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tiny_model import save_model
from workbench.capture import WorkbenchError
from workbench.models import LoadOptions, ModelError, load_model


def test_a_folder_is_loaded_and_described(folder: Path) -> None:
    loaded = load_model(str(folder), LoadOptions(device="cpu"))
    assert not loaded.model.training and loaded.tokenizer is not None and loaded.modalities == frozenset()
    assert (loaded.info.id, loaded.info.family, loaded.info.architecture) == ("tiny", "mixtral", "MixtralForCausalLM")
    assert loaded.info.parameters == sum(weight.numel() for weight in loaded.model.parameters())
    assert "device cpu" in loaded.reason and "float32, because" in loaded.reason


def test_what_does_not_fit_is_refused_with_numbers_unless_forced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.models.memory.host_memory", lambda: 1000)
    with pytest.raises(WorkbenchError, match="needs about .* free on cpu.*--force"):
        load_model(str(folder), LoadOptions(device="cpu"))
    assert load_model(str(folder), LoadOptions(device="cpu", force=True)).model is not None


def test_a_dense_model_is_refused_before_its_weights_are_read(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"never read")
    with pytest.raises(ModelError, match="dense model"):
        load_model(str(tmp_path))


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


def test_remote_code_is_never_run(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "own_thing", "auto_map": {"AutoConfig": "own.Config"}})
    )
    (tmp_path / "own.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(ModelError, match="own Python code"):
        load_model(str(tmp_path))


def test_missing_weights_are_not_filled_with_random_ones(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = load_file(tmp_path / "model.safetensors")
    gone = next(name for name in tensors if "gate" in name)
    save_file(
        {name: value for name, value in tensors.items() if name != gone},
        tmp_path / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(ModelError, match="random"):
        load_model(str(tmp_path))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"dtype": "int3"}, "--dtype"),
        ({"device": "tpu"}, "--device"),
        ({"quantize": "2bit"}, "--quantize"),
        ({"device": "cuda:99"}, "cuda"),
    ],
)
def test_wrong_options_are_named(folder: Path, options: dict[str, str], sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        load_model(str(folder), LoadOptions(**options))
