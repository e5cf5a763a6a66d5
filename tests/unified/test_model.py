"""What the model may see and what not, and what the routing probe records of it."""

from __future__ import annotations

import numpy as np
import torch

from probes import RoutingProbe, find_sites
from tests.unified.toy import ToyTokenizers, toy_model, toy_samples
from workbench.unified.batch import make_batch
from workbench.unified.experts import MoeBlock
from workbench.unified.segments import TASKS


def test_the_future_is_unseen() -> None:
    """Changing what comes later changes no earlier logits, beyond the group of tokens that is predicted together."""
    model = toy_model()
    sample = next(sample for sample in toy_samples() if sample.task == "word_to_image")
    batch = make_batch([sample], model.config, ToyTokenizers())  # type: ignore[arg-type]
    given = {name: value for name, value in batch.items() if name not in ("labels", "bit_labels", "task")}
    with torch.no_grad():
        before = model(**given, use_cache=False)
        changed = dict(given)
        changed["visual"] = given["visual"].clone()
        changed["visual"][:, 9] += 1  # a cell of the last scale, whose tokens stand at 8 to 16
        after = model(**changed, use_cache=False)
    moved = (before.bit_logits - after.bit_logits).abs().amax(-1)[0] > 1e-6
    assert not moved[:8].any()
    assert moved[8:17].all()  # its own scale sees it whole


def test_no_modality_reaches_the_layers() -> None:
    """Modality, role and task labels change no number: the router sees the hidden state alone."""
    model = toy_model()
    batch = make_batch(toy_samples(), model.config, ToyTokenizers(), width=80)  # type: ignore[arg-type]
    with torch.no_grad():
        one = model(**batch, use_cache=False).losses
        blind = {**batch, "modality": torch.zeros_like(batch["modality"]), "role": torch.zeros_like(batch["role"])}
        two = model(**blind, use_cache=False).losses
    assert torch.equal(one.token, two.token)


def test_audio_levels_follow_each_other() -> None:
    """The second level knows the first code; the first does not."""
    model = toy_model()
    sample = next(sample for sample in toy_samples() if sample.task == "word_to_speech")
    batch = make_batch([sample], model.config, ToyTokenizers())  # type: ignore[arg-type]
    with torch.no_grad():
        one = model(**batch, use_cache=False).audio_logits
        changed = {**batch, "audio_labels": batch["audio_labels"].clone()}
        first = (batch["audio_labels"][0, :, 0] >= 0).nonzero()[0, 0]
        changed["audio_labels"][0, first, 0] = (batch["audio_labels"][0, first, 0] + 1) % 8
        two = model(**changed, use_cache=False).audio_logits
    assert torch.equal(one[:, 0], two[:, 0])
    assert (one[0, 1] - two[0, 1]).abs().max() > 1e-4


def test_probe_counts_the_six_groups() -> None:
    """Counts of the probe against a plain count of the chosen experts, by modality and role of the layout."""
    model = toy_model()
    chosen: dict[int, torch.Tensor] = {}
    for layer in model.layers:
        moe: MoeBlock = layer.moe
        moe.experts.register_forward_pre_hook(
            lambda _, args, number=moe.layer: chosen.__setitem__(number, args[1].clone())
        )
    batch = make_batch(toy_samples(), model.config, ToyTokenizers())  # type: ignore[arg-type]
    with torch.no_grad(), RoutingProbe(model, tokens=True) as probe:
        model(**batch, use_cache=False)
    capture = probe.capture()
    names = list(capture.groups)
    modality, role = batch["modality"].flatten().numpy(), batch["role"].flatten().numpy()
    real = batch["attention_mask"].flatten().numpy() > 0
    for number, site in enumerate(capture.sites):
        assert (site.id, site.experts, site.top_k) == (f"text_{number}_mlp", 16, 2)
        ids = chosen[number].numpy()
        for group, (kinds, roles) in {
            "Text": ((0,), (0, 1)),
            "Image und.": ((1,), (0,)),
            "Image gen.": ((1,), (1,)),
            "Video und.": ((2,), (0,)),
            "Video gen.": ((2,), (1,)),
            "Audio": ((3,), (0, 1)),
        }.items():
            inside = real & np.isin(modality, kinds) & np.isin(role, roles)
            assert inside.sum() > 0
            wanted = np.bincount(ids[inside].ravel(), minlength=16)
            assert (capture.count[number, names.index(group)] == wanted).all(), (site.id, group)
    assert capture.manifest.excluded["text"]["padding"] == int((~real).sum())
    assert all(check.passed for check in capture.manifest.checks)


def test_gate_weights_are_promised() -> None:
    """The probe knows the gate of this model, so it checks that the weights of a token add up to 1."""
    promises = [found.facts.promise for found in find_sites(toy_model())]
    assert [(promise.score, promise.total) for promise in promises] == [("sigmoid + selection bias", 1.0)] * 5


def test_plain_text_needs_no_layout() -> None:
    """Ids and a mask alone, as transformers calls a model: left padding changes nothing, generate works."""
    model = toy_model()
    ids = torch.tensor([[1, 20, 21, 22]])
    padded = torch.tensor([[0, 0, 1, 20, 21, 22]])
    mask = torch.tensor([[0, 0, 1, 1, 1, 1]])
    with torch.no_grad():
        one = model(ids).logits[0]
        two = model(padded, attention_mask=mask).logits[0, 2:]
        grown = model.generate(ids, max_new_tokens=6, do_sample=False, eos_token_id=None)
        again = ids
        for _ in range(6):
            again = torch.cat([again, model(again, use_cache=False).logits[:, -1:].argmax(-1)], 1)
    assert torch.allclose(one, two, atol=1e-5)
    assert torch.equal(grown, again)


def test_every_task_has_targets() -> None:
    model = toy_model()
    batch = make_batch(toy_samples(), model.config, ToyTokenizers(), width=80)  # type: ignore[arg-type]
    losses = model(**batch, use_cache=False).losses
    for number in range(len(TASKS)):
        assert float(losses.weight[batch["task"] == number].sum()) > 0
    assert losses.has_ahead.any()
    losses.token.sum().backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None and "ahead" not in name]
    assert not without
