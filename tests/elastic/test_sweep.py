"""A sweep from end to end on a tiny model: right numbers, nothing lost, resumed where it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from probes import SubModel, SubModelError
from tests.tiny_model import save_model
from workbench.analysis.curve import EVERY, load_curve
from workbench.capture.errors import CaptureError
from workbench.elastic.errors import ElasticError, SweepError
from workbench.elastic.harness import measures_of
from workbench.elastic.journal import Journal
from workbench.elastic.latency import LatencyOptions
from workbench.elastic.points import grid, make_points
from workbench.elastic.ranking import Rankings, needed
from workbench.elastic.sweep import SweepOptions, sweep
from workbench.inputs import Document
from workbench.models import LoadedModel, LoadOptions, load_model

TEXTS = [
    ("a", "pets", "the cat sat on a mat and the dog ran fast"),
    ("b", "pets", "a dog sat on the cat"),
    ("c", "talk", "hello there how are you fine thanks hello there"),
    ("d", "talk", "how are you"),
    ("e", "talk", "you ran on the mat fast"),
]
QUICK = SweepOptions(group_by="group", batch_size=2, latency=LatencyOptions(rounds=2, steps=2, length=6))
SUBS = ["layers=first:1", "top_k=1", "experts=0-1 top_k=1"]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = save_model(tmp_path_factory.mktemp("model") / "tiny")
    return load_model(str(folder), LoadOptions(device="cpu", dtype="float32"))


def documents() -> list[Document]:
    return [Document(id=name, group=group, text=text) for name, group, text in TEXTS]


def run(loaded: LoadedModel, out: Path, options: SweepOptions = QUICK, **more: Any) -> Any:
    return sweep(loaded, documents(), [], options, out, listed=[SubModel.parse(words) for words in SUBS], **more)


def test_losses_are_those_of_the_model_by_hand(loaded: LoadedModel, tmp_path: Path) -> None:
    done = run(loaded, tmp_path / "out")
    curve = load_curve(tmp_path / "out")
    assert done.rows == 4 and list(curve.rows["sub_model"]) == ["full", *SUBS] and done.shared
    model: Any = loaded.model
    for words in ["full", *SUBS]:
        losses, right, tokens = {}, {}, {}
        with SubModel.parse(words).applied(model), torch.no_grad():
            for name, _, text in TEXTS:
                ids = loaded.tokenizer(text, return_tensors="pt").input_ids
                logits = model(input_ids=ids).logits[0, :-1]
                losses[name] = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum").item()
                right[name] = int((logits.argmax(-1) == ids[0, 1:]).sum())
                tokens[name] = ids.shape[1] - 1
        for group in (EVERY, "pets", "talk"):
            names = [name for name, own, _ in TEXTS if group in (EVERY, own)]
            total = sum(tokens[name] for name in names)
            for measure, sums in (("loss", losses), ("accuracy", right)):
                own = curve.quality.set_index(["sub_model", "group", "measure"])
                row = own.loc[(words, group, measure)]
                assert row["value"] == pytest.approx(sum(sums[name] for name in names) / total, rel=1e-5)
                assert (row["documents"], row["tokens"]) == (len(names), total)
                assert row["low"] <= row["value"] <= row["high"]
        own = curve.documents[curve.documents["sub_model"] == words].set_index("document")  # type: ignore[index]
        assert own["loss"].to_dict() == pytest.approx(losses, rel=1e-5) and own["right"].to_dict() == right


def test_intervals_by_brute_force(loaded: LoadedModel, tmp_path: Path) -> None:
    run(loaded, tmp_path / "out", replace(QUICK, latency=LatencyOptions(rounds=0)))
    curve = load_curve(tmp_path / "out")
    assert curve.documents is not None
    own = curve.documents[curve.documents["sub_model"] == "full"]
    loss, tokens = own["loss"].to_numpy(), own["tokens"].to_numpy()
    every = np.stack(np.meshgrid(*[range(5)] * 5, indexing="ij"), axis=-1).reshape(
        -1, 5
    )  # all draws of 5 of 5 documents
    low, high = np.quantile(loss[every].sum(1) / tokens[every].sum(1), (0.025, 0.975))
    row = curve.rows.iloc[0]
    spread = high - low
    assert abs(row["loss_low"] - low) < 0.15 * spread and abs(row["loss_high"] - high) < 0.15 * spread
    assert (
        row["measured"] == "masked"
        and row["masked_because"] == "latency was not asked for"
        and row["decode_ms_p50"] is None
    )


def test_cost_and_speed_are_of_gathered_weights(loaded: LoadedModel, tmp_path: Path) -> None:
    run(loaded, tmp_path / "out")
    rows = load_curve(tmp_path / "out").rows.set_index("sub_model")
    full = sum(parameter.numel() for parameter in loaded.model.parameters())
    layer: Any = loaded.model.model.layers[1]
    assert rows.loc["full", "parameters_stored"] == full
    assert rows.loc["layers=first:1", "parameters_stored"] == full - sum(
        tensor.numel() for tensor in layer.parameters()
    )
    assert (
        (rows["measured"] == "gathered").all()
        and (rows["prefill_ms_n"] == 2).all()
        and (rows["decode_ms_n"] == 4).all()
    )
    assert (rows["prefill_ms_p50"] > 0).all() and (rows["decode_ms_p90"] >= rows["decode_ms_p50"]).all()
    assert rows.loc["full", "decode_of_full"] == rows.loc["full", "prefill_of_full"] == 1
    assert (rows["decode_of_full_low"] <= rows["decode_of_full"]).all() and (rows["decode_of_full"] > 0).all()
    expected = 1000 / rows["decode_ms_p50"]
    np.testing.assert_allclose(rows["decode_tokens_a_second"], expected)
    # The bytes of the weights, as the memory watch sees them on the gathered model, are those of the parameter count.
    buffers = sum(tensor.numel() * tensor.element_size() for tensor in loaded.model.buffers())
    np.testing.assert_array_equal(rows["memory_weights"], rows["bytes_stored"] + buffers)
    assert (rows["memory_bytes"] > rows["memory_weights"]).all()
    assert rows.loc["full", "full"] and not rows.loc["top_k=1", "full"]


def after(count: int) -> Callable[[], bool]:
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > count

    return stop


@pytest.mark.parametrize("stops", [1, 4, 9, 15])
def test_a_stopped_sweep_goes_on_where_it_was(loaded: LoadedModel, tmp_path: Path, stops: int) -> None:
    whole = run(loaded, tmp_path / "whole")
    first = run(loaded, tmp_path / "out", cancelled=after(stops))
    assert first.stopped and first.rows <= 4 and not whole.stopped
    before = (tmp_path / "out" / "journal.jsonl").read_text().splitlines()
    with pytest.raises(SweepError, match="--resume"):
        run(loaded, tmp_path / "out")
    told: list[tuple[int, int]] = []
    again = run(loaded, tmp_path / "out", resume=True, progress=lambda done, total, what: told.append((done, total)))
    now = (tmp_path / "out" / "journal.jsonl").read_text().splitlines()
    assert now[: len(before)] == before and not again.stopped and again.rows == 4
    keys = [tuple(json.loads(line).get(name) for name in ("kind", "sub_model", "batch", "round")) for line in now]
    assert len(keys) == len(set(keys))  # nothing was done twice
    one, two = load_curve(tmp_path / "whole"), load_curve(tmp_path / "out")
    assert two.quality.equals(one.quality)
    assert told[-1][0] == told[-1][1] and all(done <= total for done, total in told)


def test_sub_models_may_be_added_and_nothing_is_done_again(loaded: LoadedModel, tmp_path: Path) -> None:
    run(loaded, tmp_path / "out")
    before = (tmp_path / "out" / "journal.jsonl").read_text()
    sweep(loaded, documents(), [], QUICK, tmp_path / "out", listed=[SubModel(top_k=1, layers=(1,))], resume=True)
    added = (tmp_path / "out" / "journal.jsonl").read_text().removeprefix(before).splitlines()
    assert {json.loads(line)["sub_model"] for line in added} == {"layers=1 top_k=1"}


def test_a_line_that_was_cut_off_is_done_again(loaded: LoadedModel, tmp_path: Path) -> None:
    run(loaded, tmp_path / "out")
    expected = load_curve(tmp_path / "out").quality
    file = tmp_path / "out" / "journal.jsonl"
    text = file.read_text()
    file.write_text(text[: len(text) // 2])  # killed while writing
    run(loaded, tmp_path / "out", resume=True)
    assert load_curve(tmp_path / "out").quality.equals(expected)
    lines = file.read_text().splitlines()
    broken = [line for line in lines if not _whole(line)]
    assert len(broken) == 1 and len(lines) == len(text.splitlines()) + 1


def _whole(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def test_another_sweep_is_not_mixed_in(loaded: LoadedModel, tmp_path: Path) -> None:
    run(loaded, tmp_path / "out")
    with pytest.raises(SweepError, match="begun with another input"):
        sweep(loaded, documents()[:3], [], QUICK, tmp_path / "out", resume=True)
    with pytest.raises(SweepError, match="begun with another timing"):
        run(loaded, tmp_path / "out", replace(QUICK, latency=LatencyOptions(rounds=2, steps=3, length=6)), resume=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(SweepError, match="holds other files"):
        run(loaded, tmp_path / "mine")
    with pytest.raises(SweepError, match="is a file"):
        run(loaded, tmp_path / "mine" / "letter.txt")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the device that is always full is there on Linux only")
@pytest.mark.parametrize(("lines", "rows"), [(2, 0), (14, 4)])  # amid the losses; amid the clock, with all losses found
def test_a_full_disk_keeps_what_was_found(
    loaded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: int, rows: int
) -> None:
    written: list[int] = []
    old = Journal.add

    def add(self: Any, kind: str, sub_model: str, **values: Any) -> None:
        if len(written) == lines:  # from here on the kernel itself says that there is no space
            self._handle.close()
            self._handle = Path("/dev/full").open("a")  # noqa: SIM115 - the journal closes it
        written.append(1)
        old(self, kind, sub_model, **values)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "add", add)
        with pytest.raises(
            CaptureError, match="is full.* what was found is kept: free some space, then go on with --resume"
        ):
            run(loaded, tmp_path / "out")
    assert len((tmp_path / "out" / "journal.jsonl").read_text().splitlines()) == lines
    assert (tmp_path / "out" / "curve.parquet").exists() == (rows > 0)
    if rows:
        assert len(load_curve(tmp_path / "out").rows) == rows
    again = run(loaded, tmp_path / "out", resume=True)
    assert again.rows == 4 and not again.stopped


# ------------------------------------------------------------------ points and rankings
def test_a_grid_leaves_out_what_cannot_run_and_keeps_each_once(loaded: LoadedModel) -> None:
    wanted = grid(["all", "first:2", "first:1"], ["all", "0"], ["2", "1"])
    points, left_out = make_points(loaded.model, wanted, lambda sub: None)
    # All layers, all experts and top-k 2 are the whole model, under two names; one expert cannot be chosen twice.
    assert [point.key for point in points] == [
        "full", "top_k=1", "experts=0 top_k=1", "layers=first:1 top_k=2", "layers=first:1 top_k=1", "layers=first:1 experts=0 top_k=1",
    ]  # fmt: skip
    assert set(left_out) == {
        "experts=0 top_k=2",
        "layers=first:2 experts=0 top_k=2",
        "layers=first:1 experts=0 top_k=2",
    }
    assert [(point.layers, point.experts, point.top_k) for point in points][-1] == ("first:1", "0", "1")
    assert [point.full for point in points] == [True] + [False] * 5
    with pytest.raises(SubModelError, match="only 1 are left"):
        make_points(loaded.model, [], lambda sub: None, listed=[SubModel(experts=(0,))])
    with pytest.raises(SweepError, match="None of the sub-models can run"):
        make_points(loaded.model, grid([], ["0"], ["2"]), lambda sub: None)


def test_rankings_are_asked_for_and_made(loaded: LoadedModel, tmp_path: Path) -> None:
    assert needed(SubModel.parse("layers=important:1 experts=share:0.5:mass")) == {"mass", "important"}
    assert needed(SubModel.parse("experts=share:0.5:random:3 layers=first:1")) == frozenset()
    with pytest.raises(ElasticError, match="nothing to rank by"):
        Rankings().of(SubModel.parse("experts=share:0.5:mass"))
    with pytest.raises(ElasticError, match="by one measure"):
        Rankings().of(SubModel.parse("experts@text_0_mlp=share:0.5:mass experts@text_1_mlp=share:0.5:norm"))
    done = sweep(
        loaded, documents(), grid(["important:1"], ["share:0.5:mass", "share:0.5:norm"], ["1"]), replace(QUICK, latency=LatencyOptions(rounds=0)),
        tmp_path / "out", calibration=documents()[:2],
    )  # fmt: skip
    assert done.rows == done.points >= 2 and not done.left_out


def test_what_a_sweep_cannot_read_is_refused(loaded: LoadedModel, tmp_path: Path) -> None:
    for options, words in (
        (replace(QUICK, group_by="phase"), "has one group"),
        (replace(QUICK, tasks=("arc_easy",)), "lm-eval"),
    ):
        if words == "lm-eval" and _has_lm_eval():
            continue
        with pytest.raises(SweepError, match=words):
            run(loaded, tmp_path / "out", options)
    assert not (tmp_path / "out").exists()
    with pytest.raises(SweepError, match="--batch-size"):
        SweepOptions(batch_size=0)


# ------------------------------------------------------------------ lm-evaluation-harness
def _has_lm_eval() -> bool:
    from importlib.util import find_spec

    return find_spec("lm_eval") is not None


def test_measures_of_a_task() -> None:
    """The form that lm_eval.simple_evaluate returns (0.4.13)."""
    found = {
        "results": {"toy": {"alias": "toy", "acc,none": 0.5, "acc_stderr,none": 0.1, "ppl,strict": 7.0, "ppl_stderr,strict": "N/A", "sample_len": 4}},
        "higher_is_better": {"toy": {"acc": True, "ppl": False}},
        "n-samples": {"toy": {"original": 9, "effective": 4}},
    }  # fmt: skip
    accuracy, perplexity = measures_of("toy", found)
    assert accuracy["measure"] == "toy acc" and accuracy["better"] == "higher" and accuracy["documents"] == 4
    assert accuracy["low"] == pytest.approx(0.304) and accuracy["high"] == pytest.approx(0.696)
    assert perplexity["measure"] == "toy ppl (strict)" and perplexity["better"] == "lower" and perplexity["low"] is None


@pytest.mark.full
@pytest.mark.skipif(not _has_lm_eval(), reason="lm-eval is an optional extra that CI's dev installation leaves out")
def test_a_real_task_under_every_sub_model(loaded: LoadedModel, tmp_path: Path) -> None:
    rows = [
        {"q": "the cat", "choices": [" sat", " fine"], "a": 0},
        {"q": "how are", "choices": [" mat", " you"], "a": 1},
    ]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "toy.yaml").write_text(
        f"task: toy_choice\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    test: {tmp_path / 'data.jsonl'}\ntest_split: test\n"
        'output_type: multiple_choice\ndoc_to_text: "{{q}}"\ndoc_to_target: a\ndoc_to_choice: "{{choices}}"\ntarget_delimiter: ""\n'
        "metric_list:\n  - metric: acc\n    aggregation: mean\n    higher_is_better: true\n"
    )
    options = replace(QUICK, tasks=("toy_choice",), task_folder=tmp_path, latency=LatencyOptions(rounds=0))
    run(loaded, tmp_path / "out", options)
    quality = load_curve(tmp_path / "out").quality
    assert list(quality[quality["measure"] == "toy_choice acc"]["sub_model"]) == ["full", *SUBS]
    # A name that is not known, and a folder that is not there, are told before anything runs.
    for wrong, words in (
        (replace(options, tasks=("nix",)), "knows no task 'nix'"),
        (replace(options, task_folder=tmp_path / "no"), "is no folder"),
    ):
        with pytest.raises(SweepError, match=words):
            run(loaded, tmp_path / "other", wrong)
    assert not (tmp_path / "other").exists()
