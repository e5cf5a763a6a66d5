"""Files of every kind through `workbench capture` and a tiny unified model: groups and counts as a plain pass over the samples has them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unified.toy import sizes
from workbench.capture import DEFAULT_GROUPS, Capture
from workbench.causal.check import CausalOptions, causal
from workbench.cli import run
from workbench.inputs import InputError, InputOptions, read_documents
from workbench.models import LoadOptions, load_model
from workbench.recording import RecordOptions, record
from workbench.unified import UnifiedConfig, UnifiedForCausalLM
from workbench.unified.batch import make_batch
from workbench.unified.checkpoint import export, tokenizers_beside
from workbench.unified.documents import Reader
from workbench.unified.tokenizers.bundle import Tokenizers

SAMPLES = Path(__file__).resolve().parents[2] / "sample_data" / "inputs" / "unified"
FILES = ("pictures/digit-three.png", "sounds/vowel-a.wav", "captions.jsonl")


@pytest.fixture(scope="module")
def folder(tokenizers: Tokenizers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    config = UnifiedConfig(**{**tokenizers.facts(), **sizes(), "initializer_range": 0.2})
    folder = tmp_path_factory.mktemp("recorded") / "tiny"
    export(UnifiedForCausalLM(config), tokenizers, folder, torch.float32)
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("files") / "files"
    clip = next((SAMPLES / "clips").glob("*.mp4")).relative_to(SAMPLES)
    for name in (*FILES, str(clip)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(SAMPLES / name, root / name)
    (root / "kite.txt").write_text("the kite went up and up.", encoding="utf-8")
    return root


def test_every_kind_of_file_is_recorded_read_and_made(
    folder: Path, files: Path, tokenizers: Tokenizers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("av")
    out = tmp_path / "files.capture"
    inputs = [str(files / name) for name in ("pictures", "sounds", "clips", "kite.txt")]
    flags = [part for one in inputs for part in ("--input", one)]
    assert run(["capture", "--model", str(folder), *flags, "--dtype", "float32", "--out", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    capture, tokens = Capture.load(out), said["tokens"]["text"]
    assert {name for name, n in tokens.items() if n} == {group.name for group in DEFAULT_GROUPS}
    assert said["documents"] == 4

    model = UnifiedForCausalLM.from_pretrained(folder)
    assert tokens["Image und."] == model.config.read_tokens and tokens["Video und."] == 4 * model.config.read_tokens
    # A picture is made from the token in front of it, through its cells, to its whole.
    assert tokens["Image gen."] == 1 + model.config.drawn_tokens
    choices = model.config.num_experts_per_tok * len(capture.sites)
    assert capture.count.sum() == sum(tokens.values()) * choices


def test_a_file_gives_the_counts_of_a_plain_pass(folder: Path, files: Path, tokenizers: Tokenizers) -> None:
    loaded = load_model(str(folder), LoadOptions(device="cpu", dtype="float32"))
    documents = read_documents([files / "pictures"], InputOptions())
    capture = record(loaded, documents, RecordOptions())
    seen: dict[int, list[torch.Tensor]] = {}
    hooks = [
        layer.moe.experts.register_forward_pre_hook(
            lambda _, given, number=number: seen.setdefault(number, []).append(given[1])
        )
        for number, layer in enumerate(loaded.model.layers)
    ]
    samples = Reader(tokenizers).samples(documents[0])
    batch = make_batch(samples, loaded.model.config, tokenizers)
    with torch.no_grad():
        loaded.model(**batch, use_cache=False)
    for hook in hooks:
        hook.remove()
    real = batch["attention_mask"].bool().flatten()
    place = [group.name for group in DEFAULT_GROUPS].index("Image und.")
    patches = batch["patch_index"]
    for number in range(len(loaded.model.layers)):
        chosen = seen[number][0].view(len(real), -1)[patches]
        wanted = np.bincount(chosen.flatten().numpy(), minlength=loaded.model.config.num_experts)
        assert (capture.count[number, place] == wanted).all()


def test_what_it_cannot_do_is_one_sentence(folder: Path, files: Path, tmp_path: Path) -> None:
    loaded = load_model(str(folder), LoadOptions(device="cpu", dtype="float32"))
    documents = read_documents([files / "pictures"], InputOptions())
    with pytest.raises(InputError, match="page Generate"):
        record(loaded, documents, RecordOptions(generate=4))
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture at all")
    with pytest.raises(InputError, match=r"broken\.png"):
        record(loaded, read_documents([broken], InputOptions()), RecordOptions())


def test_the_causal_check_reads_every_modality(folder: Path, files: Path) -> None:
    pytest.importorskip("av")
    loaded = load_model(str(folder), LoadOptions(device="cpu", dtype="float32"))
    documents = read_documents([files / "pictures", files / "clips", files / "kite.txt"], InputOptions())
    found = causal(loaded, documents, CausalOptions(group_by="modality", draws=1, resamples=20))
    assert {group for _, group in found.losses.cells} == {
        "Text",
        "Image und.",
        "Video und.",
        "Image gen.",
        "Video gen.",
    }
    # The full model's loss of a picture that is made, by hand: mean over the bits of a cell, summed over cells.
    cell = found.losses.cells.index((documents[0].id, "Image gen."))
    samples = Reader(tokenizers_beside(loaded.model, "tiny")).samples(documents[0])
    batch = make_batch(samples, loaded.model.config, tokenizers_beside(loaded.model, "tiny"))
    with torch.no_grad():
        losses = loaded.model(**batch, use_cache=False).losses
    cells = batch["bit_labels"][..., 0] >= 0
    assert found.losses.full[cell] == pytest.approx(float(losses.token[cells].sum()), rel=1e-4)
    assert found.losses.tokens[cell] == int(cells.sum())
