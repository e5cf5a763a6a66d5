"""Another set's labels in a prompt: what they leave open, what they deny, and that what the set itself marks stays true."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from tests.extract.usm.made_sets import documents as sets
from tests.extract.usm.test_train import documents
from workbench.extract import Extraction
from workbench.extract.errors import EngineError
from workbench.extract.evaluate import within
from workbench.extract.records import Document, Event, Span
from workbench.extract.schema import Label, Schema
from workbench.extract.usm import together, tune
from workbench.extract.usm.links import Gold, targets
from workbench.extract.usm.prompt import LabelCoder, LabelText
from workbench.extract.usm.together import joined
from workbench.extract.usm.train.prompts import Prompter
from workbench.extract.usm.train.recipe import parse_weights
from workbench.extract.usm.train.sources import Plan, Source, make_source

PERSON, CITY, WORKS, PLACE = 0, 1, 2, 3  # two labels of mentions, two of pairs
TRUE = Gold(
    typed={(PERSON, (0, 1)), (CITY, (4, 4)), (WORKS, (4, 4))}, linked={((0, 1), (4, 4))}, subjects={((0, 1), WORKS)}
)


def test_cells_of_labels_that_nobody_sought_are_left_out() -> None:
    plain = targets(TRUE, 7, 2, 2)
    open_ = targets(replace(TRUE, unsought=frozenset({CITY, PLACE}), typed=TRUE.typed - {(CITY, (4, 4))}), 7, 2, 2)
    assert (open_.from_label[:, [CITY, PLACE]] == -1).all() and (open_.to_label[:, :, PLACE] == -1).all()
    assert (open_.from_label[:, [PERSON, WORKS]] == plain.from_label[:, [PERSON, WORKS]]).all()
    assert (open_.to_label[:, :, WORKS] == plain.to_label[:, :, WORKS]).all()
    for each in (plain, open_):  # every true link stands in both
        assert each.tokens[0, 0, 1] == each.tokens[0, 4, 4] == each.tokens[1, 0, 4] == each.tokens[2, 1, 4] == 1
    assert plain.tokens[0, 2, 3] == plain.tokens[0, 5, 6] == 0
    assert open_.tokens[0, 2, 3] == open_.tokens[0, 5, 6] == -1, "a city that nobody marked may lie there"
    assert open_.tokens[0, 0, 3] == open_.tokens[0, 1, 1] == 0, "but none across or inside a span that is marked"
    assert plain.tokens[1, 2, 3] == 0 and open_.tokens[1, 2, 3] == -1, "two others may be a pair"
    assert open_.tokens[1, 4, 0] == 0, "the ends of this pair are no other one"


def test_types_of_mentions_alone_leave_pairs_as_they_are() -> None:
    plain = targets(TRUE, 7, 2, 2)
    open_ = targets(replace(TRUE, unsought=frozenset({CITY})), 7, 2, 2)
    assert (open_.tokens[1:] == plain.tokens[1:]).all()
    assert (open_.to_label == plain.to_label).all()


class Heard(LabelCoder):
    """Remembers what each label's pieces said."""

    said: ClassVar[dict[tuple[int, ...], str]] = {}

    def ids(self, label: LabelText) -> tuple[int, ...]:
        found = super().ids(label)
        self.said[found] = label.name
        return found


def _events(tokenizer: Any, domain: str) -> Source:
    text = "a bomb in paris hit marie"
    spans = {"trigger": Span(start=2, end=6, type="attack"), "who": Span(start=20, end=25, type="target")}
    event: Any = Event(type="attack", trigger=spans["trigger"], arguments=({"role": "target", "start": 20, "end": 25},))
    return make_source("war", Plan(1.0, domain), [Document(id="1", text=text, events=(event,))], tokenizer, 40)


@pytest.mark.parametrize("domain", ["cyber", "general"])
def test_what_a_set_marks_stays_true_beside_labels_of_another(tokenizer: Any, domain: str) -> None:
    people = make_source("own", Plan(1.0, "reviews"), documents(), tokenizer, 40)
    war = _events(tokenizer, domain)
    coder = Heard(tokenizer, 12)
    prompter = Prompter(coder, [people, war], own_name=1.0, describe=0.0, drop=0.0, from_relations=0.0, beside=1.0)
    rng = np.random.default_rng(4)
    open_, shut = 0, 0
    for _ in range(200):
        chunk = people.chunks[int(rng.integers(len(people.chunks)))]
        sample, gold = prompter.draw(people, chunk, rng)
        names = [coder.said[ids] for ids in sample.labels]
        assert len(set(names)) == len(names)
        for number, name in enumerate(names):
            found = {span for label, span in gold.typed if label == number}
            if name in ("person", "city"):
                assert found == {span for type_, span in chunk.entities if type_ == name}
                assert number not in gold.unsought
            elif name in ("attack", "target"):
                assert not found
                assert (number >= sample.mentions) == (name == "target")
                open_ += number in gold.unsought
                shut += number not in gold.unsought
    assert (shut > 100 and open_ == 0) if domain == "cyber" else (open_ > 100 and shut == 0), (
        "a far domain has none of them, of a near one nobody knows"
    )


def test_without_the_chance_nothing_is_borrowed(tokenizer: Any) -> None:
    people = make_source("own", Plan(1.0, "reviews"), documents(), tokenizer, 40)
    prompter = Prompter(LabelCoder(tokenizer, 12), [people, _events(tokenizer, "general")], far_labels=False)
    rng = np.random.default_rng(4)
    attack = tuple(tokenizer("attack", add_special_tokens=False)["input_ids"])
    for _ in range(100):
        sample, gold = prompter.draw(people, people.chunks[0], rng)
        assert attack not in sample.labels and not gold.unsought


def test_two_schemas_in_one_keep_every_name_of_the_measured_one() -> None:
    own = Schema(entities=(Label(name="city", description="own"),), relations={}, events={"meet": ("who",)})
    other = Schema(entities=(Label(name="city"), Label(name="person")), events={"attack": ("target",)})
    both = joined(own, other)
    assert [(label.name, label.description) for label in both.entities] == [("city", "own"), ("person", "")]
    assert set(both.events) == {"meet", "attack"}


def test_weights_of_sets_are_read_or_refused_in_one_sentence() -> None:
    assert parse_weights(["conll04=9", "casie=.5"]) == (("conll04", 9.0), ("casie", 0.5))
    for wrong in ("conll04", "conll04=0", "conll04=x", "nobody=1", "casie=inf"):
        with pytest.raises(EngineError, match="SET=WEIGHT"):
            parse_weights([wrong])


def test_what_a_larger_prompt_takes_away_is_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An engine that knows the gold, and loses entities and relations where events stand in the same pass."""

    def texts_of(name: str, root: Path, split: str) -> list[Document]:
        return [each.model_copy(update={"text": f"{each.text} {name}"}) for each in sets(name, root, split)]

    monkeypatch.setattr(tune, "load_data", texts_of)
    gold = {each.text: each for name, _ in together.PAIRS for each in texts_of(name, tmp_path, "dev")}
    asked: list[Schema] = []

    def extract(texts: list[str], schema: Schema, *_: Any, **__: Any) -> list[Extraction]:
        asked.append(schema)
        blind = bool(schema.events and schema.entities) and not config.events_apart
        made = []
        for text in texts:
            true = within(gold[text], schema)[0]
            lost = (
                {"entities": (), "relations": ()}
                if blind
                else {"entities": true.entities or (), "relations": true.relations or ()}
            )
            made.append(Extraction(text=text, wanted=schema.expanded(), events=true.events or (), **lost))
        return made

    config = SimpleNamespace(events_apart=True)
    engine: Any = SimpleNamespace(usm=SimpleNamespace(config=config), extract=extract)
    rows = together.measure(engine, tmp_path, 60)
    assert config.events_apart is True
    assert [(row["set"], row["beside"]) for row in rows] == list(together.PAIRS)
    for row in rows:
        for metric, alone in row["alone"].items():
            lost = metric in ("entity", "relation")
            assert (alone["f1"], row["apart"][metric]["f1"]) == (1.0, 1.0), (row, metric)
            assert row["one pass"][metric]["f1"] == (0.0 if lost else 1.0)
    assert {tuple(row["alone"]) for row in rows} == {("entity", "relation"), ("entity",), ("trigger", "argument")}
    assert any(schema.events and schema.relations for schema in asked)
    table = together.as_table(rows).splitlines()
    assert len(table) == 2 + sum(len(row["alone"]) for row in rows) and "100.0" in table[2]
