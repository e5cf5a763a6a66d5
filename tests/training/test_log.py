"""`RoutingLog` in a plain loop and `RoutingCallback` in a real Trainer, on a tiny model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from probes import RoutingProbe
from workbench.capture import Capture
from workbench.training import RoutingCallback, RoutingLog, RunWriter, TrainingLogError, read_run
from workbench.training.log import describe, unwrapped

VOCABULARY = 40


def tiny_model() -> Any:
    from transformers import MixtralConfig, MixtralForCausalLM

    torch.manual_seed(0)
    config = MixtralConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, num_local_experts=4, num_experts_per_tok=2, max_position_embeddings=32,
        attention_dropout=0.1, router_jitter_noise=0.1, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return MixtralForCausalLM(config)


def batch(seed: int, rows: int = 4, length: int = 12) -> dict[str, torch.Tensor]:
    ids = torch.randint(3, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(seed))
    return {"input_ids": ids, "labels": ids}


def train(model: Any, steps: int, log: RoutingLog | None, first: int = 0) -> None:
    torch.manual_seed(1)
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(first, steps):
        loss = model(**batch(100 + step)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if log is not None:
            log.step({"loss/text": loss.detach()}, loss=loss)


def test_two_lines_in_a_loop(tmp_path: Path) -> None:
    model = tiny_model()
    with RoutingLog(tmp_path / "run", model, evaluation=batch(7), every=2, total_steps=5) as log:
        train(model, 5, log)
    run = read_run(tmp_path / "run")
    assert run.info.state == "finished" and run.info.model.family == "mixtral"
    assert run.info.model.config["num_local_experts"] == 4
    assert list(run.metrics["loss"].dropna().index) == [1, 2, 3, 4, 5]
    assert [step for step, _ in run.captures] == [0, 2, 4, 5]
    assert set(run.metrics["eval/loss/fixed"].dropna().index) == {0, 2, 4, 5}
    assert np.allclose(run.metrics["loss"].dropna(), run.metrics["loss/text"].dropna())
    # The last capture and loss are those of the trained model, by a probe of our own.
    model.eval()
    with torch.no_grad(), RoutingProbe(model) as probe:
        loss = float(model(**batch(7)).loss)
    last = Capture.load(run.captures[-1][1])
    assert np.array_equal(last.count, probe.capture().count) and last.count.sum() == 2 * 4 * 12 * 2
    assert run.metrics["eval/loss/fixed"].iloc[-1] == pytest.approx(loss, abs=1e-6)
    assert last.has("tokens") and not last.has("coactivation")


def test_training_is_bit_equal_with_and_without_the_log(tmp_path: Path) -> None:
    plain, logged = tiny_model(), tiny_model()
    train(plain, 4, None)
    with RoutingLog(tmp_path / "run", logged, evaluation=batch(7), every=1) as log:
        train(logged, 4, log)
    assert logged.training
    for (name, one), (_, other) in zip(plain.named_parameters(), logged.named_parameters(), strict=True):
        assert torch.equal(one, other), name


def test_frozen_parts_stay_in_evaluation_mode(tmp_path: Path) -> None:
    model = tiny_model()
    model.train()
    model.model.layers[0].eval()
    RoutingLog(tmp_path / "run", model, evaluation=batch(7), every=1).finish()
    assert model.training and not model.model.layers[0].training and model.model.layers[1].training


def test_several_batches_with_groups(tmp_path: Path) -> None:
    model = tiny_model()
    log = RoutingLog(tmp_path / "run", model, evaluation=[batch(1, 3), batch(2, 5)], groups=["tall", "small"])
    log.finish()
    capture = Capture.load(read_run(tmp_path / "run").captures[0][1])
    assert capture.groups == ("tall", "small") and capture.manifest.documents == 8
    assert capture.token_count[0].tolist() == [3 * 12, 5 * 12]


def test_resumed_run(tmp_path: Path) -> None:
    model = tiny_model()
    log = RoutingLog(tmp_path / "run", model, evaluation=batch(7), every=2)
    train(model, 3, log)  # killed after step 3, with a checkpoint of step 2
    again = RoutingLog(tmp_path / "run", model, evaluation=batch(7), every=2, resume_from=2)
    train(model, 4, again, first=2)
    again.finish()
    run = read_run(tmp_path / "run")
    assert list(run.metrics["loss"].dropna().index) == [1, 2, 3, 4] and run.resumed == (2,)
    assert [step for step, _ in run.captures] == [0, 2, 4]


def test_metrics_alone_for_a_dense_model(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    with RoutingLog(tmp_path / "run", model) as log:
        log.step(loss=1.0)
    run = read_run(tmp_path / "run")
    assert list(run.metrics["loss"]) == [1.0] and not run.captures and run.info.model.architecture == "Linear"


def test_a_model_without_experts_closes_the_run_with_its_sentence(tmp_path: Path) -> None:
    from probes.errors import NoExpertsError

    with pytest.raises(NoExpertsError):
        RoutingLog(tmp_path / "run", nn.Linear(2, 2), evaluation={"input": torch.ones(1, 2)})
    info = read_run(tmp_path / "run").info
    assert info.state == "stopped" and info.reason


def test_other_processes_write_nothing(tmp_path: Path) -> None:
    with RoutingLog(tmp_path / "run", tiny_model(), evaluation=batch(7), enabled=False) as log:
        log.step(loss=1.0)
        log.capture()
    assert not (tmp_path / "run").exists()


def test_wrong_calls(tmp_path: Path) -> None:
    with pytest.raises(TrainingLogError, match="every=-1"):
        RoutingLog(tmp_path / "a", tiny_model(), every=-1)
    with pytest.raises(TrainingLogError, match="2 evaluation batches need 2 entries of groups, but 1 came"):
        RoutingLog(tmp_path / "b", tiny_model(), evaluation=[batch(1), batch(2)], groups=["one"])
    with pytest.raises(TrainingLogError, match="something else came"):
        RoutingLog(tmp_path / "c", tiny_model(), evaluation=[1, 2])  # type: ignore[list-item]
    assert not any(tmp_path.iterdir())


def test_wrapped_model_is_watched_inside(tmp_path: Path) -> None:
    model = tiny_model()
    assert unwrapped(torch.compile(model)) is model
    assert unwrapped(nn.DataParallel(model)) is model
    RoutingLog(tmp_path / "run", torch.compile(model), evaluation=batch(7)).finish()
    assert len(read_run(tmp_path / "run").captures) == 1


def test_description_names_no_folder_of_this_machine(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    tiny_model().save_pretrained(tmp_path / "secret" / "mine")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "secret" / "mine")
    told = describe(loaded)
    assert told.id == "mine" and "secret" not in told.model_dump_json()


class Rows(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    def __len__(self) -> int:
        return 32

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {name: value[0] for name, value in batch(index, 1).items()}


def trainer(folder: Path, model: Any, callback: RoutingCallback, steps: int) -> Any:
    from transformers import Trainer, TrainingArguments

    arguments = TrainingArguments(
        output_dir=str(folder), max_steps=steps, per_device_train_batch_size=4, logging_steps=1, save_steps=2, eval_steps=2,
        eval_strategy="steps", report_to=[], use_cpu=True, disable_tqdm=True, seed=0,
    )  # fmt: skip
    return Trainer(model=model, args=arguments, train_dataset=Rows(), eval_dataset=Rows(), callbacks=[callback])


def test_trainer_and_its_resumption(tmp_path: Path) -> None:
    """Four steps, a kill, and four more from the checkpoint of step 4: the run reads like one of eight."""
    first = RoutingCallback(tmp_path / "run", batch(7), every=3)
    trainer(tmp_path / "out", tiny_model(), first, 4).train()
    with RunWriter.open(tmp_path / "run", resume_from=4) as broken:  # what a killed run would have left behind
        broken.metrics(5, loss=99.0)
    second = RoutingCallback(tmp_path / "run", batch(7), every=3)
    trainer(tmp_path / "out", tiny_model(), second, 8).train(resume_from_checkpoint=True)
    run = read_run(tmp_path / "run")
    assert list(run.metrics["loss"].dropna().index) == list(range(1, 9)) and run.metrics["loss"].max() < 50
    assert [step for step, _ in run.captures] == [0, 3, 4, 6, 8]
    assert set(run.metrics["eval/loss"].dropna().index) == {2, 4, 6, 8}
    assert set(run.metrics.columns) == {
        "loss",
        "eval/loss",
        "eval/loss/fixed",
        "lr",
        "grad_norm",
    }  # no timings, no totals
    assert run.info.state == "finished" and run.info.total_steps == 8
    assert run.info.training["by"] == "transformers.Trainer" and str(tmp_path) not in run.info.model_dump_json()


def test_several_evaluation_sets_are_parts_of_one_loss(tmp_path: Path) -> None:
    training = trainer(tmp_path / "out", tiny_model(), RoutingCallback(tmp_path / "run"), 2)
    training.eval_dataset = {"text": Rows(), "code_de": Rows()}
    training.train()
    assert set(read_run(tmp_path / "run").metrics.columns) == {
        "loss", "lr", "grad_norm", "eval/loss/text", "eval/loss/code_de"
    }  # fmt: skip


def test_trainer_that_starts_anew_in_the_folder_of_a_run_is_refused(tmp_path: Path) -> None:
    RunWriter.open(tmp_path / "run").finish()
    with pytest.raises(TrainingLogError, match="holds a run already"):
        trainer(tmp_path / "out", tiny_model(), RoutingCallback(tmp_path / "run"), 1).train()
