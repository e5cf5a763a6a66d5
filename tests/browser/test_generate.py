"""Generate in a real browser: each kind of thing is made by the shipped model, looked at, and taken away as a file."""

from __future__ import annotations

import io
import wave
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.browser.conftest import WAIT, serving, settle
from tests.browser.driving import exceptions, press, wait_for_text

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
MAKING = 3 * WAIT  # the first thing waits for torch and the weights


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of its own, because making loads torch."""
    with serving(tmp_path_factory.mktemp("generate")) as address:
        yield address


@pytest.fixture
def page(url: str, chromium: Any) -> Iterator[Any]:
    context = chromium.new_context(viewport={"width": 1500, "height": 1400}, accept_downloads=True)
    tab = context.new_page()
    tab.set_default_timeout(WAIT)
    tab.goto(f"{url}/generate")
    settle(tab)
    yield tab
    context.close()


def saved(page: Any, button: str) -> bytes:
    with page.expect_download(timeout=WAIT) as download:
        page.get_by_role("button", name=button).first.click()
    return bytes(download.value.path().read_bytes())


def make(page: Any, task: str, words: str | None) -> None:
    page.locator('[data-testid="stRadio"] label', has_text=task).click()
    settle(page)
    if words is not None:
        press(page, words)
    press(page, "Make it" if words is not None else "Read it")
    page.get_by_text("Experts used").first.wait_for(timeout=MAKING)
    settle(page)
    assert exceptions(page) == 0


def test_each_kind_is_made_and_saved(page: Any) -> None:
    make(page, "Draw a picture", "a handwritten three")
    pixels = np.asarray(Image.open(io.BytesIO(saved(page, "Picture as PNG"))).convert("L"), float)
    assert pixels.shape == (320, 320)  # every pixel ten wide
    assert pixels[80:240, 80:240].mean() > pixels[[0, -1]].mean() + 20  # ink in the middle of a black field
    with zipfile.ZipFile(io.BytesIO(saved(page, "Capture as zip"))) as bundle:
        assert "manifest.json" in {name.rsplit("/", 1)[-1] for name in bundle.namelist()}

    make(page, "Draw a clip", "a four drifting up")
    clip = Image.open(io.BytesIO(saved(page, "Clip as GIF")))
    assert getattr(clip, "n_frames", 1) == 4

    make(page, "Speak", "george says seven")
    with wave.open(io.BytesIO(saved(page, "Sound as WAV"))) as sound:
        samples = np.frombuffer(sound.readframes(sound.getnframes()), np.int16)
        assert sound.getframerate() == 8000 and 0.1 < len(samples) / 8000 < 3
    assert np.abs(samples.astype(float)).max() > 500  # not silence

    make(page, "Go on with a text", "once upon a time, there was a little dog")
    assert len(saved(page, "Text").decode().split()) > 10


def test_a_shipped_file_is_read(page: Any) -> None:
    make(page, "Read a file", None)
    wait_for_text(page, "What the model writes, token by token.")
