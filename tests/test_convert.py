"""Conversion: the same logits afterwards, tied weights once, and a pickle that would run code is refused unrun."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from tests.tiny_model import save_model
from workbench.convert import ConvertError, convert, licence_of
from workbench.models import LoadOptions, ModelError, load_model


def pickled(tmp_path: Path, *, tie: bool = False, shards: int = 1) -> Path:
    """A model folder whose weights are pickles, as older ones are."""
    from transformers import AutoModelForCausalLM

    folder = save_model(tmp_path / "old", tie=tie)
    state = dict(AutoModelForCausalLM.from_pretrained(folder).state_dict())
    for file in folder.glob("*.safetensors"):
        file.unlink()
    if shards == 1:
        torch.save(state, folder / "pytorch_model.bin")
        return folder
    places = {}
    for number in range(shards):
        name = f"pytorch_model-{number + 1:05d}-of-{shards:05d}.bin"
        part = dict(list(state.items())[number::shards])
        torch.save(part, folder / name)
        places |= dict.fromkeys(part, name)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))
    return folder


def logits(folder: Path) -> torch.Tensor:
    loaded = load_model(str(folder), LoadOptions(device="cpu", dtype="float32"))
    with torch.no_grad():
        return loaded.model(input_ids=torch.tensor([[1, 7, 8, 9]])).logits


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_model(str(folder), LoadOptions(device="cpu", dtype="float32")).model.state_dict())


@pytest.mark.parametrize(("tie", "shards"), [(False, 1), (True, 1), (False, 2)])
def test_the_converted_model_computes_the_same(tmp_path: Path, tie: bool, shards: int) -> None:
    expected = logits(save_model(tmp_path / "reference", tie=tie))
    source = pickled(tmp_path, tie=tie, shards=shards)
    with pytest.raises(ModelError, match="workbench convert"):
        load_model(str(source), LoadOptions(device="cpu"))
    done = convert(source, tmp_path / "new")
    torch.testing.assert_close(logits(tmp_path / "new"), expected)
    before, after = weights(tmp_path / "reference"), weights(tmp_path / "new")
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert bool(done.tied) == tie
    assert (tmp_path / "new" / "tokenizer.json").is_file() and not list((tmp_path / "new").glob("*.bin*"))


class _Runs:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def test_a_malicious_pickle_is_refused_and_does_not_run(tmp_path: Path) -> None:
    source = save_model(tmp_path / "bad")
    for file in source.glob("*.safetensors"):
        file.unlink()
    mark = tmp_path / "it ran"
    torch.save({"weight": _Runs(mark)}, source / "pytorch_model.bin")
    with pytest.raises(ConvertError, match="holds more than weights"):
        convert(source, tmp_path / "new")
    assert not mark.exists() and not (tmp_path / "new").exists()
    torch.load(source / "pytorch_model.bin", weights_only=False)  # the trap is a real one
    assert mark.exists()


def test_nothing_to_convert_and_a_cut_file(tmp_path: Path) -> None:
    with pytest.raises(ConvertError, match="there is none at"):
        convert(tmp_path / "gone", tmp_path / "new")
    with pytest.raises(ConvertError, match="safetensors weights already"):
        convert(save_model(tmp_path / "fine"), tmp_path / "new")
    source = pickled(tmp_path)
    whole = (source / "pytorch_model.bin").read_bytes()
    (source / "pytorch_model.bin").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConvertError, match="download it again"):
        convert(source, tmp_path / "new")
    (tmp_path / "taken").mkdir()
    with pytest.raises(ConvertError, match="exists already"):
        convert(source, tmp_path / "taken")


def test_the_licence_is_found(tmp_path: Path) -> None:
    assert licence_of(tmp_path) == "not stated in the folder"
    (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    assert licence_of(tmp_path) == "model card: apache-2.0"
    (tmp_path / "LICENSE").write_text("MIT License\n\nCopyright")
    assert licence_of(tmp_path).startswith("LICENSE: MIT License")
