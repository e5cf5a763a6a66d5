"""Training data and loop: prompts, names kept out, batches that follow from seed and step, a run that is resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from tests.extract.usm.conftest import tiny_encoder
from tests.extract.usm.test_links import DOCUMENT
from workbench.extract.errors import EngineError, ExtractError
from workbench.extract.loop import Length, rate_factor
from workbench.extract.records import Document, Relation, Span
from workbench.extract.usm.batch import special_tokens
from workbench.extract.usm.model import UsmModel, new_model
from workbench.extract.usm.prompt import LabelCoder
from workbench.extract.usm.roundtrip import perfect
from workbench.extract.usm.train.loop import inventory, new_optimizer, train, train_step
from workbench.extract.usm.train.mixture import Mixture
from workbench.extract.usm.train.names import NAMES, allowed_names, banned_names, names_of, normal
from workbench.extract.usm.train.prompts import Prompter
from workbench.extract.usm.train.recipe import Recipe
from workbench.extract.usm.train.sources import PLANS, Plan, Source, load_sources, make_source
from workbench.extract.usm.train.start import start_model
from workbench.extract.usm.tune import THRESHOLDS, Part, f1_by_threshold, fit, read_every_way
from workbench.extract.usm.weights import load_model


def documents(count: int = 30) -> list[Document]:
    """Sentences whose truth follows from their words."""
    made = []
    people, places = ["marie", "pierre", "curie"], ["paris", "warsaw", "museum"]
    draw = np.random.default_rng(0)
    for n in range(count):
        who, where = people[draw.integers(3)], places[draw.integers(3)]
        text = f"{who} worked in {where}" if n % 2 else f"in {where} met {who}"
        head = Span(start=text.index(who), end=text.index(who) + len(who), type="person")
        tail = Span(start=text.index(where), end=text.index(where) + len(where), type="city")
        relations = (Relation(type="works in", head=head, tail=tail),) if n % 2 else ()
        made.append(Document(id=str(n), text=text, entities=(head, tail), relations=relations))
    return made


@pytest.fixture
def source(tokenizer: Any) -> Source:
    return make_source("own", Plan(1.0, "general"), documents(), tokenizer, 40)


@pytest.fixture
def mixture(tokenizer: Any, source: Source) -> Mixture:
    prompter = Prompter(LabelCoder(tokenizer, 12), [source], drop=0.1)
    return Mixture([source], prompter, 4, 0, special_tokens(tokenizer))


RECIPE = Recipe(
    sets=("own",), batch=4, warmup=5, encoder_rate=2e-3, head_rate=5e-3, freeze_embeddings=False, bf16=False
)


# ---------------------------------------------------------------------- prompts
def test_gold_of_a_prompt_is_the_gold_of_the_text(tokenizer: Any, source: Source) -> None:
    """Every label that is asked has exactly its spans; labels that are not asked have none."""
    prompter = Prompter(LabelCoder(tokenizer, 12), [source], own_name=1.0, describe=0.0)
    rng = np.random.default_rng(1)
    seen: set[str] = set()
    for _ in range(200):
        chunk = source.chunks[int(rng.integers(len(source.chunks)))]
        sample, gold = prompter.draw(source, chunk, rng)
        assert 0 < len(sample.labels) <= 25 and sample.mentions <= len(sample.labels)
        by_ids = {
            tuple(tokenizer(name, add_special_tokens=False)["input_ids"]): name
            for name in ("person", "city", "works in")
        }
        for number, ids in enumerate(sample.labels):
            name = by_ids.get(ids)
            wanted = {span for label, span in gold.typed if label == number}
            if name in ("person", "city"):
                assert wanted == {span for type_, span in chunk.entities if type_ == name}
                seen.add(name)
            elif name == "works in":
                objects = {tail[0] for _, _, tail in chunk.relations}
                assert wanted == objects, "both as a relation and as the type of its objects"
                if number >= sample.mentions:
                    assert gold.subjects == {(head[0], number) for _, head, _ in chunk.relations}
                    assert gold.linked == {(head[0], tail[0]) for _, head, tail in chunk.relations}
                    seen.add("relation")
        length = len(sample.pieces)
        assert all(0 <= h <= t < length for h, t in gold.all_spans())
    assert seen == {"person", "city", "relation"}


def test_no_name_stands_twice_in_a_prompt(tokenizer: Any, source: Source) -> None:
    prompter = Prompter(LabelCoder(tokenizer, 12), [source])
    rng = np.random.default_rng(2)
    for _ in range(100):
        sample, _ = prompter.draw(source, source.chunks[0], rng)
        assert len(set(sample.labels)) == len(sample.labels)


def test_names_of_held_out_sets_never_appear(tokenizer: Any) -> None:
    """Every prompt of a run that keeps sets out is searched for each name and synonym of their types."""
    words = {
        "bionlp13cg": ["Cancer", "Cell", "Organism", "Simple_chemical", "Gene_or_gene_product"],
        "bio": ["Cell", "Cells", "Disease", "chemical compound", "plant", "tumours"],
        "biored": ["ChemicalEntity", "DiseaseOrPhenotypicFeature", "GeneOrGeneProduct", "CellLine"],
    }
    held_out = {name: types for name, types in words.items() if name == "bionlp13cg"}
    banned = banned_names(held_out)
    text = "marie met pierre in paris near warsaw"
    sources = []
    for name, types in words.items():
        if name not in held_out:
            spans = tuple(Span(start=n, end=n + 1, type=type_) for n, type_ in enumerate(types) if text[n] != " ")
            sources.append(
                make_source(name, Plan(1.0, name), [Document(id="1", text=text, entities=spans)], tokenizer, 40)
            )

    class Heard(LabelCoder):
        names: ClassVar[set[str]] = set()

        def ids(self, label: Any) -> tuple[int, ...]:
            self.names.add(label.name)
            return super().ids(label)

    coder = Heard(tokenizer, 12)
    prompter = Prompter(coder, sources, banned, describe=0.0, own_name=0.3)
    rng = np.random.default_rng(3)
    for _ in range(400):
        for each in sources:
            prompter.draw(each, each.chunks[0], rng)
    every = {normal(name) for type_ in held_out["bionlp13cg"] for name in names_of("bionlp13cg", type_)}
    heard = {normal(name) for name in coder.names}
    assert not heard & every
    assert {"tumour", "cell", "organism", "gene", "protein", "chemical"} <= every, "synonyms are kept out too"
    assert {"plant", "disease"} <= heard, "the others are asked"
    assert "chemical entity" not in heard, "a type goes as a whole when one of its names is kept out"


def test_every_set_that_is_named_has_a_plan_and_no_test_part_is_learnt_from() -> None:
    assert set(NAMES) <= set(PLANS)
    for name, plan in PLANS.items():
        assert "test" not in plan.splits, name
    assert not {"atis", "wnut16_twitter", "metaner_fewshot"} & set(PLANS)


def test_names_include_the_sets_own_and_a_ban_takes_the_whole_type() -> None:
    assert names_of("conll04", "Work_For")[:2] == ("work for", "works for")
    assert allowed_names("conll04", "Peop", frozenset({normal("people")})) == ()
    assert allowed_names("conll04", "Loc", frozenset({normal("people")})) == names_of("conll04", "Loc")


def test_long_documents_become_chunks_with_what_is_whole_in_them(tokenizer: Any) -> None:
    text = "marie met pierre in paris . " * 30
    spans = tuple(Span(start=28 * n, end=28 * n + 5, type="person") for n in range(30))
    found = make_source("own", Plan(1.0, "general"), [Document(id="1", text=text, entities=spans)], tokenizer, 25)
    assert len(found.chunks) > 5 and all(len(chunk.pieces) <= 25 for chunk in found.chunks)
    assert sum(len(chunk.entities) for chunk in found.chunks) == 30, "cut at sentence ends, so no name is lost"
    for chunk in found.chunks:
        for _, (head, tail) in chunk.entities:
            assert text[chunk.pieces.starts[head] : chunk.pieces.ends[tail]] == "marie"


def test_an_unknown_set_is_one_sentence(tokenizer: Any, tmp_path: Path) -> None:
    with pytest.raises(ExtractError, match="no training plan"):
        load_sources(["crossner"], tmp_path, tokenizer, 40)


# ---------------------------------------------------------------------- batches and the loop
def test_a_batch_follows_from_seed_and_step(tokenizer: Any, source: Source, mixture: Mixture) -> None:
    again = Mixture([source], mixture.prompter, 4, 0, special_tokens(tokenizer))
    for step in (30, 2, 31):
        assert torch.equal(mixture.batch(step).batch.ids, again.batch(step).batch.ids)
        for one, other in zip(mixture.batch(step).targets, again.batch(step).targets, strict=True):
            assert torch.equal(one, other)
    other_seed = Mixture([source], mixture.prompter, 4, 1, special_tokens(tokenizer))
    assert any(not torch.equal(mixture.batch(n).batch.ids, other_seed.batch(n).batch.ids) for n in range(5))
    beside = Mixture([source], mixture.prompter, 4, mixture.seed, mixture.special)
    beside.rank = 1
    assert any(not torch.equal(mixture.batch(n).batch.ids, beside.batch(n).batch.ids) for n in range(5)), (
        "processes draw apart"
    )


def tiny(tokenizer: Any) -> UsmModel:
    return new_model(tiny_encoder(len(tokenizer), hidden_dropout_prob=0.0), head_size=16, window=48)


def test_it_learns(tokenizer: Any, mixture: Mixture) -> None:
    model = tiny(tokenizer).train()
    optimizer = new_optimizer(model, RECIPE)
    losses = [train_step(model, optimizer, mixture, RECIPE, step, step / 60)[0]["loss"] for step in range(60)]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])


def test_a_resumed_run_is_the_run_that_was_not_stopped(tokenizer: Any, mixture: Mixture, tmp_path: Path) -> None:
    straight = train(mixture, tiny(tokenizer), tokenizer, tmp_path / "a", RECIPE, Length(steps=8), encoder="tiny")
    train(mixture, tiny(tokenizer), tokenizer, tmp_path / "b", RECIPE, Length(steps=8, stop_after=5), encoder="tiny")
    resumed = train(
        mixture, tiny(tokenizer), tokenizer, tmp_path / "b", RECIPE, Length(steps=8), encoder="tiny", resume=True
    )
    one, other = load_model(straight)[0].state_dict(), load_model(resumed)[0].state_dict()
    for name, value in one.items():
        assert torch.allclose(value, other[name], atol=1e-6), name
    lines = [json.loads(line) for line in (tmp_path / "b" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 9))
    run = json.loads((tmp_path / "b" / "run.json").read_text(encoding="utf-8"))
    assert run["state"] == "finished" and run["total_steps"] == 8


def test_faults_of_a_run_are_one_sentence(tokenizer: Any, mixture: Mixture, tmp_path: Path) -> None:
    with pytest.raises(ExtractError, match="no state to resume"):
        train(mixture, tiny(tokenizer), tokenizer, tmp_path, RECIPE, Length(steps=2), encoder="tiny", resume=True)
    train(mixture, tiny(tokenizer), tokenizer, tmp_path, RECIPE, Length(steps=1), encoder="tiny")
    with pytest.raises(ExtractError, match="add --resume"):
        train(mixture, tiny(tokenizer), tokenizer, tmp_path, RECIPE, Length(steps=2), encoder="tiny")
    other = Recipe(**{**RECIPE.to_json(), "sets": RECIPE.sets, "held_out": (), "seed": 9})
    with pytest.raises(ExtractError, match="seed differ"):
        train(mixture, tiny(tokenizer), tokenizer, tmp_path, other, Length(steps=2), encoder="tiny", resume=True)
    with pytest.raises(EngineError, match="cannot be loaded"):
        start_model(str(tmp_path / "nothing"), "cpu")


def test_frozen_embeddings_stay_and_the_rate_warms_up_and_falls(tokenizer: Any, mixture: Mixture) -> None:
    model = tiny(tokenizer).train()
    before = model.encoder.get_input_embeddings().weight.detach().clone()
    recipe = Recipe(**{**RECIPE.to_json(), "sets": RECIPE.sets, "held_out": (), "freeze_embeddings": True})
    optimizer = new_optimizer(model, recipe)
    train_step(model, optimizer, mixture, recipe, 3, 0.1)
    assert torch.equal(before, model.encoder.get_input_embeddings().weight)
    assert [rate_factor(recipe.warmup, step, 0.0) for step in (0, 4, 9)] == pytest.approx([0.2, 1.0, 1.0])
    assert rate_factor(recipe.warmup, 50, 0.75) == pytest.approx(0.25)
    assert Length(steps=10, minutes=1).done(2, 45.0) == pytest.approx(0.75), "whichever of steps and minutes is further"


# ---------------------------------------------------------------------- development data
def test_the_reading_is_chosen_on_development_texts(tokenizer: Any, model: UsmModel) -> None:
    """Perfect links with noise on one of them: the mean stands it, the weakest link does not, and the choice says so."""
    from workbench.extract.formats import schema_of
    from workbench.extract.usm.engine import UsmEngine
    from workbench.extract.usm.passes import collect
    from workbench.extract.usm.plan import blocks
    from workbench.extract.usm.reading import MODES, Reading
    from workbench.extract.usm.roundtrip import gold_links

    texts = [DOCUMENT, *documents(40)]
    schema = schema_of(texts)
    engine = UsmEngine(model, tokenizer)
    plan = blocks(schema, 10**6)
    draw = np.random.default_rng(6)
    found: dict[str, list[Any]] = {mode: [] for mode in MODES}
    for document in texts:
        cut = [w for w in engine.windows([document.text]) if not w.before]
        links = perfect(gold_links(document, cut[0], plan[0]), len(cut[0].pieces), plan[0])
        noisy = {name: value / 5 for name, value in vars(links).items()}
        noisy["L2T"] = noisy["L2T"] + draw.normal(-3.5, 2.0, noisy["L2T"].shape).astype(np.float32)
        for mode in MODES:
            made = collect(cut[:1], plan, schema, Reading(mode), [(0, 0, type(links)(**noisy))])
            found[mode].append(made[0])
    reading = fit([Part("own", texts, schema, found)])
    assert reading.mode == "mean" and reading.calibrated
    right = reading.curve("entity").probability(4.0)
    wrong = reading.curve("entity").probability(-1.0)
    assert right > 0.9 > 0.3 > wrong
    plain = fit([Part("own", texts, schema, found)], calibrated=False)
    assert not plain.calibrated and plain.curve("entity").probability(0.0) == 0.5
    tried = f1_by_threshold([Part("own", texts, schema, found)], plain, THRESHOLDS)
    assert plain.threshold == max(THRESHOLDS, key=lambda each: np.mean(list(tried[each].values())))


def test_reading_every_way_runs_the_model_once(
    tokenizer: Any, model: UsmModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workbench.extract.formats import schema_of
    from workbench.extract.usm.engine import UsmEngine

    calls = []
    real = model.forward
    monkeypatch.setattr(model, "forward", lambda batch: calls.append(1) or real(batch))
    texts = documents(6)
    found = read_every_way(UsmEngine(model, tokenizer), texts, schema_of(texts))
    assert len(calls) == 1 and {mode: len(each) for mode, each in found.items()} == {"strict": 6, "mean": 6}


def test_inventory_names_roles_too(tokenizer: Any) -> None:
    made = make_source("own", Plan(1.0, "general"), [DOCUMENT], tokenizer, 100)
    assert {"person", "works for", "attack", "place", "positive", "aspect"} <= inventory(made)
