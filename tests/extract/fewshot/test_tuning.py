"""Fine-tuning on shots: USM and UIE learn them, the engine that was given stays as it was."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from tests.extract.metaner.conftest import made as metaner_copy  # noqa: F401 - a fixture
from tests.extract.metaner.conftest import t5 as metaner_t5  # noqa: F401 - a fixture
from tests.extract.seq2seq.conftest import tiny_copy
from tests.extract.uie.conftest import words  # noqa: F401 - a fixture
from tests.extract.usm.conftest import model as usm_model  # noqa: F401 - a fixture
from tests.extract.usm.conftest import tokenizer  # noqa: F401 - a fixture
from tests.extract.usm.conftest import tokenizer as plain_tokenizer  # noqa: F401 - a fixture
from workbench.extract import Document, Schema, Span
from workbench.extract.errors import EngineError
from workbench.extract.evaluate.facts import Count
from workbench.extract.fewshot import Tuning, episode_count, fine_tuned
from workbench.extract.fewshot.tuning import PAPER_EPOCHS, TUNERS, Stopped
from workbench.extract.fewshot.tuning_metaner import Samples
from workbench.extract.metaner.engine import MetaNerEngine
from workbench.extract.metaner.train.episodes import Sampling, Writer
from workbench.extract.metaner.wire import Wire
from workbench.extract.uie.engine import UieEngine
from workbench.extract.usm.engine import UsmEngine

SCHEMA = Schema.of("person")


def shot(text: str, *spans: tuple[str, str]) -> Document:
    found = [Span(start=text.index(w), end=text.index(w) + len(w), type=t) for w, t in spans]
    return Document(id=text, text=text, entities=tuple(found), relations=())


SHOTS = [
    shot("marie worked in paris", ("marie", "person")),
    shot("pierre met marie in warsaw", ("pierre", "person"), ("marie", "person")),
    shot("great food but slow service"),
]


@pytest.fixture
def engines(usm_model: Any, words: Any, tokenizer: Any) -> dict[str, Any]:  # noqa: F811
    return {"usm": UsmEngine(usm_model, tokenizer, "tiny"), "uie": UieEngine(tiny_copy(words), words, "tiny")}


def net(engine: Any) -> torch.nn.Module:
    return engine.usm if engine.name == "usm" else engine.net  # type: ignore[no-any-return]


def f1(engine: Any) -> float:
    found = engine.extract([d.text for d in SHOTS], SCHEMA)
    return sum(episode_count(SHOTS, [each.select(nested=False) for each in found]).values(), Count()).f1


@pytest.mark.parametrize("name", ["usm", "uie"])
def test_the_shots_are_learnt_and_the_given_engine_stays(engines: dict[str, Any], name: str) -> None:
    engine = engines[name]
    before = copy.deepcopy(net(engine).state_dict())
    told: list[tuple[int, int]] = []
    made = fine_tuned(engine, SHOTS, SCHEMA, Tuning(epochs=120, rate=1e-3), lambda *now: told.append(now))
    assert told[0] == (1, 120) and told[-1] == (120, 120), "three sentences are one step of four an epoch"
    assert all(torch.equal(value, before[key]) for key, value in net(engine).state_dict().items())
    assert not net(made).training and made is not engine and made.name == name
    assert f1(made) >= 0.5 > f1(engine)
    again = fine_tuned(engine, SHOTS, SCHEMA, Tuning(epochs=2))
    same = fine_tuned(engine, SHOTS, SCHEMA, Tuning(epochs=2))
    assert all(torch.equal(value, net(same).state_dict()[key]) for key, value in net(again).state_dict().items())


def test_the_recipe_counts_steps_as_the_paper_does() -> None:
    assert Tuning(epochs=PAPER_EPOCHS).steps(4) == 200 and Tuning(epochs=PAPER_EPOCHS).steps(20) == 1000
    assert Tuning(epochs=PAPER_EPOCHS).warmup_steps(20) == 60


def test_what_cannot_be_tuned_is_said(engines: dict[str, Any]) -> None:
    assert set(engines) <= set(TUNERS)
    with pytest.raises(EngineError, match="nothing to fine-tune on"):
        fine_tuned(engines["usm"], [], SCHEMA)
    with pytest.raises(EngineError, match="no entity type"):
        fine_tuned(engines["usm"], SHOTS, Schema.read({"events": {"attack": []}}))
    with pytest.raises(Stopped, match="stopped"):
        fine_tuned(engines["uie"], SHOTS, SCHEMA, stopped=lambda: True)


@pytest.mark.parametrize("copies", [True, False])
def test_metaners_backbone_learns_the_plain_task(metaner_copy: Any, metaner_t5: Any, copies: bool) -> None:  # noqa: F811
    model, tokenizer_, _ = metaner_copy if copies else metaner_t5
    engine = MetaNerEngine(model, tokenizer_, "tiny")
    before = copy.deepcopy(model.state_dict())
    epochs, rate = (150, 2e-3) if copies else (2, 1e-3)
    tuned = fine_tuned(engine, SHOTS, SCHEMA, Tuning(epochs=epochs, rate=rate))
    assert all(torch.equal(value, before[key]) for key, value in engine.net.state_dict().items())
    assert any(not torch.equal(value, before[key]) for key, value in tuned.net.state_dict().items())
    assert tuned.name == "metaner" and not tuned.net.training
    if copies:
        assert f1(tuned) >= 0.5 > f1(engine)


def test_a_batch_holds_no_more_than_there_is(metaner_copy: Any) -> None:  # noqa: F811
    """Of one sentence with one type a batch of four would be four times the same: the weights come to the same."""
    one, schema = [shot("marie met pierre in paris", ("paris", "city"))], Schema.read({"entities": ["city"]})
    engine = MetaNerEngine(*metaner_copy[:2], "tiny")
    few, many = (fine_tuned(engine, one, schema, Tuning(epochs=3, batch=n)).net.state_dict() for n in (1, 4))
    assert all(torch.equal(value, many[key]) for key, value in few.items())


def test_a_plain_sample_asks_three_types_to_all_and_says_those_alone(metaner_copy: Any) -> None:  # noqa: F811
    _, tokenizer_, tokens = metaner_copy
    writer = Writer(Wire(tokenizer_, tokens, True), Sampling())
    shown = shot("marie met pierre in paris", ("marie", "person"), ("pierre", "victim"), ("paris", "city"))
    names = {name: name for name in ("person", "city", "victim", "museum")}
    draw, rng = Samples(writer, writer.wire.shots([shown]), names), np.random.default_rng(0)
    counts = set()
    ids = {name: writer.wire.name(name) for name in names}
    for _ in range(40):
        made = draw.draw(rng)
        assert made is not None and tokens.text not in made.source, "no demonstration, and no mark before the text"
        text = made.source.index(tokens.label)
        asked = [name for name, number in ids.items() if _holds(made.source[text:-6], (tokens.label, *number))]
        said = [name for name, number in ids.items() if _holds(made.target, (tokens.is_, *number, tokens.stop))]
        assert said == [name for name in asked if name != "museum"] and made.target[-1] == tokens.end
        counts.add(len(asked))
    assert counts == {3, 4}
    with pytest.raises(EngineError, match="shorter examples"):
        Samples(Writer(writer.wire, Sampling(max_source=3)), writer.wire.shots([shown]), names)


def _holds(row: list[int], part: tuple[int, ...]) -> bool:
    return any(tuple(row[n : n + len(part)]) == part for n in range(len(row)))
