"""A probe comes and goes without a trace: hooks, memory, locks, threads, exceptions, compiled models."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from typing import Any

import pytest
import torch

from probes import RoutingProbe
from probes.errors import BusyError, CompiledModelError, NoExpertsError, NothingRecordedError
from tests.probes.models import Toy, tiny

IDS = torch.tensor([[1, 2, 3], [4, 5, 6]])


def hooks(model: torch.nn.Module) -> int:
    """Every hook that torch knows, of all modules."""
    names = [name for name in vars(torch.nn.Module()) if name.endswith("_hooks") or "_hooks_" in name]
    return sum(
        len(getattr(module, name)) for module in model.modules() for name in names if getattr(module, name) is not None
    )


def test_off_means_that_nothing_is_installed() -> None:
    model = tiny("mixtral")
    before = hooks(model)
    probe = RoutingProbe(model)
    assert hooks(model) == before
    with probe:
        assert hooks(model) > before
        model(IDS)
    assert hooks(model) == before


def test_output_and_gradients_are_bit_equal() -> None:
    model = tiny("deepseek_v3")

    def step() -> tuple[torch.Tensor, list[torch.Tensor]]:
        model.zero_grad()
        logits = model(IDS).logits
        logits.square().mean().backward()
        return logits.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None]

    plain, plain_grads = step()
    with RoutingProbe(model, tokens=True, scores=True):
        watched, watched_grads = step()
    assert torch.equal(plain, watched)
    assert len(plain_grads) == len(watched_grads) > 0
    assert all(torch.equal(a, b) for a, b in zip(plain_grads, watched_grads, strict=True))


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing_counts_once(reentrant: bool) -> None:
    model = tiny("qwen3_moe").train()
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    model.enable_input_require_grads()
    try:
        with RoutingProbe(model) as probe:
            model(IDS, use_cache=False).logits.mean().backward()
    finally:
        model.gradient_checkpointing_disable()
        model.eval()
    assert probe.capture().token_count[:, 0].tolist() == [6] * 4


@pytest.mark.parametrize("place", ["root", "part", "in place"])
def test_compiled_models_are_refused(place: str) -> None:
    model: Any = Toy()
    if place == "root":
        model = torch.compile(model)
    elif place == "part":
        model.layers[1] = torch.compile(model.layers[1])
    else:
        model.layers[0].compile()
    with pytest.raises(CompiledModelError, match=r"is compiled .* without torch\.compile"):
        RoutingProbe(model)


def test_a_model_compiled_in_between_is_refused_on_entering() -> None:
    model = Toy()
    probe = RoutingProbe(model)
    model.compile()
    with pytest.raises(CompiledModelError), probe:
        pass


def test_dense_model() -> None:
    with pytest.raises(NoExpertsError, match="Sequential has no set of experts"):
        RoutingProbe(torch.nn.Sequential(torch.nn.Linear(2, 2)))


def test_nothing_recorded() -> None:
    model = Toy()
    with RoutingProbe(model) as probe:
        pass
    with pytest.raises(NothingRecordedError, match="at least one forward pass"):
        probe.capture()
    with pytest.raises(NothingRecordedError):
        RoutingProbe(model).capture()


def test_entering_twice() -> None:
    model = Toy()
    with RoutingProbe(model) as probe:
        with pytest.raises(BusyError, match="watches once"), probe:
            pass
        with pytest.raises(BusyError, match="same thread"), RoutingProbe(model):
            pass
        model(IDS)
    with pytest.raises(BusyError, match="watches once"), probe:
        pass
    assert probe.capture().token_count[0, 0] == 6


def test_an_exception_leaves_no_trace_and_keeps_what_was_whole() -> None:
    model = tiny("mixtral")
    before = hooks(model)
    probe = RoutingProbe(model)
    with pytest.raises(IndexError), probe:
        model(IDS)
        with pytest.raises(Exception, match="."):
            model(torch.tensor([[10**6]]))  # no such token: the pass fails on the way
        model(IDS[:1])
        raise IndexError
    assert hooks(model) == before
    assert probe.capture().token_count[:, 0].tolist() == [9] * 4
    with RoutingProbe(model) as again:  # the lock was given back
        model(IDS)
    assert again.capture().token_count[0, 0] == 6


def test_a_pass_that_breaks_in_the_middle_is_not_counted() -> None:
    model = tiny("mixtral")

    def break_here(*_: object) -> None:
        raise RuntimeError("broken")

    with RoutingProbe(model) as probe:
        handle = model.model.layers[2].register_forward_pre_hook(break_here)
        with pytest.raises(RuntimeError, match="broken"):
            model(IDS)
        handle.remove()
        model(IDS)
    assert probe.capture().token_count[:, 0].tolist() == [6] * 4


def test_eight_threads_at_once() -> None:
    """Each waits for the model and records its own tokens, no more and no less."""
    model = tiny("mixtral")
    before = hooks(model)
    found: dict[int, list[int]] = {}

    def work(number: int) -> None:
        for _ in range(3):
            with RoutingProbe(model, groups=f"thread {number}") as probe, torch.no_grad():
                model(IDS[:, :2].repeat(number + 1, 1))
            capture = probe.capture()
            assert capture.groups == (f"thread {number}",)
            found.setdefault(number, []).append(int(capture.token_count[0, 0]))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [4 * (number + 1)] * 3 for number in range(8)}
    assert hooks(model) == before


def test_a_thread_that_waits_too_long_says_so() -> None:
    model = Toy()
    errors: list[str] = []

    def wait() -> None:
        try:
            with RoutingProbe(model, lock_timeout=0.05):
                pass
        except BusyError as error:
            errors.append(str(error))

    with RoutingProbe(model):
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join()
    assert len(errors) == 1
    assert "more than 0.05 seconds" in errors[0]


def test_forward_passes_of_other_threads_are_not_recorded() -> None:
    model = Toy()
    with RoutingProbe(model) as probe:
        model(IDS)
        thread = threading.Thread(target=lambda: model(IDS))
        thread.start()
        thread.join()
        model(IDS)
    assert probe.capture().token_count[0, 0] == 12


def test_200_runs_leave_nothing_behind() -> None:
    model = tiny("qwen3_moe")

    def run(number: int) -> None:
        probe = RoutingProbe(model, tokens=True)
        try:
            with probe, torch.no_grad():
                model(IDS)
                if number % 10 == 9:
                    raise KeyError
        except KeyError:
            pass
        probe.capture()

    for number in range(10):  # first runs fill caches of torch and python
        run(number)
    before = hooks(model)
    gc.collect()
    tracemalloc.start()
    objects, (memory, _) = len(gc.get_objects()), tracemalloc.get_traced_memory()
    for number in range(200):
        run(number)
    gc.collect()
    grown, (memory_after, _) = len(gc.get_objects()) - objects, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert hooks(model) == before
    assert grown < 200, "an object a run would be a leak"
    assert memory_after - memory < 200_000, "a kilobyte a run would be a leak"


def test_the_recorder_of_transformers_is_not_disturbed() -> None:
    model = tiny("olmoe")
    with torch.no_grad():
        before = model(IDS, output_router_logits=True).router_logits
        with RoutingProbe(model, tokens=True, scores=True) as probe:
            during = model(IDS, output_router_logits=True).router_logits
    assert all(torch.equal(a, b) for a, b in zip(before, during, strict=True))
    capture = probe.capture()
    assert capture.tokens is not None
    for site, logits in zip(capture.sites, during, strict=True):
        scores = torch.tensor(capture.tokens["text"].column(f"scores_{site.id}").to_pylist())
        torch.testing.assert_close(scores, logits.reshape(6, -1), rtol=1e-3, atol=1e-3)


def test_offloaded_model(tmp_path: Any) -> None:
    """accelerate keeps some layers on the processor and some on disk, and replaces their forward."""
    from accelerate import dispatch_model

    model = tiny("mixtral")
    with torch.no_grad(), RoutingProbe(model) as plain:
        expected = model(IDS).logits
    parts = dict.fromkeys(("model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head"), "cpu")
    parts |= {f"model.layers.{n}": "disk" if n % 2 else "cpu" for n in range(4)}
    offloaded = dispatch_model(tiny("mixtral"), parts, main_device="cpu", offload_dir=str(tmp_path), force_hooks=True)
    before = [module.forward for module in offloaded.modules()]
    with torch.no_grad(), RoutingProbe(offloaded, tokens=True) as probe:
        assert torch.equal(offloaded(IDS).logits, expected)
    assert [module.forward for module in offloaded.modules()] == before
    assert (probe.capture().count == plain.capture().count).all()


def test_a_fused_block_is_asked_again_and_flagged() -> None:
    """A kernel that replaces a whole block calls neither its router nor its experts."""
    model = tiny("gpt_oss")
    with torch.no_grad(), RoutingProbe(model, tokens=True) as plain:
        model(IDS)
    block = model.model.layers[1].mlp
    router_forward, experts_forward = type(block.router).forward, type(block.experts).forward

    def fused(hidden: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        flat = hidden.reshape(-1, hidden.shape[-1])
        scores, weights, ids = router_forward(block.router, flat)
        return experts_forward(block.experts, flat, ids, weights).reshape(hidden.shape), scores

    block.forward = fused
    try:
        with torch.no_grad(), RoutingProbe(model, tokens=True) as probe:
            model(IDS)
    finally:
        del block.forward
    capture = probe.capture()
    assert (capture.count == plain.capture().count).all()
    assert [(flag.kind, flag.site) for flag in capture.manifest.flags] == [("recomputed", "text_1_mlp")]


def test_two_models_watched_at_once() -> None:
    """A probe inside the block of another, on another model, does not hide the outer one."""
    first, second = tiny("mixtral"), Toy()
    with torch.no_grad(), RoutingProbe(first) as outer:
        with RoutingProbe(second) as inner:
            first(IDS)
            second(IDS)
        first(IDS)
    assert outer.capture().manifest.tokens["text"]["Text"] == 2 * IDS.numel()
    assert inner.capture().manifest.tokens["text"]["Text"] == IDS.numel()


def test_an_interrupt_leaves_no_half_open_pass() -> None:
    """An interrupt is no Exception, so torch skips the closing hooks; the next pass is whole all the same."""
    model = tiny("mixtral")

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with torch.no_grad(), RoutingProbe(model) as probe:
        handle = model.model.layers[2].register_forward_pre_hook(interrupt)
        with pytest.raises(KeyboardInterrupt):
            model(IDS)
        handle.remove()
        model(IDS)
    assert probe.capture().token_count.sum(axis=1).tolist() == [IDS.numel()] * 4


def test_generation_is_not_compiled_under_a_probe() -> None:
    """generate() would compile decode steps with a static cache on a GPU, and compiled steps skip hooks."""
    model = tiny("mixtral")
    plain = model._valid_auto_compile_criteria
    with torch.no_grad(), RoutingProbe(model) as probe:
        assert model._valid_auto_compile_criteria({}, model.generation_config) is False
        model.generate(IDS, max_new_tokens=4, do_sample=False, cache_implementation="static")
    assert model._valid_auto_compile_criteria == plain
    assert not hasattr(model, "_compiled_call")
    assert "_valid_auto_compile_criteria" not in vars(model)
    tokens = probe.capture().table("tokens").sum("block", "group")
    assert tokens.sel(phase="decode").values.tolist() == [IDS.shape[0] * 3] * 4


def test_a_compiled_copy_of_the_watched_model() -> None:
    """Compiled inside the block, hooks are part of it; compiled and run before, they are skipped, and the capture says so."""
    model = tiny("qwen3_moe")
    with torch.no_grad():
        with RoutingProbe(model) as plain:
            model(IDS)
        torch._dynamo.reset()
        copy = torch.compile(model, backend="eager")
        with RoutingProbe(model) as inside:
            copy(IDS)
        torch._dynamo.reset()
        copy = torch.compile(model, backend="eager")
        copy(IDS)
        with RoutingProbe(model) as after:
            copy(IDS)
        torch._dynamo.reset()
    assert (inside.capture().count == plain.capture().count).all()
    with pytest.raises(NothingRecordedError, match="not a compiled copy"):
        after.capture()
