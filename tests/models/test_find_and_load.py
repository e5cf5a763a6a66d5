"""Finding and loading models: what is refused, with which sentence, and what an estimate is made of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import tiny_model
from workbench.capture import WorkbenchError
from workbench.models import (
    LoadOptions,
    ModelError,
    Workload,
    embedded_models,
    estimate_memory,
    families,
    find_model,
    load_model,
)
from workbench.models.families import experts_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.save_model(tmp_path_factory.mktemp("models") / "tiny")


def test_a_folder_loads_with_tokenizer_and_reason(folder: Path) -> None:
    loaded = load_model(str(folder), LoadOptions(device="cpu"))
    assert loaded.info.id == "tiny"
    assert loaded.info.architecture == "MixtralForCausalLM"
    assert not loaded.model.training
    assert loaded.tokenizer is not None
    assert "float32, because" in loaded.reason


def test_the_estimate_counts_the_weights(folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    stored = sum(parameter.numel() for parameter in AutoModelForCausalLM.from_pretrained(folder).parameters())
    for dtype, size in (("float32", 4), ("bfloat16", 2)):
        found = estimate_memory(str(folder), LoadOptions(dtype=dtype, device="cpu"))
        assert (found.parameters, found.weights) == (stored, stored * size)
    small, large = (estimate_memory(str(folder), LoadOptions(), Workload(rows, 64)).activations for rows in (1, 8))
    assert large == 8 * small


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


def test_pickled_weights_point_to_convert(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match="workbench convert"):
        load_model(str(tmp_path))
    (tmp_path / "pytorch_model.bin").unlink()
    with pytest.raises(ModelError, match="no \\*.safetensors weights"):
        load_model(str(tmp_path))


def test_weights_cut_in_half_are_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    whole = (folder / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="cut off"):
        load_model(str(tmp_path))


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
    ("name", "sentence"), [("./not/here", "no folder"), ("a/b/c", "no folder"), ("../x", "no folder")]
)
def test_names_that_are_nothing(name: str, sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        find_model(name)


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


def test_every_family_is_one_that_transformers_knows() -> None:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    assert not [family for family in families() if family not in CONFIG_MAPPING_NAMES]


@pytest.mark.parametrize(
    ("config", "experts"),
    [
        ({"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2}, (8, 2)),
        ({"model_type": "llama", "hidden_size": 8}, None),
        ({"model_type": "gemma4_text", "enable_moe_block": False, "num_experts": 8}, None),
        (
            {
                "model_type": "qwen3_vl_moe",
                "text_config": {"model_type": "qwen3_vl_moe_text", "num_experts": 4, "num_experts_per_tok": 1},
            },
            (4, 1),
        ),
        ({"model_type": "dbrx", "ffn_config": {"moe_num_experts": 16, "moe_top_k": 4}}, (16, 4)),
    ],
)
def test_experts_of_a_config(config: dict[str, object], experts: tuple[int, int] | None) -> None:
    found = experts_of(config)
    assert (None if found is None else (found.experts, found.top_k)) == experts


def test_the_embedded_model_is_listed() -> None:
    assert [model.name for model in embedded_models()] == ["kinds-moe"]
