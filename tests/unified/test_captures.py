"""Ready captures: all six groups with counts that a plain count over the samples gives, and a null on the same tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from tests.unified.toy import sizes
from workbench.analysis.align import UNTRAINED_FLAG
from workbench.capture import Capture
from workbench.unified import UnifiedConfig, UnifiedForCausalLM
from workbench.unified.captures import main, record_samples
from workbench.unified.checkpoint import export
from workbench.unified.data.mixture import Mixture
from workbench.unified.segments import TASKS
from workbench.unified.tokenizers.bundle import Tokenizers

GROUPS = {"Text", "Image und.", "Video und.", "Image gen.", "Video gen.", "Audio"}


def test_trained_and_untrained_stand_on_the_same_tokens(
    tokenizers: Tokenizers, data_root: Path, tmp_path: Path
) -> None:
    torch.manual_seed(3)
    export(UnifiedForCausalLM(UnifiedConfig(**{**tokenizers.facts(), **sizes()})), tokenizers, tmp_path / "model")
    given = [
        "--checkpoint",
        tmp_path / "model",
        "--data-root",
        data_root,
        "--each",
        2,
        "--out",
        tmp_path / "a",
        "--untrained",
        tmp_path / "b",
    ]
    assert main([str(word) for word in given]) == 0
    one, null = Capture.load(tmp_path / "a"), Capture.load(tmp_path / "b")
    assert set(one.groups) == GROUPS and one.manifest.tokens == null.manifest.tokens
    assert one.manifest.model.id == "omni-mini" and one.manifest.documents == 2 * len(TASKS)
    assert [flag.kind for flag in null.manifest.flags if flag.kind == UNTRAINED_FLAG] == [UNTRAINED_FLAG]
    assert not np.array_equal(one.count, null.count) and one.count.sum() == null.count.sum()
    # A picture is read as 16 tokens, four frames as 64; a picture is made of its begin, the cells of three scales and its whole.
    assert one.manifest.tokens["text"]["Image und."] == 2 * 16 and one.manifest.tokens["text"]["Video und."] == 2 * 64
    assert one.manifest.tokens["text"]["Image gen."] == 2 * (1 + 4 + 9 + 16 + 1)


def test_a_sample_is_a_document_and_the_seed_makes_the_null(tokenizers: Tokenizers, data_root: Path) -> None:
    torch.manual_seed(3)
    model = UnifiedForCausalLM(UnifiedConfig(**{**tokenizers.facts(), **sizes()})).eval()
    samples = [Mixture(tokenizers, data_root).held_out("image_to_word", n) for n in range(3)]
    captures = [record_samples(model, tokenizers, samples, name="x", untrained_seed=seed) for seed in (1, 1, 2)]
    assert np.array_equal(captures[0].count, captures[1].count) and not np.array_equal(
        captures[0].count, captures[2].count
    )
    documents = captures[0].tokens["text"].column("document").to_pylist()
    assert sorted(set(documents)) == ["image_to_word 0", "image_to_word 1", "image_to_word 2"]
