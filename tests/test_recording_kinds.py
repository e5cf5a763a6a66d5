"""Every kind of model and input, end to end through the command line: GGUF, encoder-decoder, pictures, clips.

The models are tiny and random, of transformers' own classes with their own processors; what is counted is compared with
the router logits that the same model gives by itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tiny_gguf import save_gguf
from tests.tiny_qwen_vl import save_qwen_vl
from workbench import cli
from workbench.capture import Capture

Run = Callable[..., tuple[dict[str, Any], Capture]]
needs_no_torchvision = pytest.mark.skipif(find_spec("torchvision") is not None, reason="torchvision is installed")


def command(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    status = cli.run([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return status, out, err


@pytest.fixture
def capture_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(model: Path, *inputs: object, **options: object) -> tuple[dict[str, Any], Capture]:
        out = tmp_path / "made.capture"
        flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
        code, said, fault = command(
            capsys, "capture", "--model", model, "--input", *inputs, "--out", out, "--device", "cpu", "--json", *flags
        )
        assert code == 0, fault
        return json.loads(said.splitlines()[-1]), Capture.load(out)

    return run


def counts(logits: tuple[torch.Tensor, ...], top_k: int, kept: slice) -> np.ndarray:
    """Tokens per [layer, expert] of router logits [T, E] a layer."""
    found = np.zeros((len(logits), logits[0].shape[-1]), dtype=np.int64)
    for layer, scores in enumerate(logits):
        for expert in scores[kept].topk(top_k, dim=-1).indices.reshape(-1).tolist():
            found[layer, expert] += 1
    return found


def test_a_gguf_file(tmp_path: Path, capture_of: Run) -> None:
    pytest.importorskip("gguf")
    from tests.tiny_gguf import TOP_K, make_model

    file = save_gguf(tmp_path / "tiny.gguf")
    text = tmp_path / "a.txt"
    text.write_text("The cat sat on the mat.", encoding="utf-8")
    _, capture = capture_of(file, text)
    rows = capture.read_tokens("text").to_pandas()
    ids = torch.tensor([rows["token_id"].tolist()])
    assert "".join(rows["piece"]) == "The cat sat on the mat."
    with torch.no_grad():
        logits = make_model()(input_ids=ids, output_router_logits=True).router_logits
    np.testing.assert_array_equal(capture.count[:, capture.group_index("Text")], counts(logits, TOP_K, slice(None)))


def test_an_encoder_decoder_that_writes(tmp_path: Path, capture_of: Run) -> None:
    from transformers import SwitchTransformersConfig, SwitchTransformersForConditionalGeneration

    from tests.tiny_model import save_tokenizer

    torch.manual_seed(0)
    config = SwitchTransformersConfig(
        vocab_size=32, d_model=32, d_kv=16, d_ff=48, num_layers=2, num_sparse_encoder_layers=1, num_decoder_layers=2,
        num_sparse_decoder_layers=1, num_heads=2, num_experts=4, expert_capacity=64, decoder_start_token_id=3, pad_token_id=2,
        eos_token_id=2, router_jitter_noise=0.0,
    )  # fmt: skip
    model = SwitchTransformersForConditionalGeneration(config).eval()
    # Special tokens have no group, and the test wants to see the words.
    model.generation_config.suppress_tokens = [0, 1, 2]
    model.save_pretrained(tmp_path / "switch")
    save_tokenizer(tmp_path / "switch", pad=True)
    text = tmp_path / "a.txt"
    text.write_text("the cat sat on a mat", encoding="utf-8")
    _, capture = capture_of(tmp_path / "switch", text, generate=5)
    assert {site.stack for site in capture.sites} == {"encoder", "decoder"}
    tokens = capture.table("tokens").values.sum(axis=(0, 3))  # [site, phase]
    encoder = [number for number, site in enumerate(capture.sites) if site.stack == "encoder"]
    assert (tokens[encoder, 0] == 6).all() and (tokens[encoder, 1] == 0).all()
    ids = torch.tensor([[1, *range(6, 12)]])
    with torch.no_grad():
        written = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=5, do_sample=False)
    rows = capture.read_tokens("decoder").to_pandas().sort_values("position")
    # What was fed to the decoder: the start token, then all that it wrote but the last.
    assert rows["token_id"].tolist() == written[0, :-1].tolist()
    assert rows["phase"].astype(str).tolist() == ["prefill"] + ["decode"] * (len(rows) - 1)


def test_pictures_through_a_processor(tmp_path: Path, capture_of: Run) -> None:
    from PIL import Image

    model = save_qwen_vl(tmp_path / "vl")
    noise = np.random.default_rng(0).integers(0, 255, (16, 24, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "one.png")
    _, capture = capture_of(model, tmp_path / "one.png")
    rows = capture.read_tokens("text").to_pandas()
    by_group = dict(zip(capture.groups, capture.token_count[0].tolist(), strict=True))
    # 16 x 24 pixels are 4 x 6 patches of 4 x 4, merged 2 x 2.
    assert by_group["Image und."] == 6 and by_group["Video und."] == 0
    assert (rows["modality"].astype(str) == "image").sum() == 6
    words = [piece.strip() for piece in rows.loc[rows["modality"].astype(str) == "text", "piece"]]
    assert [word for word in words if word in ("Describe", "this", "picture")] == ["Describe", "this", "picture"]


@needs_no_torchvision
def test_a_clip_without_its_package_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = save_qwen_vl(tmp_path / "vl")
    (tmp_path / "one.mp4").write_bytes(b"never decoded")
    out = tmp_path / "made.capture"
    code, _, fault = command(capsys, "capture", "--model", model, "--input", tmp_path / "one.mp4", "--out", out)
    assert code == 1 and not out.exists()
    assert "'one.mp4' is a clip, and 'vl' prepares clips with the package torchvision" in fault


@pytest.mark.skipif(find_spec("torchvision") is None, reason="clips need the extra `clips`")
def test_a_clip_through_a_processor(tmp_path: Path, capture_of: Run) -> None:
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "one.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        for number in range(8):
            frame = np.full((16, 16, 3), number * 30, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    _, capture = capture_of(save_qwen_vl(tmp_path / "vl"), tmp_path / "one.mp4")
    by_group = dict(zip(capture.groups, capture.token_count[0].tolist(), strict=True))
    assert by_group["Video und."] > 0 and by_group["Image und."] == 0


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_quantize_without_its_package_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.tiny_model import save_model

    text = tmp_path / "a.txt"
    text.write_text("the cat", encoding="utf-8")
    model = save_model(tmp_path / "tiny")
    code, _, fault = command(
        capsys, "capture", "--model", model, "--input", text, "--out", tmp_path / "o", "--quantize", "4bit"
    )
    assert code == 1 and "pip install 'unified-workbench[quantize]'" in fault
