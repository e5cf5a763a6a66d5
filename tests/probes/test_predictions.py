"""Likeliest next id and loss of the next token in the token rows: equal to what a plain forward pass says."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch

from probes import ProbeError, RoutingProbe
from tests.probes.families.build import build
from tests.probes.families.catalogue import all_families, quick_or_full
from tests.probes.models import Toy, tiny
from workbench.capture import Capture

# Families whose logits are no next token's (`probes.predictions._foretells`), that have no language head at all, or whose
# inputs are embeddings (the talker).
NO_NEXT_TOKEN = ("openai_privacy_filter", "diffusion_gemma", "vitpose_backbone", "qwen3_omni_moe_talker")


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny("mixtral")


def plain(model: Any, ids: torch.Tensor, mask: torch.Tensor | None = None) -> tuple[np.ndarray, np.ndarray]:
    """argmax [B, T] and loss [B, T - 1] by cross_entropy over the logits of all positions."""
    with torch.no_grad():
        logits = model(ids, attention_mask=mask).logits
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2).float(), ids[:, 1:], reduction="none")
    return logits.argmax(-1).numpy(), loss.numpy()


def columns(capture: Capture, stack: str = "text") -> dict[str, list[Any]]:
    assert capture.tokens is not None
    wanted = ["document", "position", "phase", "token_id", "predicted_id", "loss"]
    found: dict[str, list[Any]] = capture.tokens[stack].select(wanted).to_pydict()
    return found


def prompt(rows: int = 2, length: int = 6) -> torch.Tensor:
    return torch.arange(5, 5 + rows * length).reshape(rows, length)


@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("chunk", [2**24, 300])
def test_a_forward_pass(model: Any, keep: int, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("probes.predictions.CHUNK_ELEMENTS", chunk)  # 300: two positions at a time
    ids = prompt()
    best, loss = plain(model, ids)
    with torch.no_grad(), RoutingProbe(model, tokens=True, predictions=True, loss=True) as probe:
        model(ids, logits_to_keep=keep)
    found = columns(probe.capture())
    assert found["predicted_id"] == best.reshape(-1).tolist()
    for row in range(2):
        mine = found["loss"][row * 6 : row * 6 + 6]
        np.testing.assert_allclose(mine[:5], loss[row], rtol=1e-4)
        assert mine[5] is None, "no token of the document follows"


def test_the_head_is_run_in_chunks(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("probes.predictions.CHUNK_ELEMENTS", 128 * 4)
    seen: list[int] = []
    handle = model.lm_head.register_forward_hook(lambda _m, _a, out: seen.append(out.numel() // out.shape[-1]))
    try:
        with torch.no_grad(), RoutingProbe(model, tokens=True, predictions=True, loss=True) as probe:
            model(prompt(4, 6), logits_to_keep=1)
    finally:
        handle.remove()
    probe.capture()
    assert max(seen) == 4 and sum(seen) >= 24, "never more than four positions at once, and every position"


def test_padding_and_packed_documents_end_a_document(model: Any) -> None:
    ids, mask = prompt(), torch.ones(2, 6, dtype=torch.long)
    ids[0, 4:], mask[0, 4:] = 0, 0
    documents = torch.tensor([[0, 0, 0, 0, -1, -1], [1, 1, 1, 2, 2, 2]])
    _, loss = plain(model, ids, mask)
    with (
        torch.no_grad(),
        RoutingProbe(model, tokens=True, predictions=True, loss=True, documents=documents) as probe,
    ):
        model(ids, attention_mask=mask, logits_to_keep=1)
    found = columns(probe.capture())
    by_document: dict[str, list[Any]] = {name: [] for name in ("0", "1", "2")}
    for name, value in zip(found["document"], found["loss"], strict=True):
        by_document[name].append(value)
    expected = {"0": [*loss[0, :3], None], "1": [*loss[1, :2], None], "2": [*loss[1, 3:], None]}
    for name, values in expected.items():
        assert [value is None for value in by_document[name]] == [value is None for value in values]
        np.testing.assert_allclose(by_document[name][:-1], values[:-1], rtol=1e-4)


@pytest.mark.parametrize("flush_every", [10_000, 1], ids=["flushed at the end", "flushed after every pass"])
@pytest.mark.parametrize("sampled", [False, True], ids=["greedy", "sampled"])
def test_generation_equals_a_forward_pass_over_what_was_written(
    model: Any, flush_every: int, sampled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("probes.collector.PENDING_CALLS", flush_every - 1)
    ids, mask = prompt(), torch.ones(2, 6, dtype=torch.long)
    ids[1, :2], mask[1, :2] = 0, 0
    torch.manual_seed(3)
    with RoutingProbe(model, tokens=True, predictions=True, loss=True) as probe:
        made = model.generate(
            ids, attention_mask=mask, max_new_tokens=5, min_new_tokens=5, do_sample=sampled, pad_token_id=0
        )
    found = columns(probe.capture())
    start = 0
    for row in range(2):
        sequence = made[row : row + 1, int((mask[row] == 0).sum()) : -1]  # the last token is never fed back
        best, loss = plain(model, sequence)
        stop = start + sequence.shape[1]
        assert found["token_id"][start:stop] == sequence[0].tolist()
        assert found["predicted_id"][start:stop] == best[0].tolist()
        np.testing.assert_allclose(found["loss"][start : stop - 1], loss[0], rtol=1e-3, atol=1e-5)
        assert found["loss"][stop - 1] is None, "what was written last is not fed, so it has no row to be foretold for"
        start = stop
    assert start == len(found["loss"])


def test_beams_that_are_reordered_have_no_loss_but_a_prediction(model: Any) -> None:
    with RoutingProbe(model, tokens=True, predictions=True, loss=True, documents=["x", "y"]) as probe:
        model.generate(prompt(), max_new_tokens=4, min_new_tokens=4, num_beams=3, pad_token_id=0, do_sample=False)
    assert "_reorder_cache" not in model.__dict__
    found = columns(probe.capture())
    decoded = [number for number, phase in enumerate(found["phase"]) if phase == "decode"]
    assert decoded and all(found["loss"][number] is None for number in decoded)
    assert all(value is not None for value in found["predicted_id"])


def test_a_row_that_has_ended_foretells_no_padding(model: Any) -> None:
    free = model.generate(prompt(), max_new_tokens=6, min_new_tokens=6, do_sample=False, pad_token_id=0)
    ending = int(free[0, 7])
    before = model.generation_config.eos_token_id
    model.generation_config.eos_token_id = ending
    try:
        with RoutingProbe(model, tokens=True, loss=True) as probe:
            model.generate(prompt(), max_new_tokens=6, do_sample=False, pad_token_id=0, eos_token_id=ending)
    finally:
        model.generation_config.eos_token_id = before
    capture = probe.capture()
    assert capture.tokens is not None and "predicted_id" not in capture.tokens["text"].column_names
    rows = capture.tokens["text"].select(["document", "token_id", "loss"]).to_pydict()
    first = [n for n, name in enumerate(rows["document"]) if name == "0"]
    assert rows["token_id"][first[-1]] == ending and rows["loss"][first[-1]] is None
    assert rows["loss"][first[-2]] is not None, "that the row would end was foretold"


@pytest.mark.parametrize("name", quick_or_full(without=NO_NEXT_TOKEN))
def test_every_family(name: str) -> None:
    """With the logits of the last token alone, where a family can do that: what cross_entropy makes of all of them."""
    built = build(all_families()[name])
    with torch.no_grad():
        logits = getattr(built.model(**built.inputs), "logits", None)
    if logits is None:
        with torch.no_grad(), RoutingProbe(built.model, tokens=True, predictions=True) as probe:
            built.model(**built.inputs)
        with pytest.raises(ProbeError, match="load the model with its head"):
            probe.capture()
        return
    short = "logits_to_keep" in inspect.signature(type(built.model).forward).parameters
    with torch.no_grad(), RoutingProbe(built.model, tokens=True, predictions=True, loss=True) as probe:
        built.model(**built.inputs, **({"logits_to_keep": 1} if short else {}))
    capture = probe.capture()
    stack = next(
        stack for stack in capture.stacks if any(value is not None for value in columns(capture, stack)["predicted_id"])
    )
    found = columns(capture, stack)
    ids = built.inputs.get("decoder_input_ids", built.inputs["input_ids"])
    names = list(dict.fromkeys(found["document"]))
    for number, (best, loss) in enumerate(zip(found["predicted_id"], found["loss"], strict=True)):
        row, place = names.index(found["document"][number]), found["position"][number]
        assert best == int(logits[row, place].argmax())
        if loss is not None:
            own = torch.nn.functional.cross_entropy(logits[row, place].float(), ids[row, place + 1])
            assert loss == pytest.approx(float(own), rel=1e-3, abs=1e-4)
        else:
            assert place == ids.shape[1] - 1 or built.family.kind == "multimodal"


def test_what_cannot_be_recorded_is_said() -> None:
    with pytest.raises(ProbeError, match="add tokens=True"):
        RoutingProbe(tiny("mixtral"), predictions=True)
    toy = Toy()
    with torch.no_grad(), RoutingProbe(toy, tokens=True, loss=True) as probe:
        toy(prompt())
    with pytest.raises(ProbeError, match="no call of Toy returned any"):
        probe.capture()


def test_a_head_of_an_unknown_kind_is_refused_unless_all_logits_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("mixtral")
    model.lm_head.register_forward_hook(lambda _m, _a, out: out.sin())
    forward = type(model).forward

    def curved(self: Any, *args: Any, **kwargs: Any) -> Any:
        out = forward(self, *args, **kwargs)
        out.logits = out.logits.exp()
        return out

    monkeypatch.setattr(type(model), "forward", curved)
    with (
        pytest.raises(ProbeError, match="without logits_to_keep"),
        torch.no_grad(),
        RoutingProbe(model, tokens=True, loss=True),
    ):
        model(input_ids=prompt(), logits_to_keep=1)
    with torch.no_grad(), RoutingProbe(model, tokens=True, loss=True) as probe:
        model(input_ids=prompt())
    assert sum(value is not None for value in probe.capture().tokens["text"].column("loss").to_pylist()) == 10  # type: ignore[index]
