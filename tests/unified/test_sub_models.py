"""Sub-models of the unified model: run inside the loaded one, and carved out of its checkpoint, against the model's own reduced passes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from probes import Plan, SubModel, SubModelError
from tests.unified.toy import sizes, toy_model
from workbench.cli import run
from workbench.elastic.carve import carve
from workbench.elastic.gather import carve_in_memory
from workbench.unified import UnifiedConfig, UnifiedForCausalLM
from workbench.unified.batch import make_batch
from workbench.unified.checkpoint import export, load_checkpoint
from workbench.unified.data.mixture import Mixture
from workbench.unified.experts import Reduction
from workbench.unified.generate import Generator
from workbench.unified.sampling import Sampling
from workbench.unified.segments import TASKS, Sample
from workbench.unified.tokenizers.bundle import Tokenizers

KEPT, EXPERTS = (0, 2, 3, 4), (0, 3, 4, 7, 8, 11, 15)  # of 5 layers, the last two with audio heads, and 16 experts
WORDS = "layers=0,2,3,4 experts=0,3,4,7,8,11,15 top_k=1"


def reduction() -> Reduction:
    """The same smaller model, as elastic training runs it: written without the sub-model machinery."""
    present = torch.zeros(16, dtype=torch.bool)
    present[list(EXPERTS)] = True
    return Reduction(top_k=1, experts=dict.fromkeys(range(5), present), layers=frozenset(KEPT))


@pytest.fixture(scope="module")
def checkpoint(tokenizers: Tokenizers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model with trained tokenizers, weights large enough that differences show; float32 on disk."""
    torch.manual_seed(3)
    config = UnifiedConfig(**{**tokenizers.facts(), **sizes(), "initializer_range": 0.2})
    model = UnifiedForCausalLM(config).eval()
    for layer in model.layers:
        torch.nn.init.normal_(layer.moe.router.bias, std=0.3)  # type: ignore[union-attr, arg-type]
    folder = tmp_path_factory.mktemp("model") / "whole"
    export(model, tokenizers, folder, torch.float32)
    (folder / "judges").mkdir()
    (folder / "judges" / "digits.safetensors").write_bytes(b"judge")
    return folder


@pytest.fixture(scope="module")
def carved(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return carve(str(checkpoint), SubModel.parse(WORDS), tmp_path_factory.mktemp("carved") / "small").out


@pytest.fixture(scope="module")
def samples(tokenizers: Tokenizers, data_root: Path) -> list[Sample]:
    data = Mixture(tokenizers, data_root)
    return [data.held_out(task, number) for task in TASKS for number in range(2)]


# ------------------------------------------------------------------ inside the loaded model
def test_losses_of_every_task_equal_a_reduced_pass(
    checkpoint: Path, tokenizers: Tokenizers, samples: list[Sample]
) -> None:
    model, _ = load_checkpoint(checkpoint)
    batch = make_batch(samples, model.config, tokenizers)
    with torch.no_grad():
        full = model(**batch, use_cache=False).losses.token
        expected = model(**batch, use_cache=False, reduction=reduction()).losses.token
        with SubModel.parse(WORDS).applied(model):
            ours = model(**batch, use_cache=False).losses.token
        again = model(**batch, use_cache=False).losses.token
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(ours, full, atol=1e-2) and torch.equal(again, full)


def everything(generator: Generator, samples: list[Sample]) -> list[Any]:
    """What a generator reads and makes, all of it with a cache that grows."""
    settings = Sampling(seed=4, guidance=1.5)
    return [
        generator.answer([samples[2].segments[:1], samples[4].segments[:1]], max_tokens=6),
        generator.draw(["zero", "a handwritten one"], settings=settings),
        generator.draw_clip(["the digit two moves up"], frames=2, settings=settings),
        np.concatenate(generator.speak(["ann says three"], max_steps=5, settings=settings)),
    ]


def test_all_that_is_made_with_a_cache_equals_a_reduced_pass(checkpoint: Path, samples: list[Sample]) -> None:
    model, tokenizers = load_checkpoint(checkpoint)
    expected = everything(Generator(model, tokenizers, reduction()), samples)
    full = everything(Generator(model, tokenizers), samples)
    with SubModel.parse(WORDS).applied(model):
        ours = everything(Generator(model, tokenizers), samples)
    after = everything(Generator(model, tokenizers), samples)
    for one, other, whole, later in zip(ours, expected, full, after, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(later, whole)
    assert any(not np.array_equal(one, whole) for one, whole in zip(ours[1:], full[1:], strict=True))


def test_generate_of_transformers_equals_greedy_passes_without_a_cache() -> None:
    model = toy_model()
    ids = torch.tensor([[1, 20, 21, 30], [1, 25, 17, 33]])
    expected = ids
    with torch.no_grad():
        for _ in range(8):
            logits = model(expected, use_cache=False, reduction=reduction()).logits
            expected = torch.cat([expected, logits[:, -1:].argmax(-1)], 1)
        with SubModel.parse(WORDS).applied(model):
            ours = model.generate(ids, max_new_tokens=8, do_sample=False, eos_token_id=None, pad_token_id=0)
    assert torch.equal(ours, expected)


# ------------------------------------------------------------------ carved
JUDGE = """
import sys, torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
import workbench.unified
folder, given, out = sys.argv[1:]
model, loading = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
assert not any(loading.values()), loading
ids = load_file(given)["ids"]
with torch.no_grad():
    logits = model.eval()(ids, use_cache=False).logits
written = model.generate(ids, max_new_tokens=5, do_sample=False, eos_token_id=None, pad_token_id=0)
words = AutoTokenizer.from_pretrained(folder)("a cat", return_tensors="pt").input_ids
save_file({"logits": logits.contiguous(), "written": written, "words": words}, out)
"""


def test_a_carved_checkpoint_loads_by_itself_and_is_the_sub_model(
    checkpoint: Path, carved: Path, tokenizers: Tokenizers, tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    model, _ = load_checkpoint(checkpoint)
    ids = torch.randint(16, 300, (2, 9), generator=torch.Generator().manual_seed(1))
    save_file({"ids": ids}, tmp_path / "ids")
    done = subprocess.run(
        [sys.executable, "-c", JUDGE, str(carved), str(tmp_path / "ids"), str(tmp_path / "out")],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert not done.returncode, done.stderr[-2000:]
    found = load_file(tmp_path / "out")
    with torch.no_grad(), SubModel.parse(WORDS).applied(model):
        logits = model(ids, use_cache=False).logits
        written = model.generate(ids, max_new_tokens=5, do_sample=False, eos_token_id=None, pad_token_id=0)
    torch.testing.assert_close(found["logits"], logits, rtol=1e-5, atol=1e-5)
    assert torch.equal(found["written"], written)
    assert found["words"][0].tolist() == [1, *tokenizers.text.encode("a cat")]  # the beginning of every sequence


def test_a_carved_checkpoint_keeps_what_is_beside_its_weights(
    checkpoint: Path, carved: Path, samples: list[Sample]
) -> None:
    for folder in ("tokenizers", "judges"):
        names = sorted(file.relative_to(checkpoint) for file in (checkpoint / folder).rglob("*") if file.is_file())
        assert names and all((carved / name).read_bytes() == (checkpoint / name).read_bytes() for name in names)
    small, tokenizers = load_checkpoint(carved)
    assert (small.config.num_hidden_layers, small.config.num_experts, small.config.num_experts_per_tok) == (4, 7, 1)
    whole, _ = load_checkpoint(checkpoint)
    with SubModel.parse(WORDS).applied(whole):
        expected = everything(Generator(whole, tokenizers), samples)
    for one, other in zip(everything(Generator(small, tokenizers), samples), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_gathered_in_memory_is_the_carved_model(checkpoint: Path, carved: Path) -> None:
    model, _ = load_checkpoint(checkpoint)
    small = carve_in_memory(model, SubModel.parse(WORDS).plan(model))
    stored = load_checkpoint(carved)[0].state_dict()
    assert small.state_dict().keys() == stored.keys()
    assert all(torch.equal(tensor, stored[name]) for name, tensor in small.state_dict().items())
    assert small.layers[0].moe.experts.gate_up.shape[0] == small.layers[3].moe.router.bias.shape[0] == 7


def test_a_layer_with_an_audio_head_stays(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "small"
    assert run(["carve", "--model", str(checkpoint), "--sub-model", "layers=first:4", "--out", str(out)]) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(said) == 1 and "Layer 4" in said[0] and "head of audio level 1" in said[0]
    assert not out.exists() and not list(tmp_path.iterdir())
    model, _ = load_checkpoint(checkpoint)
    plan = SubModel.parse("layers=0,2,3,4").plan(model)
    by_hand = Plan({"text": (0, 1, 2, 3)}, plan.experts, plan.top_k)
    with pytest.raises(SubModelError, match="head of audio level 1"):
        carve_in_memory(model, by_hand)


def test_a_carved_model_recovers_on_samples_of_every_kind(
    tokenizers: Tokenizers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a bfloat16 checkpoint, as trained ones are: the fine-tune lowers its own held-out loss, and routers stay in float32."""
    torch.manual_seed(3)
    model = UnifiedForCausalLM(UnifiedConfig(**{**tokenizers.facts(), **sizes()}))
    export(model, tokenizers, tmp_path / "whole")
    inputs = Path(__file__).resolve().parents[2] / "sample_data" / "inputs" / "unified"
    out = tmp_path / "small"
    status = run(
        ["carve", "--model", str(tmp_path / "whole"), "--sub-model", "layers=even:4", "--recover", "20", "--recover-rate", "0.01",
         "--input", str(inputs / "pictures"), "--input", str(inputs / "texts"), "--out", str(out), "--json"]
    )  # fmt: skip
    assert status == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["recovery"]
    assert found["documents"] + found["held_out"] == 34 and found["loss_after"] < 0.9 * found["loss_before"]
    assert "nats a prediction" in (out / "README.md").read_text()
    before, after = load_file(tmp_path / "whole" / "model.safetensors"), load_file(out / "model.safetensors")
    assert {name: value.dtype for name, value in after.items() if name in before} == {
        name: before[name].dtype for name in after if name in before
    }
    assert after["layers.0.moe.router.weight"].dtype == torch.float32 and after["embed.weight"].dtype == torch.bfloat16
    assert not torch.equal(after["embed.weight"], before["embed.weight"])
    assert load_checkpoint(out)[0].config.num_hidden_layers == 4
