"""The Live page's runs with a tiny unified model and files: what is handed out against a plain pass and the plain generator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.unified.toy import sizes
from workbench.live import Control, LiveError, LiveRun, Prompt, Sampling
from workbench.models import LoadOptions, load_model
from workbench.unified import UnifiedConfig, UnifiedForCausalLM
from workbench.unified.checkpoint import export
from workbench.unified.files import prompt_of_file
from workbench.unified.generate import Generator
from workbench.unified.segments import Text
from workbench.unified.tokenizers.bundle import Tokenizers

SAMPLES = Path(__file__).resolve().parents[2] / "sample_data" / "inputs" / "unified"
PICTURE = SAMPLES / "pictures" / "digit-three.png"
SOUND = SAMPLES / "sounds" / "vowel-a.wav"


@pytest.fixture(scope="module")
def loaded(tokenizers: Tokenizers, tmp_path_factory: pytest.TempPathFactory) -> Any:
    torch.manual_seed(3)
    config = UnifiedConfig(**{**tokenizers.facts(), **sizes(), "initializer_range": 0.2})
    folder = tmp_path_factory.mktemp("live") / "tiny"
    export(UnifiedForCausalLM(config), tokenizers, folder, torch.float32)
    return load_model(str(folder), LoadOptions(device="cpu", dtype="float32"))


def run(loaded: Any, *prompts: Prompt, new: int = 6) -> LiveRun:
    live = LiveRun(loaded, prompts, Sampling(max_new_tokens=new, temperature=0.0))
    live.go(Control())
    return live


@pytest.mark.parametrize("file", [PICTURE, SOUND], ids=["picture", "sound"])
def test_a_file_is_read_and_written_on(loaded: Any, tokenizers: Tokenizers, file: Path) -> None:
    """The text is the generator's, the routing that of the same tokens in the capture, and the file's tokens have its modality."""
    live = run(loaded, Prompt("say it", (file,)))
    (trace,) = live.traces()
    segments = [prompt_of_file(file, tokenizers), Text(tuple(tokenizers.text.encode("say it")))]
    (expected,) = Generator(loaded.model, tokenizers).answer([segments], max_tokens=6)
    assert tokenizers.text.decode(trace.token_ids[trace.written].tolist()) == expected
    assert 0 < trace.written.sum() == live.written <= 6
    kind = "image" if file is PICTURE else "audio"
    assert sum(name == kind for name in trace.modality) > 3
    assert trace.routed[~trace.written].all()
    capture = live.capture()
    capture.validate()
    assert int(capture.token_count[0].sum()) == int((trace.routed & ~trace.special).sum())


def test_reading_alone_and_two_prompts(loaded: Any) -> None:
    (read,) = run(loaded, Prompt("", (PICTURE,)), new=0).traces()
    assert not read.written.any() and read.routed.all()
    pair = run(loaded, Prompt("say it", (PICTURE,), name="a"), Prompt("what is it", name="b")).traces()
    (alone,) = run(loaded, Prompt("say it", (PICTURE,))).traces()
    np.testing.assert_array_equal(pair[0].token_ids, alone.token_ids)
    np.testing.assert_array_equal(pair[0].experts, alone.experts)


def test_a_prompt_beyond_the_model(loaded: Any) -> None:
    with pytest.raises(LiveError, match="shorten it"):
        run(loaded, Prompt("say it " * 3000, (PICTURE,)))
