"""Losses of one thing under several prompts: as each would have them alone, weighted by hand; and the class that wins."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.unified.toy import sizes
from workbench.unified import UnifiedConfig, UnifiedForCausalLM
from workbench.unified.batch import make_batch
from workbench.unified.evaluate import listening
from workbench.unified.generate import Generator
from workbench.unified.losses import scale_weights
from workbench.unified.segments import DrawnPicture, Sample, Text
from workbench.unified.tokenizers.bundle import Tokenizers

PROMPTS = ("a bar", "the other bar, much longer", "two")


def test_losses_are_those_of_each_prompt_alone(tokenizers: Tokenizers) -> None:
    torch.manual_seed(1)
    config = UnifiedConfig(**{**tokenizers.facts(), **sizes(), "initializer_range": 0.2})
    model = UnifiedForCausalLM(config)
    generator = Generator(model, tokenizers)
    shape = (config.image_channels, config.image_size, config.image_size)
    picture = DrawnPicture(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    found = listening.losses(generator, picture, PROMPTS)
    by_scale = scale_weights(config.image_scales)
    for number, prompt in enumerate(PROMPTS):
        sample = Sample((Text(tuple(tokenizers.text.encode(prompt))), picture), "prompt", end=False)
        batch = make_batch([sample], config, tokenizers)
        bits, words = batch.pop("bit_labels")[0], batch.pop("labels")[0]
        for name in ("audio_labels", "task"):
            batch.pop(name, None)
        with torch.no_grad():
            out = model(**batch, use_cache=False)
        chance, foreseen = out.bit_logits[0].double().sigmoid(), out.logits[0].double().log_softmax(-1)
        total = weights = 0.0
        for place, scale in enumerate(batch["scale"][0].tolist()):
            if scale >= 0:
                right = torch.where(bits[place] > 0, chance[place], 1 - chance[place])
                total += by_scale[scale] * float(-right.log().mean())
                weights += by_scale[scale]
            if words[place] >= 0:  # the tokens before and behind the picture
                total -= float(foreseen[place, words[place]])
                weights += 1
        assert found[number] == pytest.approx(total / weights, rel=1e-4)
    assert len(set(found.round(6))) == len(PROMPTS)


def test_the_likeliest_class_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    table = iter([[3.0, 1.0, 2.0], [0.5, 1.0, 2.0], [3.0, 2.0, 1.0]])
    monkeypatch.setattr(listening, "losses", lambda *_: np.array(next(table)))
    made = [DrawnPicture(np.zeros((1, 1, 1), np.uint8))] * 3
    found = listening._share(None, made, [["a", "b", "c"]] * 3, np.array([1, 0, 0]))  # type: ignore[arg-type]
    assert found["accuracy"] == pytest.approx(2 / 3) and found["n"] == 3 and found["chance"] == pytest.approx(1 / 3)
