"""One small data root and one small bundle of tokenizers for all tests of a run; neither is written to."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.unified.small_data import make_data_root
from workbench.unified.tokenizers.audio import AudioConfig
from workbench.unified.tokenizers.bundle import Tokenizers
from workbench.unified.tokenizers.image import ImageConfig
from workbench.unified.tokenizers.train import TokenizersPlan, train_tokenizers
from workbench.unified.tokenizers.train_audio import AudioPlan
from workbench.unified.tokenizers.train_image import ImagePlan

SMALL_PLAN = TokenizersPlan(
    vocabulary=400,
    image=ImagePlan(steps=12, clip_steps=4, batch=16, clip_batch=4, warm_up=2),
    audio=AudioPlan(steps=100, batch=8, warm_up=5, speeds=(1.0,)),
    image_shape=ImageConfig(bits=6, fine_width=16, width=16),
    audio_shape=AudioConfig(levels=2, codebook=16, width=24, code_width=16),
)


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data_root(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def trained(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """Folder of trained tokenizers and what the training reported."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("tokenizers") / "bundle"
    return out, train_tokenizers(data_root, out, 5, plan=SMALL_PLAN)


@pytest.fixture(scope="session")
def tokenizers(trained: tuple[Path, dict]) -> Tokenizers:
    return Tokenizers.load(trained[0])
