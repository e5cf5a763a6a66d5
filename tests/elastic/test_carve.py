"""Carving: bytes, shards, what is copied, what is refused, and that nothing half-written is left."""

from __future__ import annotations

import json
import tracemalloc
from itertools import product
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from probes import SubModel
from tests.elastic.carved import save_tiny
from tests.tiny_model import save_model
from workbench.capture.errors import CaptureError
from workbench.elastic import carve as carve_module
from workbench.elastic import stored
from workbench.elastic.carve import carve
from workbench.elastic.errors import CarveError
from workbench.elastic.families import _interval, _periods
from workbench.elastic.names import understand
from workbench.elastic.stored import rows, whole, write_pieces
from workbench.models.files import stored_tensors

HALF = SubModel.parse("layers=0 experts=1,3 top_k=1")


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ------------------------------------------------------------------ bytes
def test_cut_rows_are_those_that_torch_selects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "BUFFER", 100)  # many buffers a tensor
    tensors = {
        "wide": torch.randn(8, 6, 10),
        "half": torch.randn(8, 3).to(torch.bfloat16),
        "eighth": torch.randn(8, 5).to(torch.float8_e4m3fn),
        "packed": torch.randint(0, 255, (8, 4, 3), dtype=torch.uint8),
        "bias": torch.randn(1, 8),
        "whole": torch.randn(7),
    }
    source, target = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_file(tensors, source)
    kept = (0, 1, 4, 7)
    pieces = []
    for tensor in stored_tensors(source):
        if tensor.name == "whole":
            pieces.append(whole(tensor, source, "whole"))
        else:
            pieces.append(rows(tensor, source, tensor.name, 1 if tensor.name == "bias" else 0, kept))
    counted: list[int] = []
    write_pieces(pieces, target, counted.append)
    found = load_file(target)
    for name, tensor in tensors.items():
        axis = 1 if name == "bias" else 0
        expected = tensor if name == "whole" else tensor.view(torch.uint8 if name == "eighth" else tensor.dtype)
        if name != "whole":
            expected = expected.index_select(axis, torch.tensor(kept)).view(tensor.dtype)
        assert found[name].dtype == tensor.dtype and torch.equal(
            found[name].view(torch.uint8), expected.contiguous().view(torch.uint8)
        )
    assert sum(counted) == sum(piece.size for piece in pieces) and max(counted) <= 100
    with safe_open(target, "pt") as handle:
        assert handle.metadata() == {"format": "pt"}


def test_memory_stays_small_however_large_the_tensor(tmp_path: Path) -> None:
    source = tmp_path / "a.safetensors"
    save_file({"experts": torch.zeros(16, 1024, 1024)}, source)  # 64 MB
    tensor = stored_tensors(source)[0]
    tracemalloc.start()
    write_pieces([rows(tensor, source, "experts", 0, range(8))], tmp_path / "b.safetensors", lambda count: None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16e6
    assert (tmp_path / "b.safetensors").stat().st_size > 32e6


def test_names_are_understood() -> None:
    assert understand("model.layers.3.mlp.experts.12.gate_proj.weight_scale_inv").expert == 12
    assert understand("model.layers.3.mlp.experts.gate_up_proj_blocks").kind == "fused"
    assert understand("model.layers.3.block_sparse_moe.gate.weight").kind == "router"
    assert understand("language_model.model.layers.3.feed_forward.router.weight").kind == "router"
    assert understand("model.language_model.layers.3.feed_forward.experts.down_proj").kind == "fused"
    assert understand("vision_model.model.layers.3.mlp.fc1.weight").kind == "other"
    assert understand("model.layers.3.mlp.shared_expert_gate.weight").kind == "dense"
    assert not understand("model.layers.3.mlp.experts_of_a_new_kind.weight").known
    assert not understand("model.layers.3.mlp.gate.unheard_of").known


# ------------------------------------------------------------------ schedules, by brute force
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_an_interval_is_found_exactly_where_there_is_one(count: int) -> None:
    def says(step: int, first: int, last: int) -> list[bool]:
        return [(new + 1) % step == 0 and first <= new <= last for new in range(count)]

    possible = {tuple(says(*it)) for it in product(range(1, count + 2), range(count + 1), range(-1, count))}
    for pattern in product([False, True], repeat=count):
        if tuple(pattern) in possible:
            found = _interval({}, range(count), pattern)
            assert says(
                found["moe_layer_interval"], found["moe_layer_start_index"], found["moe_layer_end_index"]
            ) == list(pattern)
        else:
            with pytest.raises(CarveError, match="cannot say"):
                _interval({}, range(count), pattern)


def test_periods_are_found_exactly_where_there_are_some() -> None:
    config = {"attn_layer_period": 4, "attn_layer_offset": 1}
    for kept in ([0, 1, 2, 3], [1, 5], [0, 2], [1, 2, 3, 5, 6, 7], [0, 1, 5, 6], [1, 4, 5]):
        sparse = [layer % 2 == 1 for layer in kept]
        attention = [layer % 4 == 1 for layer in kept]

        def possible(wanted: list[bool], kept: list[int] = kept) -> bool:
            periods = range(1, len(kept) + 2)
            return any([new % p == o for new in range(len(kept))] == wanted for p in periods for o in range(p))

        if possible(sparse) and possible(attention):
            found = _periods(config, kept, sparse)
            for name, wanted in (("expert_layer", sparse), ("attn_layer", attention)):
                period, offset = found[f"{name}_period"], found[f"{name}_offset"]
                assert offset < period and [new % period == offset for new in range(len(kept))] == wanted
        else:
            with pytest.raises(CarveError, match="a period"):
                _periods(config, kept, sparse)


# ------------------------------------------------------------------ a folder
def test_what_stands_beside_the_weights_comes_along(tmp_path: Path) -> None:
    source = save_model(tmp_path / "full")
    (source / "LICENSE").write_text("Do as you like.")
    (source / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    (source / "code.py").write_text("raise SystemExit")
    done = carve(str(source), HALF, tmp_path / "small")
    names = left_in(tmp_path / "small")
    assert {
        "LICENSE",
        "tokenizer.json",
        "generation_config.json",
        "config.json",
        "carve.json",
        "model.safetensors",
    } <= set(names)
    assert "code.py" not in names
    card = (tmp_path / "small" / "README.md").read_text()
    assert (
        card.startswith("---\nlicense: mit\n---\n# A model\n") and "1 of 2 layers" in card and "2 of 4 experts" in card
    )
    told = json.loads((tmp_path / "small" / "carve.json").read_text())
    assert told["experts_kept"] == {"0": [1, 3]} and told["layers_kept"] == [0] and told["sub_model"] == str(HALF)
    config = json.loads((tmp_path / "small" / "config.json").read_text())
    assert (config["num_hidden_layers"], config["num_local_experts"], config["num_experts_per_tok"]) == (1, 2, 1)
    full, small = load_file(source / "model.safetensors"), load_file(tmp_path / "small" / "model.safetensors")
    for new, old in enumerate((1, 3)):
        name = "model.layers.0.block_sparse_moe.experts.{}.w2.weight"
        assert torch.equal(small[name.format(new)], full[name.format(old)])
    gate = "model.layers.0.block_sparse_moe.gate.weight"
    assert torch.equal(small[gate], full[gate][[1, 3]])
    assert done.tensors == len(small) and not any(".layers.1." in name for name in small)


def test_shards_stay_shards(tmp_path: Path) -> None:
    save_tiny("mixtral", tmp_path / "full", max_shard_size="100KB")
    before = sorted((tmp_path / "full").glob("*.safetensors"))
    assert len(before) > 2
    carve(str(tmp_path / "full"), SubModel.parse("layers=1,2 experts=0,5"), tmp_path / "small")
    index = json.loads((tmp_path / "small" / "model.safetensors.index.json").read_text())
    files = sorted(path.name for path in (tmp_path / "small").glob("*.safetensors"))
    assert sorted(set(index["weight_map"].values())) == files and len(files) > 1
    for name, file in index["weight_map"].items():
        with safe_open(tmp_path / "small" / file, "pt") as handle:
            assert name in handle.keys()  # noqa: SIM118 - no mapping
    from transformers import AutoModelForCausalLM

    _, loading = AutoModelForCausalLM.from_pretrained(tmp_path / "small", output_loading_info=True)
    assert not loading["missing_keys"] and not loading["unexpected_keys"]


def test_lists_of_a_quantised_configuration_follow_the_layers() -> None:
    from workbench.elastic.cut import Cut, _renamed_lists

    cut = Cut("qwen3_moe", (0, 2), 3, {0: (0,), 2: (0,)}, 2, 1)
    old = {
        "quant_method": "fp8",
        "modules_to_not_convert": ["lm_head", "model.layers.1.mlp.gate", "model.layers.2.mlp.gate", "model.layers.*.x"],
    }
    assert _renamed_lists(old, cut)["modules_to_not_convert"] == [
        "lm_head",
        "model.layers.1.mlp.gate",
        "model.layers.*.x",
    ]


def test_layers_for_predicting_ahead_go(tmp_path: Path) -> None:
    """DeepSeek-V3 files hold a layer behind the last one, which transformers does not load."""
    save_tiny("deepseek_v3", tmp_path / "full")
    file = tmp_path / "full" / "model.safetensors"
    tensors = load_file(file)
    tensors["model.layers.4.eh_proj.weight"] = torch.zeros(2, 2)
    save_file(tensors, file, metadata={"format": "pt"})
    config = json.loads((tmp_path / "full" / "config.json").read_text()) | {"num_nextn_predict_layers": 1}
    (tmp_path / "full" / "config.json").write_text(json.dumps(config))
    carve(str(tmp_path / "full"), SubModel(layers="first:3"), tmp_path / "small")
    assert not any("eh_proj" in name for name in load_file(tmp_path / "small" / "model.safetensors"))
    assert json.loads((tmp_path / "small" / "config.json").read_text())["num_nextn_predict_layers"] == 0


# ------------------------------------------------------------------ refusals, each one sentence and nothing left
def refused(model: Path, spec: str, out: Path, words: str) -> None:
    with pytest.raises(Exception, match=words) as caught:
        carve(str(model), SubModel.parse(spec), out)
    from workbench.capture.errors import WorkbenchError

    assert isinstance(caught.value, WorkbenchError) and str(caught.value).rstrip().endswith(".")
    assert "\n" not in str(caught.value) and not out.exists()
    assert not [path for path in out.parent.iterdir() if path.name.endswith(".tmp")]


def test_uneven_and_impossible_sub_models_are_refused(tmp_path: Path) -> None:
    source, out = save_model(tmp_path / "full"), tmp_path / "small"
    refused(source, "experts@text_0_mlp=0-1", out, "one number of experts")
    refused(source, "top_k@text_0_mlp=1", out, "one number of top-k")
    refused(source, "experts=2", out, "only 1 are left")
    refused(source, "layers=5", out, "layers are 0 to 1")
    with pytest.raises(Exception, match="zero layers"):
        SubModel.parse("layers=first:0")


def test_groups_and_patterns_that_no_configuration_can_say_are_refused(tmp_path: Path) -> None:
    save_tiny("deepseek_v3", tmp_path / "groups")
    refused(tmp_path / "groups", "experts=0,1,2,4,5", tmp_path / "small", "every group that it keeps")
    save_tiny("jamba", tmp_path / "periods")
    refused(tmp_path / "periods", "layers=0,1,3", tmp_path / "small", "by a period")
    save_tiny("ernie4_5_moe", tmp_path / "interval")
    carve(str(tmp_path / "interval"), SubModel(layers=(0, 3)), tmp_path / "fine")


def test_other_families_and_files_are_refused_by_name(tmp_path: Path) -> None:
    save_tiny("phimoe", tmp_path / "phi")
    refused(tmp_path / "phi", "layers=0", tmp_path / "small", "type 'phimoe' cannot be carved yet")
    source = save_model(tmp_path / "full")
    tensors = load_file(source / "model.safetensors")
    del tensors["model.layers.0.block_sparse_moe.experts.3.w1.weight"]
    gone = {name: tensor for name, tensor in tensors.items() if "experts.3." not in name}
    save_file(gone, source / "model.safetensors", metadata={"format": "pt"})
    refused(source, "layers=0 experts=1,3", tmp_path / "small", "lack weights of layer 0")
    file = source / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    refused(source, "layers=0", tmp_path / "small", "is cut off")


def test_an_interrupted_carve_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = save_model(tmp_path / "full")
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 3

    with pytest.raises(CarveError, match="stopped on request, and nothing was kept"):
        carve(str(source), HALF, tmp_path / "small", cancelled=stop)
    assert left_in(tmp_path) == ["full"]

    def press(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carve(str(source), HALF, tmp_path / "small", progress=press)
    assert left_in(tmp_path) == ["full"]


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = save_model(tmp_path / "full")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(carve_module, "write_pieces", full)
        with pytest.raises(CaptureError, match="is full"):
            carve(str(source), HALF, tmp_path / "small")
    assert left_in(tmp_path) == ["full"]
    with monkeypatch.context() as patch:
        patch.setattr(carve_module, "SPARE_BYTES", 10**18)
        with pytest.raises(CarveError, match="MB free, so nothing was written"):
            carve(str(source), HALF, tmp_path / "small")
    assert left_in(tmp_path) == ["full"]
    (tmp_path / "small").mkdir()
    with pytest.raises(CarveError, match="exists already"):
        carve(str(source), HALF, tmp_path / "small")


def test_a_failing_recovery_leaves_nothing(tmp_path: Path) -> None:
    source = save_model(tmp_path / "full")

    def finish(folder: Path) -> str:
        assert (folder / "model.safetensors").is_file()
        raise CarveError("It did not work.")

    with pytest.raises(CarveError, match="It did not work"):
        carve(str(source), HALF, tmp_path / "small", finish=finish)
    assert left_in(tmp_path) == ["full"]
