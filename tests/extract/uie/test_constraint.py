"""Constrained decoding: the machine against one written a row at a time, and outputs of untrained models over hostile schemas and texts."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from benchmarks.plain_constraint import PlainConstraint
from tests.extract.usm.conftest import tiny_encoder
from workbench.extract.schema import Schema
from workbench.extract.seq2seq.decode import Decoder
from workbench.extract.seq2seq.tokens import SelTokens, encode_plain
from workbench.extract.seq2seq.weights import new_copy_model
from workbench.extract.uie.constraint import LEAST, Grammar, Machine, make_sources, ties_of
from workbench.extract.uie.records import OURS, PAPER, Switches
from workbench.extract.uie.sel import read
from workbench.extract.uie.ssi import LabelIds, prompt_of, roles_of_spots, source_ids
from workbench.extract.usm.plan import blocks

SCHEMAS: list[dict[str, Any]] = [
    {"entities": ["person"]},
    {"entities": ["organization", "organization in", "org", "person name of"], "relations": {"in": {"head": ["org"]}, "in the": {"head": [], "tail": []}}},
    {"events": {"attack": ["victim", "attacker", "place"], "born": []}, "entities": ["<extra_id_0>", "[SEP] x"]},
    {"sentiment": {}},
    {"entities": [f"type {n}" for n in range(30)], "relations": {f"r {n}": {"head": [f"type {n}"], "tail": []} for n in range(12)}},
]  # fmt: skip
TEXTS = [
    "Marie Curie worked in Paris", "", "a", "<extra_id_0> <spot> Marie <extra_id_5> [SEP] <extra_id_1>", "(((]]】【) marie marie marie paris", "中文 👩‍🔬 שלום",
    "zzyzx unknownwordthatiscutintomanypieces marie", "Marie Curie\nParis\t\tmarie worked. Marie", "paris paris paris paris paris",
]  # fmt: skip


def compiled(words: Any, tokens: SelTokens, schema: dict[str, Any], text: str, switches: Switches) -> Any:
    """Prompt, ties, pieces and source of one text under one schema."""
    whole = Schema.read(schema).expanded()
    block = blocks(whole, 99)[0]
    prompt = prompt_of(LabelIds(words, tokens), block)
    ties = ties_of(prompt, roles_of_spots(whole, block)) if switches.tied_roles else None
    pieces = encode_plain(words, tokens, [text])[0]
    return prompt, ties, pieces, source_ids(prompt.ids(tokens), pieces.ids, tokens)


def batch_of(
    words: Any, tokens: SelTokens, cases: list[tuple[dict[str, Any], str]], switches: Switches, vocabulary: int
) -> Any:
    made = [compiled(words, tokens, schema, text, switches) for schema, text in cases]
    grammar = Grammar([(prompt, ties) for prompt, ties, *_ in made], tokens, vocabulary)
    longest = max(len(source) for *_, source in made)
    ids = torch.tensor([[*source, *[tokens.pad] * (longest - len(source))] for *_, source in made])
    begins = [len(prompt.ids(tokens)) for prompt, *_ in made]
    sources = make_sources(ids, begins, [pieces for _, _, pieces, _ in made], range(len(made)), switches)
    return made, grammar, Machine(grammar, sources), ids


@pytest.mark.parametrize("switches", [OURS, PAPER], ids=["ours", "paper"])
def test_the_machine_allows_what_the_plain_rules_allow(words: Any, tokens: SelTokens, switches: Switches) -> None:
    """Random walks in many rows at once; at each step the allowed tokens are those of the rules applied to the whole prefix."""
    draw = random.Random(1)
    cases = [(schema, text) for schema in SCHEMAS for text in TEXTS]
    made, _, machine, _ = batch_of(words, tokens, cases, switches, len(words))
    plain = [
        PlainConstraint(
            p,
            t,
            pieces.ids.tolist(),
            pieces.words.tolist() if switches.word_borders else None,
            tokens,
            pieces.parts.tolist() if switches.word_borders else None,
        )
        for p, t, pieces, _ in made
    ]
    machine.begin(torch.arange(len(cases)))
    prefixes: list[list[int]] = [[] for _ in cases]
    compared = 0
    for _ in range(45):
        mask = machine.allowed(10_000)
        chosen = []
        for n, prefix in enumerate(prefixes):
            allowed = set(mask[n].nonzero().flatten().tolist())
            assert allowed == plain[n](prefix), (cases[n], words.decode(prefix))
            compared += 1
            sealed = allowed & {tokens.close, tokens.eos}
            chosen.append(
                draw.choice(sorted(allowed - sealed or allowed))
                if draw.random() < 0.8
                else draw.choice(sorted(allowed))
            )
            prefix.append(chosen[-1])
        machine.advance(torch.tensor(chosen))
    assert compared == 45 * len(cases)


def tiny_t5(vocabulary: int) -> T5ForConditionalGeneration:
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=vocabulary, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=0, pad_token_id=0, eos_token_id=3,
        feed_forward_proj="gated-gelu", tie_word_embeddings=False,
    )  # fmt: skip
    return T5ForConditionalGeneration(config).eval()


def models(words: Any) -> dict[str, Any]:
    """Untrained models with loud, random opinions."""
    import copy

    torch.manual_seed(3)
    copying = new_copy_model(
        tiny_encoder(len(words), max_position_embeddings=512),
        copy.deepcopy(words),
        decoder_layers=1,
        decoder_ffn=32,
        max_target=128,
    ).eval()
    with torch.no_grad():
        for part in (copying.query, copying.key, copying.write):
            part.weight.normal_(std=1.0)
        copying.write.bias[0] = 2.0  # opens brackets rather than end
    t5 = tiny_t5(len(words))
    with torch.no_grad():
        t5.lm_head.weight.normal_(std=3.0)
    return {"copy": copying, "t5": t5}


def check(made: Any, tokens: SelTokens, written: list[Any], switches: Switches, most: int) -> int:
    """Every output is a sentence of the grammar, of the schema and of the text; returns how many spans were looked at."""
    count = 0
    for (prompt, ties, pieces, _), each in zip(made, written, strict=True):
        sel = read(each.ids, tokens)
        assert sel.grammatical and each.ids[-1] == tokens.eos and len(each.ids) <= most
        assert len(each.ids) == len(each.chances) == len(each.allowed) == len(each.states) == len(each.places)
        assert all(0 < chance <= 1 for chance in each.chances) and min(each.allowed) >= 1
        text = pieces.ids.tolist()
        for spot in sel.spots:
            assert spot.label in prompt.spots
            for asoc in spot.asocs:
                assert asoc.label in (prompt.asocs if ties is None else ties[spot.label])
            for node in (spot, *spot.asocs):
                size = len(node.span)
                firsts = [n for n in range(len(text)) if size and tuple(text[n : n + size]) == node.span]
                if switches.word_borders:
                    w = pieces.words
                    firsts = [
                        n
                        for n in firsts
                        if (n == 0 or w[n - 1] != w[n])
                        and (n + size == len(w) or w[n + size] != w[n + size - 1])
                        and len({-1, *pieces.parts[n : n + size].tolist()}) == 2
                    ]
                assert not size or firsts, "the span stands in the text"
                place = each.places[node.at + size - 1] if size else -1
                assert place < 0 or place - size + 1 - len(prompt.ids(tokens)) in firsts, (
                    "at the place that the model points at"
                )
                count += bool(size)
    return count


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("switches", [OURS, PAPER], ids=["ours", "paper"])
def test_every_output_is_well_formed_and_every_span_in_the_text(
    words: Any, tokens: SelTokens, switches: Switches, beams: int
) -> None:
    cases = [(schema, text) for schema in SCHEMAS for text in TEXTS]
    total = 0
    for name, model in models(words).items():
        for most in (LEAST, 9, 24):
            made, _, machine, ids = batch_of(words, tokens, cases, switches, len(words))
            written = Decoder(model, tokens).write(ids, (ids != tokens.pad).long(), None, most, machine, beams)
            total += check(made, tokens, written, switches, most)
            if most == LEAST:
                assert all(w.ids == [tokens.open, tokens.close, tokens.eos] for w in written), name
    assert total > 40


@pytest.mark.full
def test_fuzzed_schemas_and_texts(words: Any, tokens: SelTokens) -> None:
    draw = random.Random(0)
    alphabet = "ab c<>_0【】[]()中é😀\u200b\n"
    every = models(words)
    for _ in range(60):
        names = list(
            dict.fromkeys(
                f"x{''.join(draw.choice(alphabet) for _ in range(draw.randint(0, 6)))}"
                for _ in range(draw.randint(1, 8))
            )
        )
        schema = {
            "entities": names,
            "relations": {f"{name} of": {"head": [name], "tail": []} for name in names[: draw.randint(0, 3)]},
            "events": {f"{name} now": names[:2] for name in names[: draw.randint(0, 2)]},
        }
        cases = [
            (schema, "".join(draw.choice(alphabet + "marie paris") for _ in range(draw.randint(0, 80))))
            for _ in range(6)
        ]
        switches = draw.choice([OURS, PAPER])
        most = draw.choice([LEAST, 8, 12, 30])
        made, _, machine, ids = batch_of(words, tokens, cases, switches, len(words))
        model = every[draw.choice(["copy", "t5"])]
        check(
            made,
            tokens,
            Decoder(model, tokens).write(ids, (ids != tokens.pad).long(), None, most, machine, draw.choice([1, 2])),
            switches,
            most,
        )


def test_greedy_is_what_transformers_generates_under_the_same_rules(words: Any, tokens: SelTokens) -> None:
    """The same weights through `generate` with a `prefix_allowed_tokens_fn`, a row at a time, and unconstrained."""
    cases = [(schema, text) for schema in SCHEMAS[:3] for text in TEXTS[:5]]
    for model in models(words).values():
        made, _, machine, ids = batch_of(words, tokens, cases, OURS, len(words))
        mask = (ids != tokens.pad).long()
        plain = [
            PlainConstraint(p, t, pieces.ids.tolist(), pieces.words.tolist(), tokens, pieces.parts.tolist())
            for p, t, pieces, _ in made
        ]
        fed = {
            "input_ids": ids,
            "attention_mask": mask,
            "do_sample": False,
            "decoder_start_token_id": tokens.start,
            "eos_token_id": tokens.eos,
            "pad_token_id": tokens.pad,
        }
        theirs = model.generate(
            **fed,
            max_new_tokens=24,
            prefix_allowed_tokens_fn=lambda n, prefix, plain=plain: sorted(plain[n](prefix.tolist()[1:])),
        )
        ours = Decoder(model, tokens).write(ids, mask, None, 10_000, machine, stopped=_after(24))
        for row, each in zip(theirs.tolist(), ours, strict=True):
            assert row[1 : 1 + len(each.ids)] == each.ids[: len(row) - 1]
        free = model.generate(**fed, max_new_tokens=12)
        for row, each in zip(free.tolist(), Decoder(model, tokens).write(ids, mask, None, 12), strict=True):
            assert row[1 : 1 + len(each.ids)] == each.ids


def _after(steps: int) -> Any:
    """Stops after so many steps."""
    count = iter(range(10**6))
    return lambda: next(count) >= steps


def test_beams_never_score_below_greedy_alone(words: Any, tokens: SelTokens) -> None:
    """With as many beams as there are continuations, the best sequence of two steps is found that brute force finds."""
    case = [({"entities": ["person", "city"]}, "marie in paris")]
    model = models(words)["t5"]
    made, _, machine, ids = batch_of(words, tokens, case, OURS, len(words))
    mask = torch.ones_like(ids)
    best = Decoder(model, tokens).write(ids, mask, None, 9, machine, beams=64)[0]
    plain = PlainConstraint(made[0][0], made[0][1], made[0][2].ids.tolist(), made[0][2].words.tolist(), tokens)

    def every(prefix: list[int]) -> list[list[int]]:
        if prefix and prefix[-1] == tokens.eos:
            return [prefix]
        if len(prefix) >= 9:
            return []
        return [found for number in plain(prefix) for found in every([*prefix, number])]

    scores = {}
    for sequence in every([]):
        inputs = torch.tensor([[tokens.start, *sequence[:-1]]])
        with torch.no_grad():
            logits = model(input_ids=ids, attention_mask=mask, decoder_input_ids=inputs).logits[0]
        total = 0.0
        for at, number in enumerate(sequence):
            allowed = sorted(plain(sequence[:at]))
            total += float(logits[at, number] - logits[at, allowed].logsumexp(0))
        scores[tuple(sequence)] = total / len(sequence)
    assert tuple(best.ids) == max(scores, key=lambda s: scores[s]) and best.score == pytest.approx(
        max(scores.values()), abs=1e-4
    )
