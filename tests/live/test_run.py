"""Live runs: what is handed out against the same text run again by hand, one sequence and two, and the capture of it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from probes import RoutingProbe
from workbench.analysis.trace import NO_EXPERT, Trace
from workbench.inputs import InputError
from workbench.live import Control, LiveError, LiveRun, Prompt, Sampling
from workbench.models import embedded_models

TEXT = "the cat sat on a mat"


def run(loaded: Any, *prompts: Prompt, **sampling: Any) -> LiveRun:
    made = LiveRun(loaded, prompts or (Prompt(TEXT),), Sampling(**{"max_new_tokens": 12, "seed": 1, **sampling}))
    made.go(Control())
    return made


def by_hand(loaded: Any, trace: Trace) -> tuple[np.ndarray, np.ndarray]:
    """Experts and weights [S, T, K] of the finished text in one pass, read from the blocks without the probe."""
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    experts = [module for name, module in loaded.model.named_modules() if name.endswith(".experts")]
    hooks = [module.register_forward_pre_hook(lambda _, args: seen.append(args[1:3])) for module in experts]
    with torch.no_grad():
        loaded.model(input_ids=torch.tensor(trace.token_ids[None]))
    for hook in hooks:
        hook.remove()
    ids = np.stack([chosen.numpy() for chosen, _ in seen])
    weights = np.stack([weight.float().numpy() for _, weight in seen])
    order = np.argsort(-weights, axis=2, kind="stable")
    return np.take_along_axis(ids, order, 2), np.take_along_axis(weights, order, 2)


def check_against_hand(loaded: Any, trace: Trace) -> None:
    ids, weights = by_hand(loaded, trace)
    routed = trace.routed
    assert routed[:-1].all()
    np.testing.assert_array_equal(trace.experts[:, routed], ids[:, routed])
    np.testing.assert_allclose(trace.weights[:, routed], weights[:, routed], atol=2e-5)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_events_are_those_of_the_finished_text_in_one_pass(loaded: Any, temperature: float) -> None:
    live = run(loaded, temperature=temperature)
    (trace,) = live.traces()
    assert len(trace) == 7 + 12 and trace.written.sum() == 12 == live.written
    check_against_hand(loaded, trace)
    assert not trace.routed[-1] and (trace.experts[:, -1] == NO_EXPERT).all()  # written, and never read back


@pytest.mark.skipif(not embedded_models(), reason="needs the embedded model in sample_data/checkpoints")
def test_embedded_model_against_one_pass_of_a_probe() -> None:
    from workbench.models import LoadOptions, load_model

    loaded = load_model(embedded_models()[0].name, LoadOptions(device="cpu", dtype="float32"))
    (trace,) = run(loaded, Prompt("one day a little dog saw"), max_new_tokens=24, temperature=0.9).traces()
    check_against_hand(loaded, trace)
    with torch.no_grad(), RoutingProbe(loaded.model, tokens=True) as probe:
        loaded.model(input_ids=torch.tensor(trace.token_ids[None, :-1]))
    rows = probe.capture().read_tokens("text").to_pandas()
    for index, site in enumerate(trace.sites):
        np.testing.assert_array_equal(np.stack(rows[f"experts_{site.id}"]), trace.experts[index, :-1])


def test_probabilities_are_the_models_own_before_the_temperature(loaded: Any) -> None:
    (trace,) = run(loaded, temperature=2.0, top_p=0.7).traces()
    with torch.no_grad():
        scores = loaded.model(input_ids=torch.tensor(trace.token_ids[None])).logits[0].log_softmax(-1).exp()
    for place in np.flatnonzero(trace.written).tolist():
        expected = float(scores[place - 1, trace.token_ids[place]])
        assert trace.event(place).probability == pytest.approx(expected, abs=1e-5)
    assert trace.event(0).probability is None and trace.event(0).phase == "prefill"


def test_greedy_writes_what_plain_generate_writes(loaded: Any) -> None:
    (trace,) = run(loaded, temperature=0.0).traces()
    given = loaded.tokenizer(TEXT, return_tensors="pt")
    with torch.no_grad():
        plain = loaded.model.generate(**given, max_new_tokens=12, do_sample=False)[0]
    assert trace.token_ids.tolist() == plain.tolist()


def test_nothing_stays_installed(loaded: Any) -> None:
    before = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in loaded.model.modules())
    run(loaded)
    assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in loaded.model.modules()) == before


def test_reading_alone_writes_nothing(loaded: Any) -> None:
    live = run(loaded, max_new_tokens=0)
    (trace,) = live.traces()
    assert len(trace) == 7 and not trace.written.any() and trace.routed.all()
    assert live.capture().token_count[0].sum() == 6  # the start token is special


# ---------------------------------------------------------------------------------------------- capture
def test_capture_counts_what_was_handed_out(loaded: Any) -> None:
    live = run(loaded)
    (trace,) = live.traces()
    capture = live.capture()
    capture.validate()
    keep = trace.routed & ~trace.special
    for index, site in enumerate(trace.sites):
        counted = np.bincount(trace.experts[index, keep].reshape(-1), minlength=site.experts)
        np.testing.assert_array_equal(capture.count[index].sum(axis=0), counted)
    assert capture.manifest.model.id == "tiny" and "seed 1" in capture.manifest.notes


def test_heatmap_of_a_trace_is_that_of_its_capture(loaded: Any) -> None:
    from workbench.analysis.load import heatmap_table

    live = run(loaded)
    (trace,) = live.traces()
    words = Trace(**{**trace.__dict__, "experts": np.where(trace.special[None, :, None], NO_EXPERT, trace.experts)})
    for measure in ("utilisation", "share", "mass"):
        mine, captured = words.heatmap(measure), heatmap_table(live.capture(), "Text", measure=measure)
        np.testing.assert_allclose(mine.values, captured.values, rtol=1e-3)


# ---------------------------------------------------------------------------------------------- side by side
def test_two_prompts_are_each_what_they_are_alone(loaded: Any) -> None:
    pair = run(loaded, Prompt(TEXT, name="A"), Prompt("hello there how are you", name="B"), temperature=1.0)
    alone = [run(loaded, Prompt(text), temperature=1.0).traces()[0] for text in (TEXT, "hello there how are you")]
    for mine, other in zip(pair.traces(), alone, strict=True):
        np.testing.assert_array_equal(mine.token_ids, other.token_ids)
        np.testing.assert_array_equal(mine.experts, other.experts)
    capture = pair.capture()
    assert capture.groups == ("A", "B") and capture.manifest.documents == 2
    for index, trace in enumerate(pair.traces()):
        keep = trace.routed & ~trace.special
        assert int(capture.token_count[0, index]) == int(keep.sum())


def test_two_prompts_take_turns(loaded: Any) -> None:
    """After every round both have written the same number of tokens."""
    prompts = (Prompt(TEXT, name="A"), Prompt("a dog", name="B"))
    live, control = LiveRun(loaded, prompts, Sampling(max_new_tokens=3)), Control(paused=True)
    thread = threading.Thread(target=live.go, args=(control,))
    thread.start()
    for expected in (0, 2, 4):
        wait_for_hold(control)
        assert live.written == expected
        assert [int(trace.written.sum()) for trace in live.traces()] == [expected // 2] * 2
        control.step()
    control.play()
    thread.join(60)
    assert live.written == 6


# ---------------------------------------------------------------------------------------------- pause, step, stop
def wait_for_hold(control: Control) -> None:
    pause = threading.Event()
    for _ in range(6000):
        if control.holding and control.would_hold():
            return
        pause.wait(0.01)
    raise AssertionError("the run never stood at its gate")


class Passes:
    """Counts the forward passes of a model."""

    def __init__(self, model: Any) -> None:
        self.number = 0
        self._handle = model.register_forward_hook(self._count)

    def _count(self, *_: Any) -> None:
        self.number += 1

    def remove(self) -> None:
        self._handle.remove()


def test_pause_holds_the_model_and_a_step_is_one_pass(loaded: Any) -> None:
    passes = Passes(loaded.model)
    live, control = LiveRun(loaded, [Prompt(TEXT)], Sampling(max_new_tokens=5)), Control(paused=True)
    thread = threading.Thread(target=live.go, args=(control,))
    thread.start()
    try:
        for step in range(4):
            wait_for_hold(control)
            assert passes.number == step  # the first step reads and chooses a token, each other writes one
            assert live.written == step and len(live.traces()[0]) == (7 + step if step else 0)
            assert control.paused and thread.is_alive()
            control.step()
        wait_for_hold(control)
        control.play()
        thread.join(60)
        assert not thread.is_alive() and live.written == 5 and passes.number == 5
    finally:
        passes.remove()
    check_against_hand(loaded, live.traces()[0])


def test_pauses_do_not_change_what_is_written(loaded: Any) -> None:
    expected = run(loaded, temperature=1.0).traces()[0]
    live, control = LiveRun(loaded, [Prompt(TEXT)], Sampling(max_new_tokens=12, temperature=1.0, seed=1)), Control()
    control.pause()
    thread = threading.Thread(target=live.go, args=(control,))
    thread.start()
    for _ in range(4):
        wait_for_hold(control)
        control.step()
    wait_for_hold(control)
    control.play()
    thread.join(60)
    np.testing.assert_array_equal(live.traces()[0].token_ids, expected.token_ids)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_stop_while_paused_writes_no_further_token(loaded: Any, steps: int) -> None:
    live, control = LiveRun(loaded, [Prompt(TEXT)], Sampling(max_new_tokens=50)), Control(paused=True)
    thread = threading.Thread(target=live.go, args=(control,))
    thread.start()
    for _ in range(steps):
        wait_for_hold(control)
        control.step()
    wait_for_hold(control)
    control.stop()
    thread.join(60)
    assert not thread.is_alive() and live.written == steps
    if steps:
        assert int(live.capture().token_count[0].sum()) == 6 + steps - 1
    else:
        with pytest.raises(LiveError, match="stopped before"):
            live.capture()
    run(loaded)  # the model is free again


def test_stop_is_heard_between_two_layers_of_the_prompt(loaded: Any) -> None:
    control = Control()
    live = LiveRun(loaded, [Prompt(TEXT)], Sampling(max_new_tokens=5))
    first = live._probe.found[0].facts.watch.register_forward_hook(lambda *_: control.stop())
    live.go(control)
    first.remove()
    assert live.written == 0 and live.sites_read == 2 and len(live.traces()[0]) == 0
    run(loaded)


def test_stop_keeps_what_was_written(loaded: Any) -> None:
    control = Control()
    live = LiveRun(loaded, [Prompt(TEXT)], Sampling(max_new_tokens=40))
    passes = {"left": 4}

    def count(*_: Any) -> None:
        passes["left"] -= 1
        if not passes["left"]:
            control.stop()

    hook = loaded.model.register_forward_hook(count)
    live.go(control)
    hook.remove()
    assert live.written == 4
    check_against_hand(loaded, live.traces()[0])


# ---------------------------------------------------------------------------------------------- threads
def test_two_models_in_two_threads_never_mix(load: Callable[[], Any]) -> None:
    """Two loaded models, two threads, the same moment: each writes what it writes alone, and records that alone."""
    jobs = [(load(), TEXT, 5), (load(), "hello there how are you", 9)]
    with torch.no_grad():  # other weights, so that other experts are chosen
        for weight in jobs[1][0].model.parameters():
            weight.copy_(weight.flip(0))
    alone = [run(one, Prompt(text), seed=seed, temperature=1.0, max_new_tokens=30) for one, text, seed in jobs]
    together = [
        LiveRun(one, [Prompt(text)], Sampling(seed=seed, temperature=1.0, max_new_tokens=30))
        for one, text, seed in jobs
    ]
    gates = [Control(paused=True) for _ in jobs]
    threads = [threading.Thread(target=live.go, args=(gate,)) for live, gate in zip(together, gates, strict=True)]
    for thread in threads:
        thread.start()
    for _ in range(10):  # in lock step, so that every pass of one lies between two of the other
        for gate in gates:
            wait_for_hold(gate)
            gate.step()
    for gate in gates:
        gate.play()
    for thread in threads:
        thread.join(60)
    for mine, expected in zip(together, alone, strict=True):
        np.testing.assert_array_equal(mine.traces()[0].token_ids, expected.traces()[0].token_ids)
        np.testing.assert_array_equal(mine.traces()[0].experts, expected.traces()[0].experts)
        np.testing.assert_array_equal(mine.capture().count, expected.capture().count)


# ---------------------------------------------------------------------------------------------- other models
def test_encoder_and_decoder_are_two_stacks() -> None:
    from transformers import SwitchTransformersConfig, SwitchTransformersForConditionalGeneration

    from workbench.capture import ModelInfo
    from workbench.models.load import LoadedModel

    config = SwitchTransformersConfig(
        vocab_size=40, d_model=16, d_kv=8, d_ff=16, num_layers=2, num_decoder_layers=2, num_heads=2, num_experts=4,
        num_sparse_encoder_layers=2, num_sparse_decoder_layers=2, decoder_start_token_id=0, pad_token_id=0, eos_token_id=None,
        expert_capacity=64,
    )  # fmt: skip
    torch.manual_seed(0)
    model = SwitchTransformersForConditionalGeneration(config).eval()
    loaded = LoadedModel(model, None, Words(), ModelInfo(id="switch"), "", None)  # type: ignore[arg-type]
    (trace,) = run(loaded, Prompt("aa b"), max_new_tokens=4, temperature=0.0).traces()
    assert trace.stack[:2] == ("encoder", "encoder") and set(trace.stack[2:]) == {"decoder"}
    assert trace.written.tolist() == [False, False, False, True, True, True, True]
    sites = [site.stack for site in trace.sites]
    for place in range(len(trace) - 1):
        assert {sites[index] for index in np.flatnonzero(trace.experts[:, place, 0] >= 0)} <= {trace.stack[place]}
    assert len(trace.route(0)) == sites.count("encoder")


class Words:
    """A token a word: its length."""

    def __call__(self, text: str, **_: Any) -> dict[str, Any]:
        return {"input_ids": [len(word) for word in text.split()]}

    def convert_ids_to_tokens(self, token: int) -> str:
        return f"{token} "


# ---------------------------------------------------------------------------------------------- sentences
def test_a_text_model_refuses_a_picture_in_one_sentence(loaded: Any, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "one.png")
    with pytest.raises(InputError, match="'one.png' is a picture, and the model 'tiny' takes text alone"):
        LiveRun(loaded, [Prompt("what is it", files=(tmp_path / "one.png",))], Sampling())
    (tmp_path / "one.xyz").write_text("x")
    with pytest.raises(InputError, match="'one.xyz' is none"):
        LiveRun(loaded, [Prompt(files=(tmp_path / "one.xyz",))], Sampling())


@pytest.mark.parametrize(
    ("text", "new", "words"),
    [
        ("  ", 4, "the field is empty"),
        ("the cat " * 100, 4, "A prompt of at most 60 tokens was expected"),
        ("the", 64, "ask for fewer new tokens"),
        ("a" * 100_001, 4, "characters was expected"),
    ],
)
def test_prompts_that_do_not_fit(loaded: Any, text: str, new: int, words: str) -> None:
    with pytest.raises(LiveError, match=words):
        LiveRun(loaded, [Prompt(text)], Sampling(max_new_tokens=new))


def test_a_model_that_cannot_write(loaded: Any) -> None:
    from dataclasses import replace

    reader = replace(loaded, model=loaded.model.model)
    with pytest.raises(LiveError, match="reads and cannot write"):
        LiveRun(reader, [Prompt(TEXT)], Sampling(max_new_tokens=4))
    live = LiveRun(reader, [Prompt(TEXT)], Sampling(max_new_tokens=0))
    live.go(Control())
    assert len(live.traces()[0]) == 7


def test_chat_goes_through_the_template(loaded: Any) -> None:
    (trace,) = run(loaded, Prompt("hello there", chat=True), max_new_tokens=2).traces()
    assert list(trace.pieces[:5]) == ["user", ":", "hello", "there", "."]
    assert "assistant" in trace.pieces[:8]


# ---------------------------------------------------------------------------------------------- pictures and clips
@pytest.fixture(scope="module")
def sees(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from tests.tiny_qwen_vl import save_qwen_vl
    from workbench.models import LoadOptions, load_model

    folder = save_qwen_vl(tmp_path_factory.mktemp("vl") / "sees")
    return load_model(str(folder), LoadOptions(device="cpu", dtype="float32"))


def test_a_picture_is_read_beside_the_words(sees: Any, tmp_path: Path) -> None:
    from PIL import Image

    Image.linear_gradient("L").resize((16, 16)).convert("RGB").save(tmp_path / "one.png")
    live = run(sees, Prompt("Describe the cat", files=(tmp_path / "one.png",)), max_new_tokens=4, temperature=0.0)
    (trace,) = live.traces()
    pictures = np.array([kind == "image" for kind in trace.modality])
    assert pictures.sum() == 4 and not trace.written[pictures].any()  # 16 pixels, patches of 4, merged 2 x 2
    assert trace.routed[:-1].all() and trace.written.sum() == 4
    capture = live.capture()
    assert int(capture.token_count[0, capture.group_index("Image und.")]) == 4


def test_a_clip_is_read_or_the_missing_package_is_named(sees: Any, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width = stream.height = 16
        for level in range(8):
            frame = av.VideoFrame.from_ndarray(np.full((16, 16, 3), level * 30, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    prompt = Prompt(files=(tmp_path / "clip.mp4",))
    if find_spec("torchvision") is None:
        with pytest.raises(InputError, match="'clip.mp4' is a clip, and .* torchvision, which is not installed"):
            run(sees, prompt)
        return
    (trace,) = run(sees, prompt, max_new_tokens=2).traces()
    assert "video" in trace.modality and "Describe" in trace.pieces  # the usual question for a clip


def test_a_sound_is_refused_where_the_model_hears_nothing(sees: Any, tmp_path: Path) -> None:
    (tmp_path / "one.wav").write_bytes(b"RIFF")
    with pytest.raises(InputError, match="'one.wav' is a sound, and the model 'sees' takes text and pictures"):
        LiveRun(sees, [Prompt("what", files=(tmp_path / "one.wav",))], Sampling())


@pytest.mark.skipif(not embedded_models(), reason="needs the embedded model in sample_data/checkpoints")
def test_the_code_in_the_docs_runs() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "live.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "docs/live.md", "exec"), names)
    assert names["capture"].token_count.sum() > 0 and names["event"].phase == "decode"
