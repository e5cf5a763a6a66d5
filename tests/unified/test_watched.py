"""Making under a probe: a group a scale, counts that add up by hand, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.unified.toy import sizes
from workbench.unified import UnifiedConfig, UnifiedForCausalLM
from workbench.unified.generate import Generator
from workbench.unified.sampling import Sampling
from workbench.unified.segments import UnifiedError
from workbench.unified.tokenizers.bundle import Tokenizers
from workbench.unified.watched import BLANK_ROW, Look, WatchedOrder, make_watched


@pytest.fixture(scope="module")
def generator(tokenizers: Tokenizers) -> Generator:
    torch.manual_seed(0)
    return Generator(UnifiedForCausalLM(UnifiedConfig(**{**tokenizers.facts(), **sizes()})), tokenizers)


def tokens(watched, phase: str, group: str) -> int:
    """Tokens of a group in a phase at the first site."""
    table = watched.capture.table("tokens")
    site, p, g = 0, watched.capture.phases.index(phase), watched.capture.group_index(group)
    dims = {name: place for place, name in enumerate(table.dims)}
    values = np.moveaxis(table.values, [dims["site"], dims["phase"], dims["group"]], [0, 1, 2])
    return int(values[site, p, g].sum())


def test_a_picture_is_a_group_a_scale(generator: Generator) -> None:
    seen: list[Look] = []
    order = WatchedOrder("picture", "a handwritten three", settings=Sampling(seed=1))
    watched = make_watched(generator, order, seen.append)
    assert [look.cells for look in watched.looks] == [1, 4, 9, 16] and len(seen) == 4
    frames = watched.frames()
    assert frames is not None and np.array_equal(frames[0], seen[-1].pixels)
    expected = generator.draw(["a handwritten three"], settings=Sampling(seed=1))
    assert np.array_equal(frames[0], expected[0])  # watching changes nothing
    # Before each scale its own cells are fed; before the first, the token that begins a picture.
    assert [tokens(watched, "decode", look.group) for look in watched.looks] == [1, 4, 9, 16]
    words = len(generator.tokenizers.text.encode("a handwritten three"))
    assert tokens(watched, "prefill", watched.looks[0].group) == words


def test_a_clip_shows_every_frame_and_guidance_stands_apart(generator: Generator) -> None:
    order = WatchedOrder("clip", "a two drifting left", settings=Sampling(guidance=1.5), frames=2)
    watched = make_watched(generator, order)
    assert [(look.frame, look.scale) for look in watched.looks] == [(f, s) for f in range(2) for s in range(4)]
    assert watched.frames().shape == (2, 3, 32, 32)
    assert BLANK_ROW in watched.capture.groups
    # The finished first frame is one token more, fed before the first scale of the second.
    assert [tokens(watched, "decode", look.group) for look in watched.looks] == [1, 4, 9, 16, 1, 4, 9, 16]


def test_speech_gives_a_sound(generator: Generator) -> None:
    watched = make_watched(generator, WatchedOrder("speech", "seven", settings=Sampling(seed=3)))
    if watched.looks:
        assert watched.sound is not None and len(watched.sound) == len(watched.looks) * 4 * 80
        assert np.isfinite(watched.sound).all()


def test_a_picture_is_read(generator: Generator, tmp_path: Path) -> None:
    Image.new("RGB", (50, 40), (9, 200, 30)).save(tmp_path / "x.png")
    watched = make_watched(generator, WatchedOrder("read", file=tmp_path / "x.png", settings=Sampling(greedy=True)))
    assert watched.looks and isinstance(watched.looks[-1].text, str)
    assert watched.capture.groups


def test_stopping_leaves_no_hook(generator: Generator) -> None:
    def stop() -> None:
        raise UnifiedError("enough")

    hooks = sum(len(module._forward_pre_hooks) for module in generator.model.modules())
    with pytest.raises(UnifiedError, match="enough"):
        make_watched(generator, WatchedOrder("picture", "a bag"), check=stop)
    assert sum(len(module._forward_pre_hooks) for module in generator.model.modules()) == hooks


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (WatchedOrder("picture", "  "), "prompt is empty"),
        (WatchedOrder("read"), "to read"),
        (WatchedOrder("song", "x"), "picture, clip"),
        (WatchedOrder("text", "x" * 500), "at most 400"),
    ],
)
def test_what_cannot_be_made_is_refused(generator: Generator, order: WatchedOrder, words: str) -> None:
    with pytest.raises(UnifiedError, match=words):
        make_watched(generator, order)
