"""Order, places, blocks and targets of a sample, written out by hand; the pyramid against loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.unified.toy import BITS, SCALES, ToyTokenizers, toy_model
from workbench.unified import UnifiedConfig
from workbench.unified.batch import Noise, make_batch, pack
from workbench.unified.layout import NONE, lay_out
from workbench.unified.positions import centres
from workbench.unified.pyramid import from_bits, pyramid
from workbench.unified.segments import (
    AUDIO,
    BOA,
    BOI,
    BOS,
    BOV,
    EOA,
    EOI,
    EOS,
    EOV,
    IMAGE,
    SEP,
    VIDEO,
    Clip,
    DrawnClip,
    DrawnPicture,
    Picture,
    Sample,
    Sound,
    Speech,
    Text,
    UnifiedError,
)

CONFIG = toy_model().config
PIXELS = np.arange(64, dtype=np.uint8).reshape(1, 8, 8)


def test_a_picture_to_be_made() -> None:
    layout = lay_out(Sample((Text((20, 21)), DrawnPicture(PIXELS)), "word_to_image"), CONFIG)
    ids, places, columns = layout.arrays()
    assert ids.tolist() == [BOS, 20, 21, BOI, *[IMAGE] * 14, EOI, EOS]
    block, frame, modality, role, scale, label = columns.T.tolist()
    assert block == [0, 1, 2, 3, *[4] * 4, *[5] * 9, 6, 7, 8]
    assert set(frame) == {-1}
    assert modality == [0, 0, 0, *[1] * 15, 0, 0]
    assert role == [0, 0, 0, *[1] * 15, 0, 0]
    assert scale == [-1, -1, -1, 0, *[1] * 4, *[2] * 9, -1, -1, -1]
    assert label == [NONE, NONE, BOI, *[NONE] * 14, EOI, EOS, NONE]
    # Text at its index; the picture begins at index 4; 2 x 2 cells at .25 and 1.75 of the grid of 3, centre-aligned.
    assert places[3].tolist() == [3, 3, 3]
    assert places[4:8].tolist() == [[4, 4.25, 4.25], [4, 4.25, 5.75], [4, 5.75, 4.25], [4, 5.75, 5.75]]
    assert places[8:10].tolist() == [[4, 4, 4], [4, 4, 5]] and places[16].tolist() == [4, 6, 6]
    assert places[17].tolist() == [5, 5, 5]  # the whole: where a next frame would begin, in the middle
    assert places[18].tolist() == [7, 7, 7]  # 4 + the larger of grid 3 and frames + 1 = 2


def test_a_clip_to_be_made() -> None:
    clip = np.stack([PIXELS, PIXELS])
    ids, places, columns = lay_out(Sample((Text((20,)), DrawnClip(clip)), "caption_to_clip"), CONFIG).arrays()
    assert ids.tolist() == [BOS, 20, BOV, *[VIDEO] * 28, EOV, EOS]
    block, frame, modality, _, scale, label = columns.T.tolist()
    assert frame == [-1, -1, 0, *[0] * 13, 1, *[1] * 13, 2, -1, -1]
    assert scale == [-1, -1, 0, *[1] * 4, *[2] * 9, 0, *[1] * 4, *[2] * 9, -1, -1, -1]
    assert block == [0, 1, 2, *[3] * 4, *[4] * 9, 5, *[6] * 4, *[7] * 9, 8, 9, 10]
    assert modality[2:31] == [2] * 29
    assert places[16].tolist() == [4, 4, 4]  # the first frame as a whole, at the time of the second
    assert places[17, 0] == 4 and places[30].tolist() == [5, 4, 4]
    assert label[1] == BOV and label[30] == EOV and label[31] == EOS


def test_what_is_read() -> None:
    ids, places, columns = lay_out(Sample((Picture(PIXELS), Text((20, 21), True)), "image_to_word"), CONFIG).arrays()
    assert ids.tolist() == [BOS, BOI, *[IMAGE] * 4, EOI, SEP, 20, 21, EOS]
    assert columns[:, 5].tolist() == [*[NONE] * 7, 20, 21, EOS, NONE]
    assert (
        columns[2:6, 0].tolist() == [2] * 4
        and columns[2:6, 2].tolist() == [1] * 4
        and columns[2:6, 3].tolist() == [0] * 4
    )
    assert places[2:4].tolist() == [[2, 2.25, 2.25], [2, 2.25, 3.75]]
    assert places[6].tolist() == [5, 5, 5]
    ids, _, columns = lay_out(Sample((Clip(np.stack([PIXELS] * 3)), Text((20,), True)), "x"), CONFIG).arrays()
    assert ids.tolist() == [BOS, BOV, *[VIDEO] * 12, EOV, SEP, 20, EOS]
    assert columns[2:14, 0].tolist() == [2] * 4 + [3] * 4 + [4] * 4
    ids, _, columns = lay_out(Sample((Sound(np.zeros((3, 2), int)), Text((20,), True)), "x"), CONFIG).arrays()
    assert ids.tolist() == [BOS, BOA, AUDIO, AUDIO, AUDIO, EOA, SEP, 20, EOS]
    assert columns[:, 2].tolist() == [0, 0, 3, 3, 3, 0, 0, 0, 0]


def test_speech() -> None:
    codes = np.array([[1, 2], [3, 4]], np.int16)
    batch = make_batch([Sample((Text((20,)), Speech(codes)), "word_to_speech")], CONFIG, ToyTokenizers())  # type: ignore[arg-type]
    assert batch["input_ids"][0].tolist() == [BOS, 20, BOA, AUDIO, AUDIO, EOA, EOS]
    assert batch["labels"][0].tolist() == [NONE, BOA, NONE, NONE, NONE, EOS, NONE]
    nothing = [NONE, NONE]
    assert batch["audio_labels"][0].tolist() == [nothing, nothing, [1, 2], [3, 4], [8, 8], nothing, nothing]
    assert batch["audio_codes"][0].tolist() == [[-1, -1]] * 3 + [[1, 2], [3, 4]] + [[-1, -1]] * 2


def test_bits_and_inputs_land_at_their_cells() -> None:
    tokenizers = ToyTokenizers()
    clip = np.stack([PIXELS, PIXELS[:, ::-1].copy()])
    samples = [Sample((Text((20,)), DrawnClip(clip)), "caption_to_clip"), Sample((Text((20,), True),), "text")]
    batch = make_batch(samples, CONFIG, tokenizers, width=60)  # type: ignore[arg-type]
    latent = tokenizers.image.encode(torch.from_numpy(clip).float() / 255).latent
    split = pyramid(latent, SCALES, tokenizers.image.amplitudes)
    for frame in range(2):
        start = 2 + 14 * frame
        wanted = torch.cat([bits[frame] for bits in split.bits])
        assert torch.equal(batch["bit_labels"][0, start : start + 14], wanted.to(torch.int8))
        assert torch.allclose(batch["visual"][0, start + 1 : start + 5], split.inputs[0][frame])
        assert torch.allclose(batch["visual"][0, start + 5 : start + 14], split.inputs[1][frame])
    assert batch["whole_index"].tolist() == [16, 30]
    assert torch.allclose(batch["whole"], split.total.flatten(1))
    assert (batch["bit_labels"][0, 30:] == -1).all()


def test_cells_of_a_later_frame_start_from_the_frame_before_unless_it_is_hidden() -> None:
    tokenizers = ToyTokenizers()
    config = UnifiedConfig(**{**CONFIG.to_dict(), "previous_frame": True})
    clip = np.stack([PIXELS, PIXELS[:, ::-1].copy(), PIXELS])
    samples = [Sample((Text((20,)), DrawnClip(clip)), "caption_to_clip"), Sample((Text((21,)), DrawnPicture(PIXELS)), "word_to_image")]  # fmt: skip
    total = pyramid(tokenizers.image.encode(torch.from_numpy(clip).float() / 255).latent, SCALES, tokenizers.image.amplitudes).total  # fmt: skip
    for hide in (0.0, 1.0):
        noise = Noise(hide_frame=hide, generator=torch.Generator().manual_seed(0))
        before = make_batch(samples, config, tokenizers, noise=noise)["before"]  # type: ignore[arg-type]
        wanted = torch.zeros_like(before)
        for frame in (1, 2) if not hide else ():
            start = 2 + 14 * frame
            wanted[0, start + 1 : start + 5] = torch.nn.functional.adaptive_avg_pool2d(total[frame - 1], 2).flatten(1).T
            wanted[0, start + 5 : start + 14] = total[frame - 1].flatten(1).T
        assert torch.allclose(before, wanted)
    assert "before" not in make_batch(samples, CONFIG, tokenizers)  # type: ignore[arg-type]


def test_pyramid_against_loops() -> None:
    """Area means and bilinear growth written out for one channel and scales 1, 2, 4."""
    latent = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    amplitudes = torch.tensor([0.8, 0.5, 0.3], dtype=torch.float64)
    flips = [torch.zeros(1, n * n, 1, dtype=torch.bool) for n in (1, 2, 4)]
    flips[0][0, 0, 0] = True
    found = pyramid(latent, (1, 2, 4), amplitudes, flips)
    values = latent[0, 0].numpy()
    assert found.bits[0].item() == (values.mean() > 0)
    total = np.full((4, 4), -0.8 if values.mean() > 0 else 0.8)  # the flip turned the sign
    assert np.allclose(found.inputs[0].numpy(), total[0, 0])
    left = values - total
    quarter = left.reshape(2, 2, 2, 2).mean((1, 3))
    assert (found.bits[1].numpy().reshape(2, 2) == (quarter > 0)).all()  # the target corrects the flip
    signs = np.where(quarter > 0, 0.5, -0.5)
    ramp = np.array([[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])  # bilinear from 2 to 4 cells, centres aligned
    total = total + ramp @ signs @ ramp.T
    assert np.allclose(found.inputs[1].numpy().reshape(4, 4), total)
    assert (found.bits[2].numpy().reshape(4, 4) == (values - total > 0)).all()
    total = total + np.where(values - total > 0, 0.3, -0.3)
    assert np.allclose(found.total[0, 0].numpy(), total)


def test_bits_alone_give_the_sum_and_gradients_pass() -> None:
    latent = torch.randn(3, BITS, 3, 3, requires_grad=True)
    amplitudes = torch.tensor([1.0, 0.6, 0.4], requires_grad=True)
    found = pyramid(latent, SCALES, amplitudes, straight_through=True)
    assert torch.allclose(from_bits(found.bits, SCALES, amplitudes), found.total, atol=1e-6)
    found.total.square().sum().backward()
    assert latent.grad is not None and latent.grad.abs().sum() > 0
    assert amplitudes.grad is not None and (amplitudes.grad.abs() > 0).all()


def test_centres() -> None:
    assert centres(1, 4).tolist() == [1.5]
    assert centres(2, 4).tolist() == [0.5, 2.5]
    assert centres(4, 4).tolist() == [0, 1, 2, 3]


def test_packing() -> None:
    rows = pack([5, 3, 9, 2, 4], 10)
    assert sorted(number for row in rows for number in row) == [0, 1, 2, 3, 4]
    assert all(sum([5, 3, 9, 2, 4][number] for number in row) <= 10 for row in rows)
    with pytest.raises(UnifiedError, match="at most 10 tokens, got one of 11"):
        pack([11], 10)
