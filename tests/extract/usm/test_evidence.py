"""What stands behind a result: its links, attention of its pieces, experts, whatever pass had it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    Qwen3MoeConfig,
    Qwen3MoeModel,
)

from probes.attention import attention_modules, attention_rows, estimated_bytes
from probes.errors import ProbeError
from tests.extract.usm.made_sets import SCHEMA
from workbench.extract import Argument, EngineError, Event, Span
from workbench.extract.schema import Schema
from workbench.extract.usm.batch import make_batch
from workbench.extract.usm.engine import UsmEngine
from workbench.extract.usm.model import new_model
from workbench.extract.usm.reading import Curve, Reading


def test_links_of_an_explanation_are_those_of_the_pass(engine: UsmEngine) -> None:
    text = "Marie Curie worked in Paris for the museum"
    found = engine.extract([text], SCHEMA)[0]
    item = max(found.entities, key=lambda s: s.score or 0)
    evidence = engine.explain(text, SCHEMA, item)
    assert {link.type for link in evidence.links} == {"H2T", "L2H", "L2T"}
    mean = sum(link.score for link in evidence.links) / 3
    assert engine.reading.curve("entity").probability(mean) == pytest.approx(item.score, abs=1e-3)
    assert found.relations, "the untrained model links something"
    relation = max(found.relations, key=lambda r: r.score or 0)
    links = engine.explain(text, SCHEMA, relation).links
    mean = sum(link.score for link in links[:8]) / 8
    assert engine.reading.curve("relation").probability(mean) == pytest.approx(relation.score, abs=1e-3)


def test_attention_rows_are_those_of_output_attentions(engine: UsmEngine) -> None:
    text, whole = "Marie Curie worked in Paris", Schema.read(SCHEMA).expanded()
    item = engine.extract([text], SCHEMA)[0].entities[-1]
    evidence = engine.explain(text, SCHEMA, item, layer=0, heads=[2, 0])
    found = evidence.attention
    assert (
        found is not None
        and found.layer == 0
        and found.heads == (2, 0)
        and (found.layers, found.heads_in_all) == (2, 4)
    )
    window, block = engine.windows([text])[0], next(b for b in engine.plan(whole) if item.type in b.entities)
    batch = make_batch([engine.passes.sample(window.pieces, block)], *engine.passes.special)
    with torch.no_grad():
        maps = engine.usm.encode(batch, output_attentions=True).attentions
    rows = [int(batch.text[0, n]) for n, start in enumerate(window.pieces.starts) if item.start <= start < item.end]
    assert len(rows) == len(found.rows)
    np.testing.assert_allclose(np.array(found.weights), maps[0][0, [2, 0]][:, rows].numpy(), atol=1e-4)
    for head in found.weights:
        for row in head:
            assert sum(row) == pytest.approx(1.0, abs=1e-3) and len(row) == len(found.columns)
    assert "".join(place.piece for place in found.rows).lower() == text[item.start : item.end].replace(" ", "").lower()
    assert {place.kind for place in found.columns} == {"text", "label"}


def test_attention_that_is_too_large_is_refused_before_it_runs(engine: UsmEngine) -> None:
    def run() -> None:
        raise AssertionError("must not run")

    with pytest.raises(ProbeError, match="MiB"):
        attention_rows(engine.usm.encoder, run, [0], length=20_000)
    assert estimated_bytes(4, 20_000) == 4 * 20_000 * 20_000 * 4
    with pytest.raises(ProbeError, match="layers 0 to 1"):
        attention_rows(engine.usm.encoder, run, [0], length=5, layer=7)
    with pytest.raises(ProbeError, match="positions 0 to 4"):
        attention_rows(engine.usm.encoder, run, [2, 5], length=5)
    assert len(attention_modules(engine.usm.encoder)) == 2, "one a layer: the wrapper around it does not count"


def test_heads_of_a_model_in_several_parts_are_counted_before_it_runs() -> None:
    """The configuration of a multimodal model states heads for each part, none for the whole."""
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 8,
        "num_key_value_heads": 8,
    }
    config = LlavaConfig(
        text_config=LlamaConfig(**sizes, vocab_size=64),
        vision_config=CLIPVisionConfig(hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=16),
        image_token_index=63,
    )  # fmt: skip
    model = LlavaForConditionalGeneration(config).eval()
    assert not hasattr(config, "num_attention_heads")

    def run() -> None:
        model(input_ids=torch.arange(5)[None])

    language = next(n for n, (name, _) in enumerate(attention_modules(model)) if "language" in name)
    for layer, heads in ((language, 8), (1 - language, 2)):
        with pytest.raises(ProbeError, match=f"5 positions and {heads} heads"):
            attention_rows(model, run, [0], length=5, layer=layer, most_bytes=estimated_bytes(heads, 5) - 1)
    found = attention_rows(model, run, [4], length=5, layer=language, most_bytes=estimated_bytes(8, 5))
    assert found.heads_in_all == 8 and found.weights.shape == (8, 1, 5)


def test_a_bad_layer_is_told_and_the_links_stay(engine: UsmEngine) -> None:
    item = engine.extract(["Marie in Paris"], SCHEMA)[0].entities[0]
    evidence = engine.explain("Marie in Paris", SCHEMA, item, layer=9)
    assert evidence.attention is None and "layers 0 to 1" in evidence.attention_refused and evidence.links


def test_an_item_of_another_text_or_schema_is_refused(engine: UsmEngine) -> None:
    item = engine.extract(["Marie in Paris"], SCHEMA)[0].entities[0]
    with pytest.raises(EngineError, match="schema has no"):
        engine.explain("Marie in Paris", {"entities": ["museum"]}, item)
    with pytest.raises(EngineError, match="do not begin and end"):
        engine.explain("x", SCHEMA, item.model_copy(update={"start": 3, "end": 9}))


def test_experts_of_a_result_where_the_encoder_has_some(tokenizer: Any) -> None:
    """They are those that a hook on the experts module sees."""
    torch.manual_seed(0)
    encoder = Qwen3MoeModel(
        Qwen3MoeConfig(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=32, moe_intermediate_size=16, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, head_dim=8, num_experts=6, num_experts_per_tok=2, norm_topk_prob=True, attn_implementation="eager",
        )
    )  # fmt: skip
    engine = UsmEngine(new_model(encoder.eval(), window=48).eval(), tokenizer)
    engine.reading = Reading("mean", 0.5, {"mean": {"entity": Curve(0.1, 0.0)}})
    item = engine.extract(["Marie in Paris"], {"entities": ["person"]})[0].entities[0]
    seen: list[Any] = []
    handle = encoder.layers[1].mlp.experts.register_forward_pre_hook(lambda module, given: seen.append(given))
    evidence = engine.explain("Marie in Paris", {"entities": ["person"]}, item)
    handle.remove()
    assert evidence.attention is not None
    assert len(evidence.experts) == 2 * len(evidence.attention.rows), "two layers"
    ids = next(value for value in seen[-1] if isinstance(value, torch.Tensor) and not value.is_floating_point())
    last = [used for used in evidence.experts if used.site == evidence.experts[-1].site]
    columns = evidence.attention.columns
    for used in last:
        assert sorted(used.experts) == sorted(ids[columns.index(used.token)].tolist())
        assert sum(used.weights) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(("labels", "window"), [(100, 16), (2, 48)], ids=["windows", "blocks"])
def test_an_event_that_several_passes_made_has_the_links_of_each(engine: UsmEngine, labels: int, window: int) -> None:
    """One argument stands a window before the other, or the two roles are asked in passes of their own."""
    engine.usm.config.max_labels, engine.usm.config.window, engine.usm.config.overlap = labels, window, 8
    text = "museum " * 24
    schema = Schema(events={"attack": ("victim", "place")})
    at = [(7 * n, 7 * n + 6) for n in range(24)]
    trigger, victim, place = at[10], at[3], at[20]
    event = Event(
        type="attack",
        trigger=Span(start=trigger[0], end=trigger[1], type="attack"),
        arguments=(
            Argument(role="victim", start=victim[0], end=victim[1]),
            Argument(role="place", start=place[0], end=place[1]),
        ),
    )
    cut, plan = engine.windows([text]), engine.plan(schema)
    assert len(cut) * len(plan) == 2
    wanted: dict[tuple[str, int | None, int | None], float] = {}
    for w, b, scores in engine.passes.link_scores(cut, plan, 8):
        pieces, roles = cut[w].pieces, plan[b].roles
        for role, span in (("victim", victim), ("place", place)):
            subject, object_ = pieces.span(*trigger), pieces.span(*span)
            if role in roles and subject is not None and object_ is not None:
                s, o, label = subject[0], object_[0], roles[role]
                wanted[role, None, span[0]] = float(scores.L2H[label, o])
                wanted[role, trigger[0], None] = float(scores.H2L[s, label])
                wanted["H2H", trigger[0], span[0]] = float(scores.H2H[s, o])
    assert len(wanted) == 6
    evidence = engine.explain(text, schema, event)
    assert len(evidence.links) == 3 + 7 + 7, "those of the trigger stand once"
    got = {
        (
            "H2H" if link.type == "H2H" else link.source.piece if link.type == "L2H" else link.target.piece,
            link.source.start,
            link.target.start,
        ): link.score
        for link in evidence.links
        if link.type in ("L2H", "H2L", "H2H")
    }
    assert {key: got[key] for key in wanted} == pytest.approx(wanted, abs=1e-3)
    assert evidence.attention is not None and len(evidence.attention.rows) == 2, "the trigger and what stands beside it"


def test_a_role_that_the_schema_lacks_is_told(engine: UsmEngine) -> None:
    span = {"start": 0, "end": 5}
    event = Event(type="attack", trigger=Span(**span, type="attack"), arguments=(Argument(role="weapon", **span),))
    with pytest.raises(EngineError, match="no role 'weapon'"):
        engine.explain("marie met", SCHEMA, event)
