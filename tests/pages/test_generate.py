"""The Generate page: its empty state, a thing made from the form to the files, and what stands in the address."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from streamlit.testing.v1 import AppTest

from pages.parts import generate_job
from tests.pages.conftest import ROOT, Dashboard
from tests.unified.toy import sizes
from workbench import session
from workbench.making import TEMPERATURE

Words = Callable[[AppTest], str]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small untrained model with untrained tokenizers: the page shows what it makes, whatever it makes."""
    from workbench.unified import UnifiedConfig, UnifiedForCausalLM
    from workbench.unified.checkpoint import export
    from workbench.unified.tokenizers.audio import AudioConfig, AudioTokenizer
    from workbench.unified.tokenizers.bundle import Tokenizers
    from workbench.unified.tokenizers.image import ImageConfig, ImageTokenizer
    from workbench.unified.tokenizers.text import train_text

    torch.manual_seed(0)
    tokenizers = Tokenizers(
        train_text(["a handwritten three", "the digit seven moves left"], 300),
        ImageTokenizer(ImageConfig(bits=6, fine_width=16, width=16)),
        AudioTokenizer(AudioConfig(levels=2, codebook=16, width=24, code_width=16)),
    )
    folder = tmp_path_factory.mktemp("models") / "tiny-omni"
    export(UnifiedForCausalLM(UnifiedConfig(**{**tokenizers.facts(), **sizes()})), tokenizers, folder)
    return folder


@pytest.fixture
def shipped(dashboard: Dashboard, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Dashboard:
    monkeypatch.setattr(generate_job, "CHECKPOINTS", checkpoint.parent)
    return dashboard


def wait(app: AppTest) -> AppTest:
    """Until the job that was started last has ended, and the page drawn after it."""
    job = session.jobs().get(app.session_state["generate.watching"][0])
    assert job is not None
    for _ in range(4000):
        if job.snapshot().finished:
            break
        time.sleep(0.05)
    assert job.snapshot().state == "done", job.snapshot()
    app.run()
    assert not app.exception, app.exception
    return app


def test_without_a_model_it_says_which_commands_make_one(
    dashboard: Dashboard, words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate_job, "CHECKPOINTS", tmp_path / "none")
    app = dashboard.open("generate")
    assert not app.exception
    assert "workbench unified train" in words(app) and "workbench unified tokenizers" in words(app)
    app.text_input(key="generate.folder").input(str(tmp_path)).run()
    app.button(key="generate.use").click().run()
    assert "holds no checkpoint of the unified model" in words(app)


def test_a_picture_from_an_example_to_its_experts_and_files(shipped: Dashboard, words: Words) -> None:
    app = shipped.open("generate")
    assert app.button(key="generate.start").disabled and "Nothing was made yet" in words(app)
    app.button(key="generate.example.picture.0").click().run()
    assert app.text_input(key="generate.words.picture").value == "a handwritten three"
    app.button(key="generate.start").click().run()
    wait(app)
    said = words(app)
    assert "Experts used" in said and "Scale 4: 4 x 4, n = 16 tokens" in app.get("plotly_chart")[0].proto.spec
    assert [chart.key for chart in app.get("plotly_chart")] == ["generate.experts"]
    assert [look.cells for look in app.session_state["generate.watching"][1].snapshot()[0]] == [1, 4, 9, 16]
    app.slider(key="generate.step.4").set_value(1).run()
    assert not app.exception and "n = 1 token" in app.get("plotly_chart")[0].proto.spec
    labels = [button.proto.label for button in app.get("download_button")]
    assert "Picture as PNG" in labels and "Capture as zip" in labels
    assert app.query_params["model"] in ("tiny-omni", ["tiny-omni"])
    assert "three" not in str(dict(app.query_params))  # words never stand in the address


@pytest.mark.parametrize("task", ["clip", "speech", "text"])
def test_every_other_task_shows_its_steps(shipped: Dashboard, task: str) -> None:
    app = shipped.open("generate", model="tiny-omni", task=task)
    app.button(key=f"generate.example.{task}.0").click().run()
    app.button(key="generate.start").click().run()
    wait(app)
    watching = app.session_state["generate.watching"][1]
    looks, made = watching.snapshot()
    assert made is not None and (task != "clip" or len(looks) == 16)
    assert app.query_params["task"] in (task, [task])


def test_a_shipped_file_is_read(shipped: Dashboard, words: Words) -> None:
    app = shipped.open("generate", model="tiny-omni", task="read")
    app.button(key="generate.start").click().run()
    wait(app)
    assert "Experts used" in words(app)


def test_a_link_to_a_model_that_is_gone_says_so(shipped: Dashboard, words: Words) -> None:
    app = shipped.open("generate", model="lost", temperature="99")
    assert "not on this machine" in words(app) and app.slider(key="generate.temperature").value == TEMPERATURE


def test_the_first_picture_needs_no_torch() -> None:
    code = "import sys, pages.parts.generate_form, pages.parts.generate_view, pages.parts.generate_job; print('torch' in sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120, check=True
    )
    assert out.stdout.strip().endswith("False")
