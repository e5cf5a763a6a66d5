"""Naming by likeness: against a loop over places, and one token at a time against a pass over the whole output."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.extract.metaner.conftest import documents, made  # noqa: F401 - a fixture
from workbench.extract.metaner.tokens import MetaTokens
from workbench.extract.metaner.wire import Wire
from workbench.extract.seq2seq.model import CopySeq2Seq
from workbench.extract.seq2seq.naming import LABELS
from workbench.extract.seq2seq.steps import steps_of

Made = tuple[Any, Any, MetaTokens]


@pytest.fixture
def case(made: Made) -> tuple[CopySeq2Seq, MetaTokens, torch.Tensor, torch.Tensor]:  # noqa: F811
    """A model whose likeness counts, a source with two demonstrations, an output."""
    model, tokenizer, tokens = made
    torch.manual_seed(4)
    with torch.no_grad():
        model.naming.words.weight.normal_(std=0.5)
    wire = Wire(tokenizer, tokens, True)
    shots = wire.shots(documents(3))
    names = {"person": "<type4>", "city": "city"}
    source = wire.prompt(names, shots[:2], shots[2])
    output = torch.tensor([[tokens.out, *wire.output(shots[2], names)]])
    return model, tokens, torch.tensor([source.ids]), output


@torch.no_grad()
def test_likeness_equals_a_loop_over_places(case: tuple[CopySeq2Seq, MetaTokens, torch.Tensor, torch.Tensor]) -> None:
    model, tokens, ids, output = case
    naming: Any = model.naming
    encoded = model.encoder(ids, torch.ones_like(ids))
    whole = model.slots(encoded, torch.ones_like(ids), output)[0][0]
    model.naming = None
    plain = model.slots(encoded, torch.ones_like(ids), output)[0][0]
    added = (whole - plain)[:, len(model.config.fixed) :]
    states = encoded.last_hidden_state[0]
    states = states - states.mean(0)
    row, said = ids[0].tolist(), output[0].tolist()

    def unit(x: torch.Tensor) -> torch.Tensor:
        return x / x.norm()

    compared = 0
    for t, token in enumerate(said):
        for p in range(len(row)):
            if not model.copyable[row[p]]:
                continue
            wanted = 0.0
            if token == tokens.is_:  # the span's last word, wherever the longest match of what was written ends
                first = max(n for n in range(t) if said[n] in (tokens.out, tokens.stop)) + 1
                span = said[first:t]
                most = max(
                    k for k in range(1, len(span) + 1) for q in range(k, len(row) + 1) if row[q - k : q] == span[-k:]
                )
                ends = [q - 1 for q in range(most, len(row) + 1) if row[q - most : q] == span[-most:]]
                query = unit(states[ends].mean(0))
                if row[p - 1] == tokens.is_:
                    wanted = float(naming.sharp * (query @ unit(states[p - 2])))
                if row[p - 1] == tokens.label:
                    wanted = float(query @ (naming.words.weight @ unit(model.encoder.embed(ids)[0, p]))) * LABELS
            compared += wanted != 0
            assert float(added[t, p]) == pytest.approx(wanted, abs=1e-3), (t, p)
    assert compared > 10


@torch.no_grad()
def test_token_by_token_gives_the_same(case: tuple[CopySeq2Seq, MetaTokens, torch.Tensor, torch.Tensor]) -> None:
    """The decoder's own steps, and transformers' cache with the whole prefix."""
    model, _, ids, output = case
    mask = torch.ones_like(ids)
    encoded = model.encoder(ids, mask)
    whole = model(encoder_outputs=encoded, attention_mask=mask, decoder_input_ids=output)
    for widths in ([1] * output.shape[1], [3, 2, *[1] * (output.shape[1] - 5)]):
        steps = steps_of(model, encoded, mask, 1, None, None)
        at = 0
        for width in widths:
            scores, pointers = steps.feed(output[:, at : at + width])
            at += width
            assert pointers is not None
            assert torch.allclose(scores.exp(), whole.logits[:, at - 1].exp(), atol=1e-4)
            assert torch.allclose(pointers.exp(), whole.pointer[:, at - width : at].exp(), atol=1e-4)
    past = None
    for at in range(output.shape[1]):
        out = model(
            encoder_outputs=encoded, attention_mask=mask, decoder_input_ids=output[:, at : at + 1], decoder_prefix=output[:, : at + 1],
            past_key_values=past, use_cache=True,
        )  # fmt: skip
        past = out.past_key_values
        assert torch.allclose(out.logits[:, 0].exp(), whole.logits[:, at].exp(), atol=1e-4)
