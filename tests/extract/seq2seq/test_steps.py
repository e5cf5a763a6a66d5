"""The decoder a few tokens at a time over a short list of words, against the models' own whole scores; beams against a search written plainly."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import BartConfig, BartForConditionalGeneration, T5Config, T5ForConditionalGeneration

from benchmarks.plain_constraint import PlainConstraint
from tests.extract.uie.test_constraint import SCHEMAS, TEXTS, batch_of, models
from workbench.extract.seq2seq.decode import Decoder
from workbench.extract.seq2seq.model import CopySeq2Seq
from workbench.extract.seq2seq.steps import CopySteps, Head, PlainSteps, Steps
from workbench.extract.seq2seq.tokens import SelTokens
from workbench.extract.uie.records import OURS


def t5(tied: bool, vocabulary: int = 97) -> Any:
    torch.manual_seed(1)
    config = T5Config(
        vocab_size=vocabulary, d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=4, decoder_start_token_id=0, pad_token_id=0, eos_token_id=3,
        tie_word_embeddings=tied,
    )  # fmt: skip
    return T5ForConditionalGeneration(config).eval()


def bart(vocabulary: int = 97) -> Any:
    torch.manual_seed(2)
    config = BartConfig(
        vocab_size=vocabulary, d_model=16, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=24,
        decoder_ffn_dim=24, max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=3, decoder_start_token_id=0, forced_eos_token_id=None,
    )  # fmt: skip
    model = BartForConditionalGeneration(config).eval()
    with torch.no_grad():
        model.final_logits_bias.normal_()
    return model


def source_of(vocabulary: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    source = torch.randint(4, vocabulary, (3, 9), generator=draw)
    source[0, 5:] = 0
    return source, (source != 0).long()


def whole(model: Any, source: torch.Tensor, mask: torch.Tensor, prefix: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(input_ids=source, attention_mask=mask, decoder_input_ids=prefix).logits
    return found


def compare(model: Any, steps: Steps, source: torch.Tensor, mask: torch.Tensor, words: torch.Tensor) -> None:
    """Passes of one, three and two tokens, rows put in another order, a text taken out: the same scores as of the whole prefix each time."""
    draw = torch.Generator().manual_seed(3)
    prefix = torch.zeros((6, 1), dtype=torch.long)
    rows = torch.arange(3).repeat_interleave(2)
    fresh = prefix
    for count in (3, 2, 1, 1):
        with torch.inference_mode():
            scores, pointers = steps.feed(fresh)
        wanted = whole(model, source[rows], mask[rows], prefix)[:, -1, words].log_softmax(-1)
        got = scores.log_softmax(-1)
        there = torch.isfinite(wanted)
        assert torch.equal(there, torch.isfinite(got)) and torch.allclose(got[there], wanted[there], atol=1e-4)
        assert pointers is None or pointers.shape == (len(rows), fresh.shape[1], source.shape[1])
        if count == 1 and len(rows) == 6:
            index = torch.tensor([1, 1, 2, 3, 5, 4])
            steps.reorder(index)
            prefix = prefix[index]
            steps.keep(torch.tensor([0, 2]))
            keep = torch.tensor([0, 1, 4, 5])
            prefix, rows = prefix[keep], rows[keep]
        pool = torch.cat((words, source.flatten()))
        fresh = pool[torch.randint(0, len(pool), (len(rows), count), generator=draw)]
        prefix = torch.cat((prefix, fresh), 1)


@pytest.mark.parametrize("name", ["t5 tied", "t5", "bart"])
def test_a_cut_head_gives_the_scores_of_the_whole_one(name: str) -> None:
    model = bart() if name == "bart" else t5(name.endswith("tied"))
    head = Head.of(model)
    assert head is not None, "the parts of these classes are known"
    source, mask = source_of(97)
    words = torch.tensor([0, 3, 4, 17, 50, 96])
    with torch.inference_mode():
        encoded = model.get_encoder()(input_ids=source, attention_mask=mask)
    compare(model, PlainSteps(model, encoded, mask, 2, words, head), source, mask, words)
    with torch.inference_mode():
        encoded = model.get_encoder()(input_ids=source, attention_mask=mask)
    compare(model, PlainSteps(model, encoded, mask, 2, words, None), source, mask, words)


def test_a_head_that_is_not_a_plain_matrix_is_left_whole() -> None:
    model = t5(False)
    forward = model.forward

    class Odd(T5ForConditionalGeneration):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            out = forward(*args, **kwargs)
            out.logits = out.logits.tanh()
            return out

    model.__class__ = Odd
    assert Head.of(model) is None


def test_a_copying_model_step_by_step_is_the_model_itself(model: CopySeq2Seq) -> None:
    source, mask = source_of(model.config.vocab_size)
    source[:, 2] = model.config.fixed[0]
    words = torch.cat((model.fixed_ids, source[:, :6].flatten(), torch.tensor([0]))).unique()
    with torch.inference_mode():
        steps = CopySteps(model, model.encoder(source, mask), mask, 2, words)
    compare(model, steps, source, mask, words)


def plain_beams(
    model: Any, ids: torch.Tensor, mask: torch.Tensor, plain: PlainConstraint, tokens: SelTokens, beams: int, steps: int
) -> list[int]:
    """Beam search a sequence at a time, with no cache and the whole vocabulary."""
    kept: list[tuple[float, list[int]]] = [(0.0, [])]
    for _ in range(steps):
        grown: list[tuple[float, list[int]]] = []
        for total, prefix in kept:
            if prefix and prefix[-1] == tokens.eos:
                grown.append((total, prefix))
                continue
            logits = whole(model, ids, mask, torch.tensor([[tokens.start, *prefix]]))[0, -1]
            allowed = sorted(plain(prefix))
            scores = logits[allowed]
            scores = torch.zeros_like(scores) if bool(torch.isneginf(scores).all()) else scores
            chances = scores.log_softmax(-1)
            grown += [(total + float(c), [*prefix, a]) for a, c in zip(allowed, chances, strict=True)]
        kept = sorted((g for g in grown if g[0] > float("-inf")), key=lambda each: -each[0])[:beams]
    return max(kept, key=lambda each: each[0] / max(1, len(each[1])))[1]


@pytest.mark.parametrize("name", ["copy", "t5"])
def test_beams_are_those_of_a_search_without_cache_or_list(words: Any, tokens: SelTokens, name: str) -> None:
    model = models(words)[name]
    cases = [(SCHEMAS[1], TEXTS[0]), (SCHEMAS[2], TEXTS[3]), (SCHEMAS[0], TEXTS[4])]
    made, _, machine, ids = batch_of(words, tokens, cases, OURS, len(words))
    mask = (ids != tokens.pad).long()
    count = iter(range(10**6))
    written = Decoder(model, tokens).write(ids, mask, None, 10_000, machine, 3, lambda: next(count) >= 14)
    for n, (each, (prompt, ties, pieces, _)) in enumerate(zip(written, made, strict=True)):
        plain = PlainConstraint(prompt, ties, pieces.ids.tolist(), pieces.words.tolist(), tokens)
        assert each.ids == plain_beams(model, ids[n : n + 1], mask[n : n + 1], plain, tokens, 3, 14)


def test_tokens_without_a_choice_take_no_pass(words: Any, tokens: SelTokens) -> None:
    """One label of four pieces: its tokens, the colon and what follows a null span are written in the pass before."""
    model = models(words)["t5"]
    with torch.no_grad():
        model.lm_head.weight[tokens.null] = 0
    case = [({"entities": ["organization person location city"]}, "marie worked in paris")]
    *_, machine, ids = batch_of(words, tokens, case, OURS, len(words))
    passes = iter(range(10**6))
    written = Decoder(model, tokens).write(ids, torch.ones_like(ids), None, 60, machine, 1, lambda: next(passes) < 0)[0]
    used = next(passes)
    choices = sum(1 for allowed in written.allowed if allowed > 1)
    assert used <= choices + 1 < len(written.ids), (used, choices, len(written.ids))
    assert all(chance == 1.0 for chance, allowed in zip(written.chances, written.allowed, strict=True) if allowed == 1)
