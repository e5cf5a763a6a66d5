"""The engine: it learns to extract in context, what it may write, windows, faults, evidence; a copying model and T5 with MetaNER's tokens alike."""

from __future__ import annotations

import copy
import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.extract.metaner.conftest import document, documents
from tests.extract.metaner.test_train import drawn
from workbench.extract.engines import Engine, engine_spec, load_engine
from workbench.extract.errors import EngineError, ExtractError
from workbench.extract.metaner.constraint import Entries, State
from workbench.extract.metaner.engine import MetaNerEngine
from workbench.extract.metaner.merge import vote
from workbench.extract.metaner.tokens import MetaTokens
from workbench.extract.metaner.train.run import run as train_run
from workbench.extract.metaner.wire import Wire
from workbench.extract.records import Document, Span
from workbench.extract.seq2seq.loop import Recipe, new_optimizer, train_step
from workbench.extract.seq2seq.start import save_model
from workbench.extract.seq2seq.stream import Stream
from workbench.extract.uie.constraint import make_sources
from workbench.extract.usm.pieces import Pieces

Made = tuple[Any, Any, MetaTokens]
SCHEMA = {"entities": ["person", "city"]}


@pytest.fixture(scope="module")
def _learnt() -> dict[str, Any]:
    return {}


@pytest.fixture
def learnt(made: Made, _learnt: dict[str, Any]) -> MetaNerEngine:
    """A copying model after 300 steps of tiny episodes."""
    if "model" not in _learnt:
        model, tokenizer, tokens = made
        episodes = drawn(Wire(tokenizer, tokens, True))
        stream = Stream(
            {"a": (1.0, episodes.in_context), "b": (1.0, episodes.plain)}, tokens.sel, 12, 0, ("a", "a", "a", "b")
        )
        recipe = Recipe(batch=12, warmup=10, encoder_rate=3e-3, decoder_rate=3e-3, bf16=False)
        optimizer = new_optimizer(model, recipe)
        for step in range(300):
            train_step(model.train(), optimizer, stream, recipe, step, step / 300)
        _learnt["model"] = model.eval(), tokenizer
    return MetaNerEngine(*_learnt["model"])


def test_it_extracts_in_context_what_its_demonstrations_show(learnt: MetaNerEngine) -> None:
    """Under anonymous names, so that only the demonstrations can tell which type is which."""
    new = [document(n) for n in range(41, 61)]
    shown = documents(6)
    found = learnt.extract([d.text for d in new], SCHEMA, shown)
    gold = {(n, s.key) for n, d in enumerate(new) for s in d.entities or ()}
    said = {(n, s.key) for n, e in enumerate(found) for s in e.select().entities or ()}
    assert len(gold & said) / len(gold | said) > 0.7, (len(gold & said), len(gold), len(said))
    swapped = [
        d.model_copy(
            update={
                "entities": tuple(
                    s.model_copy(update={"type": {"person": "city"}.get(s.type, "person")}) for s in d.entities or ()
                )
            }
        )
        for d in shown
    ]
    other = learnt.extract([d.text for d in new], SCHEMA, swapped)
    turned = {(n, (a, b, {"person": "city"}.get(t, "person"))) for n, (a, b, t) in gold}
    said = {(n, s.key) for n, e in enumerate(other) for s in e.select().entities or ()}
    assert len(turned & said) > 3 * len(gold & said), "types follow the demonstrations, not the words"


def test_scores_are_votes_times_probability(learnt: MetaNerEngine) -> None:
    text = document(45).text
    prompts = learnt.prompts(SCHEMA, documents(12))
    answers = learnt.answers(prompts, [text])[0]
    assert len(answers) == 3
    found = learnt.extract([text], SCHEMA, documents(12))[0]
    votes = {v.hit.key: v for v in vote([a.hits for a in answers])}
    assert found.entities
    for span in found.entities:
        own = [h.probability for a in answers for h in a.hits if h.key == (span.type, span.start, span.end)]
        assert span.score == pytest.approx(len(own) / 3 * sum(own) / len(own), abs=1e-4)
        assert votes[span.type, span.start, span.end].votes == len(own)
    assert found.threshold == 0.0 and found.floor <= min(s.score or 0 for s in found.entities)


def test_a_long_text_says_how_many_of_its_prompts_are_done(learnt: MetaNerEngine) -> None:
    text, said = " ".join(document(n).text for n in range(60)), []
    learnt.extract([text], SCHEMA, documents(7), batch_size=2, passes=lambda done, total: said.append((done, total)))
    prompts = len(learnt.answers(learnt.prompts(SCHEMA, documents(7)), [text])[0])
    assert prompts > 4 and {total for _, total in said} == {prompts}
    assert [done for done, _ in said] == [*range(2, prompts, 2), prompts]


def test_batches_and_orders_of_texts_change_nothing(learnt: MetaNerEngine) -> None:
    texts = [document(n).text for n in range(50, 57)]
    whole = learnt.extract(texts, SCHEMA, documents(7))
    for size in (1, 3):
        again = learnt.extract(texts, SCHEMA, documents(7), batch_size=size)
        assert [[s.key for s in e.entities] for e in again] == [[s.key for s in e.entities] for e in whole]


@pytest.mark.parametrize("kind", ["made", "t5"])
def test_whatever_is_written_is_structure_and_source(kind: str, request: pytest.FixtureRequest) -> None:
    """Random weights, twenty texts: tokens of the source and of the structure, nothing else; of a copying model whole entries of the query's words."""
    model, tokenizer, tokens = request.getfixturevalue(kind)
    torch.manual_seed(2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lm_head" in name or name.startswith(("query", "key", "write")):
                parameter.normal_(std=1.5)
    engine = MetaNerEngine(model, tokenizer)
    engine.most = 30
    draw = random.Random(1)
    texts = [
        " ".join(draw.choice(["marie", "met", "pierre", "in", "paris", "x.", "and", "great"]) for _ in range(9))
        for _ in range(20)
    ]
    prompts = engine.prompts(SCHEMA, documents(3))
    said = 0
    for text, answers in zip(texts, engine.answers(prompts, texts), strict=True):
        for answer in answers:
            t, ids = tokens, answer.written.ids
            assert ids and len(ids) <= 30 and ids[-1] == t.end
            structure = {t.end, t.is_, t.stop, t.comma} if engine.copies else {t.end, *engine._structure}  # type: ignore[misc]
            assert set(ids) <= structure | set(answer.prompt.source.ids)
            if engine.copies:
                starts = []
                for part in _parts(ids[:-1], t.stop):
                    span, is_, types = _at(part, t.is_)
                    assert is_ and all(
                        tuple(x) in {prompts.wire.name(n) for n in prompts.names.values()}
                        for x in _parts([*types, t.comma], t.comma)
                    )
                    row = answer.prompt.query.pieces.ids.tolist()
                    places = [n for n in range(len(row)) if row[n : n + len(span)] == span]
                    assert places and any(n > (starts[-1] if starts else -1) for n in places)
                    starts.append(min(n for n in places if n > (starts[-1] if starts else -1)))
                assert len(answer.entries) >= len(starts)
            for hit in answer.hits:
                assert text[hit.start : hit.end] and 0 <= hit.probability <= 1
                said += 1
    assert said > (20 if engine.copies else -1)


@pytest.mark.parametrize("anonymous", [True, False])
def test_a_type_that_no_demonstration_shows_is_never_written(made: Made, anonymous: bool) -> None:
    """Random weights, which write every type that they may."""
    model, tokenizer, _ = made
    torch.manual_seed(2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith(("query", "key", "write")):
                parameter.normal_(std=1.5)
    engine = MetaNerEngine(model, tokenizer, anonymous=anonymous)
    engine.most = 30
    texts = [document(n).text for n in range(20, 40)]

    def said(shown: list[Document]) -> set[str]:
        return {span.type for found in engine.extract(texts, SCHEMA, shown) for span in found.entities or ()}

    def only(*types: str) -> list[Document]:
        return [
            d.model_copy(update={"entities": tuple(s for s in d.entities or () if s.type in types)})
            for d in documents(3)
        ]

    assert said(only("person", "city")) == {"person", "city"}
    assert said(only("city")) == {"city"}
    assert said(only()) == set(), "examples of what is not to be found"
    assert any("No demonstration shows person, city" in n for n in engine.extract(texts[:1], SCHEMA, only())[0].notes)


def _parts(row: list[int], mark: int) -> list[list[int]]:
    found: list[list[int]] = [[]]
    for number in row:
        if number == mark:
            found.append([])
        else:
            found[-1].append(number)
    assert not found[-1]
    return found[:-1]


def _at(row: list[int], mark: int) -> tuple[list[int], bool, list[int]]:
    where = row.index(mark)
    return row[:where], True, row[where + 1 :]


def test_the_grammar_allows_what_a_walk_of_all_outputs_allows(made: Made) -> None:
    """Every prefix of every short output of a three-word text: the machine allows exactly the tokens that go on to a whole output."""
    _, _, tokens = made
    t = tokens
    text, labels = [50, 51, 52, 50], [[60], [61, 62]]
    words_at = [0, 1, 1, 2]  # the second word has two pieces
    source = [t.label, 60, t.label, 61, 62, t.text, *text]
    begin = len(source) - len(text)
    ids = torch.tensor([source])
    most = 9

    def outputs() -> set[tuple[int, ...]]:
        spans = [(a, b) for a in (0, 1, 3) for b in (1, 3, 4) if a < b]
        found = set()

        def walk(done: tuple[int, ...], after: int) -> None:
            found.add((*done, t.end))
            for a, b in spans:
                if a <= after:
                    continue
                for first in labels:
                    for second in (None, *labels):
                        rest = (*text[a:b], t.is_, *first, *((t.comma, *second) if second else ()), t.stop)
                        if len(done) + len(rest) + 1 <= most:
                            # the same words further left could be meant: the machine takes the leftmost
                            left = next(n for n in (0, 1, 3) if n > after and text[n : n + b - a] == text[a:b])
                            walk((*done, *rest), left)

        walk((), -1)
        return found

    every = outputs()
    prefixes: dict[tuple[int, ...], set[int]] = {}
    for each in every:
        for n in range(len(each)):
            prefixes.setdefault(each[:n], set()).add(each[n])
    ones = np.zeros(len(text), np.int32)
    pieces = Pieces(ones, ones, ones, ones, np.array(words_at, np.int32), ones)
    machine = Entries(make_sources(ids, [begin], [pieces], [0]), labels, t)
    compared = 0
    for prefix, wanted in prefixes.items():
        if t.comma in wanted and sum(n == t.comma for n in prefix) >= 1:
            continue
        for words in (machine.words(), None):
            machine.begin(torch.tensor([0]), words)
            for number in prefix:
                machine.advance(
                    torch.tensor([number]) if words is None else torch.searchsorted(words, torch.tensor([number]))
                )
            may = machine.allowed(most - len(prefix))[0].nonzero().flatten()
            allowed = set((may if words is None else words[may]).tolist())
            behind_comma = t.comma in prefix and prefix[-1] != t.stop and t.stop not in prefix[prefix.index(t.comma) :]
            assert allowed - ({t.comma} if behind_comma else set()) == wanted - (
                {t.comma} if behind_comma else set()
            ), prefix
            compared += 1
    assert compared > 120
    assert int(machine.states()[0]) in set(map(int, State))


def test_texts_longer_than_a_window(learnt: MetaNerEngine) -> None:
    text = " great ".join(document(n).text for n in range(40))
    found = learnt.extract([text], SCHEMA, documents(4))[0]
    assert any("overlapping windows" in note for note in found.notes) and found.entities
    ends = [(s.start, s.end) for s in found.entities]
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(ends)) and ends[-1][0] > len(text) // 2
    assert all(text[s.start : s.end].strip() == text[s.start : s.end] for s in found.entities)


@pytest.mark.parametrize("kind", ["made", "t5"])
def test_saved_models_load_by_name_and_run(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    model, tokenizer, tokens = request.getfixturevalue(kind)
    folder = tmp_path / "metaner-tiny"
    save_model(folder, model, tokenizer)
    engine = load_engine("metaner", str(folder), device="cpu")
    assert (
        isinstance(engine, Engine)
        and isinstance(engine, MetaNerEngine)
        and engine.name == "metaner"
        and engine.model == "metaner-tiny"
    )
    assert engine.tokens == tokens and engine.copies == (kind == "made")
    engine.most = 12
    for shown in ((), documents(3)):
        for constrained in (True, False):
            engine.constrained = constrained
            assert len(engine.extract(["marie in paris", ""], SCHEMA, shown)) == 2
    assert engine_spec("metaner").demonstrations and engine_spec("metaner").kinds == ("entities",)


def test_attention_in_one_kernel_changes_no_answer(learnt: MetaNerEngine, tmp_path: Path) -> None:
    """What `load` sets against the plain way."""
    learnt.net.encoder.model.set_attn_implementation("eager")
    save_model(tmp_path / "quick", learnt.net, learnt.tokenizer)
    quick = MetaNerEngine.load(str(tmp_path / "quick"), device="cpu")
    ways = [engine.net.encoder.model.config._attn_implementation for engine in (learnt, quick)]
    assert ways == ["eager", "sdpa"]
    texts, shown = [document(n).text for n in range(41, 53)], documents(7)
    plain, fused = (engine.extract(texts, SCHEMA, shown, batch_size=5) for engine in (learnt, quick))
    assert any(each.entities for each in plain)
    for one, other in zip(plain, fused, strict=True):
        assert [span.key for span in one.entities] == [span.key for span in other.entities]
        assert [span.score for span in one.entities] == pytest.approx([s.score for s in other.entities], abs=2e-4)
    item = fused[0].entities[0]
    rows = [engine.explain(texts[0], SCHEMA, item, shown).attention for engine in (learnt, quick)]
    assert rows[0] is not None and rows[1] is not None
    assert torch.allclose(torch.tensor(rows[0].weights), torch.tensor(rows[1].weights), atol=1e-4)


def test_faults_are_one_sentence(learnt: MetaNerEngine, t5: Made, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no entity type"):
        learnt.extract(["a"], {"events": {"attack": ["victim"]}})
    with pytest.raises(ExtractError):
        learnt.extract(["a"], {})
    with pytest.raises(EngineError, match="Name the MetaNER model"):
        MetaNerEngine.load(None)
    with pytest.raises(EngineError, match="There is no MetaNER model"):
        MetaNerEngine.load(str(tmp_path / "nothing"))
    model, tokenizer, _ = t5
    save_model(tmp_path / "t5", model, tokenizer)
    weights = tmp_path / "t5" / "model.safetensors"
    weights.rename(tmp_path / "t5" / "pytorch_model.bin")
    with pytest.raises(EngineError, match="workbench convert"):
        MetaNerEngine.load(str(tmp_path / "t5"))
    with pytest.raises(ExtractError, match="runs from 5 to 90"):
        Document.read({"id": "a", "text": "not in its text", "entities": [{"start": 5, "end": 90, "type": "person"}]})
    long = {"entities": [f"a type whose name is very long indeed number {n}" for n in range(60)]}
    with pytest.raises(EngineError, match="leaves no room"):
        learnt.extract(["marie"], long)
    with pytest.raises(EngineError, match="never learnt from"):
        train_run("nowhere", tmp_path, tmp_path / "run", Recipe(), None, sets=("wnut17",))  # type: ignore[arg-type]


def test_the_evidence_of_a_span(learnt: MetaNerEngine) -> None:
    text, shown = document(47).text, documents(8)
    found = learnt.extract([text], SCHEMA, shown)[0]
    for item in found.entities:
        evidence = learnt.explain(text, SCHEMA, item, shown)
        assert evidence.item == item and evidence.steps and evidence.steps[-1].piece == "<extra_id_5>"
        attention = evidence.attention
        assert attention is not None and [row.piece for row in attention.rows] == text[item.start : item.end].split()
        kinds = {place.kind for place in attention.columns}
        assert kinds == {"label", "demonstration", "text"}
        for place in attention.columns:
            if place.start is not None and place.end is not None:
                whole = text if place.document is None else shown[place.document].text
                assert whole[place.start : place.end] == place.piece
        assert len({place.document for place in attention.columns} - {None}) == 5
        assert torch.allclose(torch.tensor(attention.weights).sum(-1), torch.tensor(1.0), atol=1e-4)
        one = learnt.explain(text, SCHEMA, item, shown, layer=0, heads=[1])
        assert one.attention is not None and one.attention.layer == 0 and len(one.attention.weights) == 1
    with pytest.raises(EngineError, match="layers 0 to 1"):
        learnt.explain(text, SCHEMA, found.entities[0], shown, layer=7)
    with pytest.raises(EngineError, match="did not write such a span"):
        learnt.explain(text, SCHEMA, Span(start=0, end=2, type="city"), shown)


def test_t5_reads_its_own_output(t5: Made) -> None:
    """What a model of the released class would write in the paper's words, read back: entries, probabilities, every occurrence."""
    from workbench.extract.seq2seq.decode import Written
    from workbench.extract.seq2seq.tokens import encode_plain

    model, tokenizer, tokens = copy.deepcopy(t5)
    engine = MetaNerEngine(model, tokenizer)
    prompts = engine.prompts(SCHEMA, documents(2))
    text = "marie met marie in x.y paris"
    job = next(prompts.of(0, text, encode_plain(tokenizer, tokens.sel, [text])[0]))
    ids = [
        *tokenizer("marie is <type1>. x.y paris is <type2>. paris is <type9>.", add_special_tokens=False)["input_ids"],
        tokens.end,
    ]
    written = Written(ids, [0.9] * len(ids), [-1] * len(ids), [-1] * len(ids), [-1] * len(ids), 0.0)
    answer = engine._read(prompts, job, written)
    assert [(text[h.start : h.end], h.type) for h in sorted(answer.hits, key=lambda h: h.start)] == [
        ("marie", "person"), ("marie", "person"), ("x.y paris", "city"),
    ]  # fmt: skip
    first = len(tokenizer("marie is <type1>.", add_special_tokens=False)["input_ids"])
    assert next(h for h in answer.hits if h.type == "person").probability == pytest.approx(0.9**first)
