"""Generation with a cache equals one pass over the whole sequence, for every modality; sampling and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.unified.toy import BITS, CODES, LEVELS, SCALES, ToyTokenizers, toy_model, toy_samples
from workbench.unified.generate import Generator
from workbench.unified.masks import Rows
from workbench.unified.model import UnifiedForCausalLM
from workbench.unified.sampling import Sampling, choose, choose_bits, guided
from workbench.unified.segments import Picture, Sound, Text, UnifiedError


class Recorder:
    """Keeps what a model was fed and what it answered, step by step."""

    def __init__(self, model: UnifiedForCausalLM) -> None:
        self.calls: list[tuple[dict[str, Any], Any]] = []
        model.register_forward_hook(self._keep, with_kwargs=True)

    def _keep(self, module: Any, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        self.calls.append((kwargs, output))


def joined(calls: list[tuple[dict[str, Any], Any]]) -> dict[str, Any]:
    """All steps as the arguments of a single call without a cache."""
    rows, widths = calls[0][0]["input_ids"].shape[0], [kwargs["input_ids"].shape[1] for kwargs, _ in calls]
    total = sum(widths)
    names = ("input_ids", "positions", "document", "block", "frame", "hidden", "modality", "role", "scale")
    out: dict[str, Any] = {name: torch.cat([kwargs[name] for kwargs, _ in calls], 1) for name in names}
    for name, empty in (("visual", 0.0), ("before", 0.0), ("audio_codes", -1)):
        some = next((kwargs[name] for kwargs, _ in calls if kwargs.get(name) is not None), None)
        if some is not None:
            blank = [torch.full((rows, width, some.shape[-1]), empty, dtype=some.dtype) for width in widths]
            out[name] = torch.cat(
                [given if (given := kwargs.get(name)) is not None else blank[i] for i, (kwargs, _) in enumerate(calls)],
                1,
            )
    starts = np.concatenate([[0], np.cumsum(widths)])
    wholes = [
        (int(starts[i]), kwargs["whole"]) for i, (kwargs, _) in enumerate(calls) if kwargs.get("whole") is not None
    ]
    if wholes:
        out["whole"] = torch.cat([whole for _, whole in wholes])
        out["whole_index"] = torch.cat([torch.arange(rows) * total + start for start, _ in wholes])
    first = calls[0][0]
    if first.get("pixels") is not None:
        out["pixels"], out["features"] = first["pixels"], first["features"]
        index = first["patch_index"]
        out["patch_index"] = index // widths[0] * total + index % widths[0]
    return out


def compare(model: UnifiedForCausalLM, calls: list[tuple[dict[str, Any], Any]], choice: Any = None) -> Tensor:
    """Largest difference of the logits, cached against whole, over real tokens."""
    calls = list(calls)  # the pass below is recorded too
    given = joined(calls)
    with torch.no_grad():
        whole = model(**given, use_cache=False, audio_choice=choice)
    steps = torch.cat([output.logits for _, output in calls], 1)
    bits = torch.cat([output.bit_logits for _, output in calls], 1)
    real = given["document"] >= 0
    assert real.sum() > 20
    return torch.maximum((whole.logits - steps)[real].abs().max(), (whole.bit_logits - bits)[real].abs().max())


PROMPTS = ["a red cat", "two"]  # of unequal lengths: padding stands between prompt and continuation


def test_pictures_equal_recomputation() -> None:
    model, tokenizers = toy_model(), ToyTokenizers()
    recorder = Recorder(model)
    made = Generator(model, tokenizers).draw(PROMPTS, settings=Sampling(guidance=2.0, seed=3))  # type: ignore[arg-type]
    assert made.shape == (2, 1, 8, 8) and made.dtype == np.uint8
    assert compare(model, recorder.calls) < 1e-4


def test_clips_equal_recomputation_beyond_the_window() -> None:
    model, tokenizers = toy_model(frame_window=1), ToyTokenizers()
    recorder = Recorder(model)
    made = Generator(model, tokenizers).draw_clip(PROMPTS, frames=4, settings=Sampling(seed=3))  # type: ignore[arg-type]
    assert made.shape == (2, 4, 1, 8, 8)
    assert compare(model, recorder.calls) < 1e-4


def test_clips_that_start_from_the_frame_before_equal_recomputation() -> None:
    model, tokenizers = toy_model(previous_frame=True), ToyTokenizers()
    recorder = Recorder(model)
    settings = Sampling(guidance=2.0, seed=3)
    Generator(model, tokenizers).draw_clip(PROMPTS, frames=3, settings=settings)  # type: ignore[arg-type]
    calls = list(recorder.calls)
    assert compare(model, calls) < 1e-4
    given = [kwargs.get("before") for kwargs, _ in calls]
    assert [one is not None for one in given] == [False] * 4 + [False, True, True] + [False, True, True]
    # What training would feed for the very frames that were made.
    whole = torch.stack([kwargs["whole"] for kwargs, _ in calls if kwargs.get("whole") is not None])
    for frame in range(2):
        total = whole[frame].unflatten(1, (BITS, SCALES[-1], SCALES[-1]))
        assert torch.equal(given[5 + 3 * frame], functional.adaptive_avg_pool2d(total, 2).flatten(2).transpose(1, 2))
        assert torch.equal(given[6 + 3 * frame], total.flatten(2).transpose(1, 2))


def test_texts_equal_recomputation() -> None:
    model, tokenizers = toy_model(), ToyTokenizers()
    recorder = Recorder(model)
    rng = np.random.default_rng(0)
    picture = Picture(rng.integers(0, 256, (1, 8, 8), dtype=np.uint8))
    sound = Sound(rng.integers(0, CODES, (5, LEVELS)))
    texts = Generator(model, tokenizers).answer([[picture], [sound, Text((20, 21))]], max_tokens=8)  # type: ignore[arg-type]
    assert len(texts) == 2
    assert compare(model, recorder.calls) < 1e-4


def test_sounds_equal_recomputation() -> None:
    model, tokenizers = toy_model(), ToyTokenizers()
    recorder = Recorder(model)
    generator = Generator(model, tokenizers)  # type: ignore[arg-type]
    codes = generator.speak(PROMPTS, max_steps=7, settings=Sampling(seed=1))
    assert all(row.shape[1] == LEVELS and (row < CODES).all() for row in codes)
    steps = recorder.calls[1:]  # the prompt makes no sound
    logits = torch.stack([output.audio_logits for _, output in steps], 1)  # [rows, steps, levels, codes]
    fed = torch.stack([kwargs["audio_codes"][:, 0] for kwargs, _ in steps[1:]], 1)  # what followed from each step

    def forced(level: int, found: Tensor) -> Tensor:
        """The codes that the stream chose, in the order of the positions."""
        known = torch.cat([fed[..., level], torch.zeros(fed.shape[0], 1, dtype=torch.long)], 1)
        assert len(found) == known.numel()
        return known.flatten()

    with torch.no_grad():
        whole = model(**joined(recorder.calls), use_cache=False, audio_choice=forced)
    again = whole.audio_logits.view(logits.shape)
    # The last step's code was never fed, and rows that had ended were fed a code of no meaning.
    lengths = [len(row) for row in codes]
    for row, length in enumerate(lengths):
        kept = min(length, logits.shape[1] - 1)
        assert kept >= 1
        assert torch.allclose(again[row, :kept], logits[row, :kept], atol=1e-4)


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    model, tokenizers = toy_model(), ToyTokenizers()
    generator = Generator(model, tokenizers)  # type: ignore[arg-type]
    settings = Sampling(greedy=True)
    together = generator.draw(PROMPTS, settings=settings)
    alone = np.concatenate([generator.draw([prompt], settings=settings) for prompt in PROMPTS])
    assert np.abs(together.astype(int) - alone.astype(int)).max() <= 1


def test_streams_end_in_the_whole_result() -> None:
    model, tokenizers = toy_model(), ToyTokenizers()
    generator = Generator(model, tokenizers)  # type: ignore[arg-type]
    settings = Sampling(seed=4)
    steps = list(generator.stream_picture(PROMPTS, frames=2, settings=settings))
    assert [(step.frame, step.scale) for step in steps] == [(frame, scale) for frame in range(2) for scale in range(3)]
    whole = generator.draw_clip(PROMPTS, frames=2, settings=settings)
    assert (steps[2].pixels == whole[:, 0]).all() and (steps[-1].pixels == whole[:, 1]).all()  # type: ignore[union-attr]


def test_score_is_the_sum_of_the_losses() -> None:
    model, tokenizers = toy_model(), ToyTokenizers()
    samples = [sample for sample in toy_samples() if sample.task == "text"]
    nats, tokens = Generator(model, tokenizers).score(samples)  # type: ignore[arg-type]
    for sample, total, count in zip(samples, nats, tokens, strict=True):
        ids = [1, *sample.segments[0].ids, 2]  # type: ignore[union-attr]
        with torch.no_grad():
            logits = model(torch.tensor([ids]), use_cache=False).logits[0].log_softmax(-1)
        by_hand = -sum(float(logits[place, ids[place + 1]]) for place in range(len(ids) - 1))
        assert count == len(ids) - 1
        assert total == pytest.approx(by_hand, rel=1e-4)


def test_choices() -> None:
    logits = torch.tensor([[4.0, 3.0, -1.0, -2.0]]).repeat(4000, 1)
    chance = torch.Generator().manual_seed(0)
    shares = torch.bincount(choose(logits, Sampling(), chance), minlength=4) / 4000
    assert torch.allclose(shares, logits[0].softmax(-1), atol=0.03)
    assert set(choose(logits, Sampling(top_p=0.7), chance).tolist()) == {0}
    assert set(choose(logits, Sampling(top_p=0.75), chance).tolist()) == {0, 1}
    bits = choose_bits(torch.tensor([2.0, -2.0, 0.0]).repeat(4000, 1), Sampling(top_p=0.8), chance).float().mean(0)
    assert bits[0] == 1 and bits[1] == 0 and 0.45 < bits[2] < 0.55
    assert torch.equal(guided(torch.tensor([[3.0], [1.0]]), 1.5), torch.tensor([[4.0]]))


@pytest.mark.parametrize("bad", [{"temperature": 0}, {"top_p": 0}, {"top_p": 1.5}, {"guidance": -1}])
def test_settings_are_checked(bad: dict[str, float]) -> None:
    with pytest.raises(UnifiedError, match="change the settings"):
        Sampling(**bad)  # type: ignore[arg-type]


def test_what_it_cannot_serve() -> None:
    generator = Generator(toy_model(max_position_embeddings=30), ToyTokenizers())  # type: ignore[arg-type]
    with pytest.raises(UnifiedError, match="empty prompt"):
        generator.draw([" "])
    with pytest.raises(UnifiedError, match="at most 30 tokens, got 41"):
        generator.answer([[Text((20,) * 40)]])
    with pytest.raises(UnifiedError, match="resize the picture"):
        generator.answer([[Picture(np.zeros((1, 9, 8), np.uint8))]])
    with pytest.raises(UnifiedError, match="encode it with the audio tokenizer"):
        generator.answer([[Sound(np.zeros((4, 5), np.int64))]])
    with pytest.raises(UnifiedError, match="at least one part"):
        generator.answer([[]])


def test_joining_keeps_rows_apart() -> None:
    rows = Rows(*(torch.zeros(2, 3, dtype=torch.long) for _ in range(4)))
    assert rows.joined(rows).block.shape == (2, 6)
