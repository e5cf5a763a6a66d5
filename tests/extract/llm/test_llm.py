"""A text model as an extractor: chats and prose, answers read by MetaNER's rules, a tiny random model from a folder."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from workbench.extract import Document, Schema, Span, load_engine
from workbench.extract.engines import Engine, engine_spec
from workbench.extract.errors import EngineError
from workbench.extract.llm import engine as module
from workbench.extract.llm.chat import Prompts, answer, messages, prose
from workbench.extract.llm.engine import LlmEngine, hits_of
from workbench.extract.llm.generate import Answer, write
from workbench.models import ModelError

SCHEMA = Schema.read({"entities": ["person", {"name": "city", "description": "a town"}]})
TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'system' and refuse %}{{ raise_exception('no system turn') }}{% endif %}"
    "<{{ m['role'] }}>{{ m['content'] }}</s>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def shot(text: str, *marks: tuple[str, str]) -> Document:
    found = [Span(start=text.index(w), end=text.index(w) + len(w), type=t) for w, t in marks]
    return Document(id="", text=text, entities=tuple(found))


SHOTS = [
    shot("Rome is old", ("Rome", "city")),
    shot("Ada met Bo", ("Ada", "person"), ("Bo", "person")),
    shot("nothing"),
]


def tokenizer(template: str | None = TEMPLATE) -> Any:
    """Letters, a start and an end; every text can be said."""
    signs = ["<unk>", "</s>", *(chr(n) for n in range(32, 127)), "\n"]
    made = Tokenizer(models.WordLevel({sign: n for n, sign in enumerate(signs)}, unk_token="<unk>"))
    from tokenizers import Regex, decoders

    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"</s>|[\s\S]"), "isolated")
    made.decoder = decoders.Fuse()
    found = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", eos_token="</s>")
    found.chat_template = template
    return found


def tiny(size: int, **more: Any) -> Any:
    torch.manual_seed(0)
    shape = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 2048,
    }
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=size, eos_token_id=1, bos_token_id=None, pad_token_id=None, **{**shape, **more})
    ).eval()
    with torch.no_grad():
        model.lm_head.weight.normal_(std=1.0)
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    words = tokenizer()
    tiny(len(words)).save_pretrained(tmp_path / "chat")
    words.save_pretrained(tmp_path / "chat")
    return tmp_path / "chat"


def said(text: str, chances: list[float] | None = None) -> Answer:
    """An answer of a token a letter."""
    given = tuple(chances or [1.0] * len(text))
    return Answer(text, tuple(range(len(text))), given, tuple(range(1, len(text) + 1)), True)


# ------------------------------------------------------------------ what is asked
def test_demonstrations_are_turns_of_the_chat() -> None:
    turns = messages(SCHEMA.entities, SHOTS, "Bo left")
    assert [t["role"] for t in turns] == ["system", *["user", "assistant"] * 3, "user"]
    assert [t["content"] for t in turns[1:]] == [
        "Rome is old", "Rome is city.", "Ada met Bo", "Ada is person. Bo is person.", "nothing", "None.", "Bo left",
    ]  # fmt: skip
    assert "person; city (a town)" in turns[0]["content"]
    folded = messages(SCHEMA.entities, SHOTS[:1], "Bo left", system=False)
    assert [t["role"] for t in folded] == ["user", "assistant", "user"] and folded[0]["content"].endswith(
        "\n\nRome is old"
    )
    assert answer(shot("Ada is Ada", ("Ada", "person")), ["city"]) == "None.", "a type that is not asked is not shown"


def test_a_template_without_a_system_turn_and_none_at_all() -> None:
    words = tokenizer(TEMPLATE.replace("and refuse", ""))
    text = words.decode(Prompts(words).ids(SCHEMA.entities, SHOTS[:1], "Bo left"))
    assert (
        text.startswith("<user>Find the entities")
        and text.endswith("<user>Bo left</s><assistant>")
        and "<system>" not in text
    )
    plain = tokenizer(None)
    text = plain.decode(Prompts(plain).ids(SCHEMA.entities, SHOTS[:1], "Bo left"))
    assert text == prose(SCHEMA.entities, SHOTS[:1], "Bo left")
    assert (
        text
        == "Target entity types: person, city.\nText: Rome is old\nEntities: Rome is city.\nText: Bo left\nEntities:"
    )


def test_a_template_that_knows_no_chat_is_one_sentence() -> None:
    with pytest.raises(EngineError, match="chat template cannot write a chat"):
        Prompts(tokenizer("{{ raise_exception('never') }}")).ids(SCHEMA.entities, SHOTS, "Bo left")


# ------------------------------------------------------------------ what is answered
@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("Ada is person. Rome is city.", [("Ada", "person"), ("Rome", "city"), ("Rome", "city")]),
        ("- Ada is PERSON\n- “Rome” is City\n", [("Ada", "person"), ("Rome", "city"), ("Rome", "city")]),
        ("J. Doe is person.", [("J. Doe", "person")]),
        ("Rom is city. Oslo is city. Ada is queen.", []),
        ("None.", []),
        ("", []),
        ("Sure, here they are. is is is", []),
    ],
)
def test_answers_are_read_and_matched_by_the_rules_of_metaner(written: str, found: list[tuple[str, str]]) -> None:
    text = "Ada of Rome, J. Doe and Romeo left Rome"
    assert sorted((text[h.start : h.end], h.type) for h in hits_of(said(written), text, ["person", "city"])) == sorted(
        found
    )


def test_a_score_is_share_of_votes_times_probability(monkeypatch: pytest.MonkeyPatch) -> None:
    words = tokenizer()
    engine = LlmEngine(tiny(len(words)), words, "tiny", context=2)
    lines = ["Ada is person.", "Ada is person. Rome is city."]
    chances = [[0.5, *[1.0] * 13], [1.0] * 15 + [0.8, 0.5] + [1.0] * 11]
    answers = [said(line, chance) for line, chance in zip(lines, chances, strict=True)]
    shown: list[str] = []

    def fake(net: Any, by: Any, given: list[list[int]], most: int) -> list[Answer]:
        shown.extend(by.decode(ids) for ids in given)
        return [answers.pop(0) for _ in given]

    monkeypatch.setattr(module, "write", fake)
    four = [*SHOTS[:2], shot("Oslo is old", ("Oslo", "city"))]
    (found,) = engine.extract(["Ada saw Rome"], SCHEMA, four)
    assert len(shown) == 2 and not answers, "three demonstrations, two a prompt: two prompts"
    assert [(s.start, s.type, s.score) for s in found.entities] == [
        (0, "person", pytest.approx(0.75)),
        (8, "city", pytest.approx(0.2)),
    ]
    assert [s.type for s in found.select().entities or ()] == ["person", "city"], "nothing is cut off"


def test_the_probability_is_that_of_the_models_own_tokens() -> None:
    """Against a forward pass of prompt and answer, token by token, unpadded."""
    words = tokenizer()
    model = tiny(len(words))
    given = [words("hello there")["input_ids"], words("a")["input_ids"]]
    for ids, made in zip(given, write(model, words, given, 12), strict=True):
        assert 0 < len(made.ids) <= 12 and made.text == words.decode(list(made.ids))
        with torch.no_grad():
            logits = model(torch.tensor([[*ids, *made.ids]])).logits[0].softmax(-1)
        for n, (number, chance) in enumerate(zip(made.ids, made.chances, strict=True)):
            step = logits[len(ids) + n - 1]
            assert int(step.argmax()) == number and math.isclose(float(step.max()), chance, rel_tol=1e-3)
        assert "".join(piece for piece, _ in made.pieces) == made.text


# ------------------------------------------------------------------ the engine
def test_a_model_in_a_folder_is_an_engine(folder: Path) -> None:
    spec = engine_spec("llm")
    assert spec.demonstrations and "name a checkpoint" in spec.missing()
    engine = load_engine("llm", str(folder), device="cpu", written=8)
    assert isinstance(engine, Engine) and engine.model == "chat"
    told: list[int] = []
    done: list[tuple[int, int]] = []
    found = engine.extract(
        ["Ada", "Bo left", "Rome"],
        SCHEMA,
        SHOTS,
        batch_size=2,
        progress=told.append,
        passes=lambda *at: done.append(at),
    )
    assert done == [(2, 2), (1, 1)]
    assert [e.text for e in found] == ["Ada", "Bo left", "Rome"] and told == [2, 3] and found[0].floor == 0.0
    assert engine.extract(["Ada"], SCHEMA, SHOTS, stopped=lambda: True) == []
    evidence = engine.explain("Ada", SCHEMA, Span(start=0, end=3, type="person"), SHOTS)
    assert (
        evidence.steps and evidence.raw == "".join(step.piece for step in evidence.steps) and evidence.attention_refused
    )


def test_what_does_not_fit_or_is_none_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    words = tokenizer()
    small = LlmEngine(tiny(len(words), max_position_embeddings=1000), words, "small", written=20)
    many = [shot(f"Town{n} is old", (f"Town{n}", "city")) for n in range(200)]
    assert small.extract(["Rome"], SCHEMA, many[:12])[0].text == "Rome"
    with pytest.raises(EngineError, match="but the model reads 1,000"):
        small.extract(["Rome " * 400], SCHEMA, many[:1])
    with pytest.raises(EngineError, match="no entity type"):
        small.extract(["Rome"], {"events": {"attack": []}})
    with pytest.raises(EngineError, match="no weights of its own"):
        LlmEngine.load(None)
    with pytest.raises(ModelError):
        load_engine("llm", str(tmp_path / "nowhere"))
    (folder / "config.json").write_text(
        (folder / "config.json").read_text().replace('"model_type": "llama"', '"model_type": "t5"')
    )
    with pytest.raises((EngineError, ModelError)):
        load_engine("llm", str(folder), device="cpu")


def test_demonstrations_are_shown_by_type_in_turn_or_as_given() -> None:
    words = tokenizer()
    many = [shot("Rome", ("Rome", "city")), shot("Oslo", ("Oslo", "city")), shot("Ada", ("Ada", "person"))]
    given = LlmEngine(tiny(len(words)), words, "x", ordered=True)
    assert [n for n, _ in given._plan(SCHEMA, many)] == [0, 1, 2]
    turned = LlmEngine(tiny(len(words)), words, "x")
    assert next(n for n, _ in turned._plan(SCHEMA, many)) == 2, "person is the first type"
