"""The mask rule against a brute-force reading of it, and FlexAttention against the dense mask."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.unified.toy import ToyTokenizers, toy_model, toy_samples
from workbench.unified.batch import Noise, make_batch
from workbench.unified.masks import Rows, dense_mask
from workbench.unified.segments import Sample, Text


def rows_of(batch: dict[str, Tensor]) -> Rows:
    return Rows(batch["document"], batch["block"], batch["frame"], batch["hidden"])


def packed(hide: float = 0.5) -> dict[str, Tensor]:
    noise = Noise(flip=0.2, hide_frame=hide, generator=torch.Generator().manual_seed(2))
    model = toy_model()
    return make_batch(toy_samples(), model.config, ToyTokenizers(), width=80, noise=noise)  # type: ignore[arg-type]


@pytest.mark.parametrize("window", [1, 4])
def test_dense_mask_is_the_rule(window: int) -> None:
    batch = packed()
    rows = rows_of(batch)
    mask = dense_mask(rows, rows, window)[:, 0]
    assert batch["hidden"].any() and (batch["document"] < 0).any()
    count, tokens = rows.block.shape
    for b in range(count):
        document, block, frame = (part[b].tolist() for part in (rows.document, rows.block, rows.frame))
        hidden = rows.hidden[b].tolist()
        for q in range(tokens):
            if document[q] < 0:
                continue
            for k in range(tokens):
                seen = document[k] == document[q] and block[k] <= block[q]
                if seen and frame[q] >= 0 and frame[k] >= 0 and frame[q] != frame[k]:
                    seen = frame[q] - frame[k] <= window and not hidden[k]
                assert bool(mask[b, q, k]) == seen, (b, q, k)


def test_a_scale_sees_itself_whole_and_text_is_causal() -> None:
    model = toy_model()
    sample = next(sample for sample in toy_samples() if sample.task == "word_to_image")
    batch = make_batch([sample], model.config, ToyTokenizers())  # type: ignore[arg-type]
    rows = rows_of(batch)
    mask = dense_mask(rows, rows, 4)[0, 0]
    # <bos> w w <boi> | 2x2 | 3x3 | whole <eoi> <eos>
    assert mask.shape == (20, 20)
    expected = torch.ones(20, 20).tril().bool()
    expected[4:8, 4:8] = True
    expected[8:17, 8:17] = True
    assert torch.equal(mask, expected)


@pytest.mark.parametrize("window", [1, 4])
def test_flex_attention_equals_dense(window: int) -> None:
    """The whole model under either mask, on packed rows with padding and hidden frames."""
    batch = packed()
    model = toy_model(frame_window=window)
    with torch.no_grad():
        model.flex = False
        dense = model(**batch, use_cache=False).losses
        model.flex = True
        flex = model(**batch, use_cache=False).losses
    assert dense.weight.sum() > 50
    assert torch.allclose(dense.token, flex.token, atol=2e-5)


def test_padding_changes_nothing() -> None:
    """Samples packed together, and each in a row of its own, have the same losses."""
    model, tokenizers = toy_model(), ToyTokenizers()
    samples = toy_samples()
    with torch.no_grad():
        together = make_batch(samples, model.config, tokenizers, width=80)  # type: ignore[arg-type]
        alone = make_batch(samples, model.config, tokenizers)  # type: ignore[arg-type]
        one, other = model(**together, use_cache=False).losses, model(**alone, use_cache=False).losses
    for task in range(7):
        mine, theirs = together["task"] == task, alone["task"] == task
        assert (one.token * one.weight)[mine].sum() == pytest.approx(
            float((other.token * other.weight)[theirs].sum()), rel=1e-4
        )


def test_a_sample_longer_than_a_row_widens_the_rows() -> None:
    """A user's own long caption: nothing is cut, and its losses are those of a row of its own."""
    model, tokenizers = toy_model(), ToyTokenizers()
    long = Sample((Text(tuple(8 + n % 20 for n in range(95)), learn=True),), "text")
    samples = [*toy_samples(), long]
    with torch.no_grad():
        together = make_batch(samples, model.config, tokenizers, width=80)  # type: ignore[arg-type]
        alone = make_batch([long], model.config, tokenizers)  # type: ignore[arg-type]
        one, other = model(**together, use_cache=False).losses, model(**alone, use_cache=False).losses
    assert together["input_ids"].shape[1] >= 97
    row = int((together["document"] >= 0).sum(1).argmax())
    mine = one.token[row, : alone["input_ids"].shape[1]]  # the longest stands first in its row
    assert torch.allclose(mine, other.token[0], atol=1e-4) and float(mine.sum()) > 95
