"""The protocols of little data, against counts by hand, and the table of runs."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from tests.extract.uie.test_train import labels_of
from tests.extract.usm.test_train import documents as train_documents
from workbench.extract.errors import ExtractError
from workbench.extract.records import Document, Relation, Span
from workbench.extract.seq2seq.tokens import SelTokens
from workbench.extract.uie.experiments import Amount, as_table, part_of, ratio, sample_source, shots
from workbench.extract.uie.ssi import LabelIds
from workbench.extract.uie.train.sampling import Sampler, Sampling


def span(start: int, type_: str) -> Span:
    return Span(start=start, end=start + 1, type=type_)


def documents() -> list[Document]:
    """Ten sentences: type a in nine of them, twice in the first; type b in two; none in the last."""
    made = []
    for n in range(10):
        spans = [span(0, "a")] if n < 9 else []
        spans += [span(1, "a")] if n == 0 else []
        spans += [span(2, "b")] if n in (3, 4) else []
        made.append(Document(id=str(n), text="abcdef", entities=tuple(spans)))
    return made


def test_shots_are_so_many_a_type() -> None:
    for seed in range(20):
        found = shots(documents(), 3, seed)
        assert len(found) == 5, "three of a; b has two sentences and gives both"
        assert {"3", "4"} <= {d.id for d in found} and "9" not in {d.id for d in found}
        assert [d.id for d in found] == [d.id for d in shots(documents(), 3, seed)]
    firsts = Counter(d.id for seed in range(400) for d in shots(documents(), 1, seed)[:1])
    assert firsts["0"] > 1.4 * firsts["1"], "the first sentence holds a twice and stands twice in its pool"


def test_shots_go_by_relations_where_there_are_any() -> None:
    head, tail = span(0, "a"), span(2, "b")
    own = Document(id="r", text="abcdef", entities=(head, tail), relations=(Relation(type="x", head=head, tail=tail),))
    assert [d.id for d in shots([*documents(), own], 5, 1)] == ["r"]


def test_ratios_are_rounded_up() -> None:
    assert (
        len(ratio(documents(), 1, 0)) == 1
        and len(ratio(documents(), 11, 0)) == 2
        and len(ratio(documents(), 100, 0)) == 10
    )
    assert len({d.id for d in ratio(documents(), 50, 3)}) == 5


def test_protocols_by_name() -> None:
    assert len(part_of(documents(), "full", 0)) == 10 and len(part_of(documents(), "ratio:10", 0)) == 1
    assert len(part_of(documents(), "shot:1", 0)) == 2
    for wrong in ("shots:1", "shot:0", "shot:x", "shot:1.5", "ratio:0", "ratio:101", "half"):
        with pytest.raises(ExtractError, match=r"shot:NUMBER or ratio:PERCENT"):
            part_of(documents(), wrong, 0)


def test_the_table_has_mean_and_deviation_over_seeds() -> None:
    def run(f1: float, well: int) -> dict[str, object]:
        way = {"f1": {"relation": f1}, "outputs": {"well-formed": well, "fixed": 10 - well}}
        return {"sentences": 5, "grammar": way, "free": way}

    rows = as_table({"14res, shot:1, all": [run(0.4, 10), run(0.5, 5)]}).splitlines()
    assert "| 14res, shot:1, all | grammar | 2 | 5 | - | 45.0 ± 5.0 | - | - | 75.0 % |" in rows


def test_epochs_are_passes_over_the_sample_and_no_batch_is_larger_than_it() -> None:
    assert Amount(steps=600).of(5) == (600, 16)
    assert Amount(epochs=200).of(5) == (200, 5), "five sentences: one step a pass"
    assert Amount(epochs=200).of(16) == (200, 16)
    assert Amount(epochs=200).of(47) == (600, 16), "two whole batches and a rest"
    assert Amount(epochs=3, batch=4).of(9) == (9, 4)


def test_a_sample_is_asked_for_the_schema_of_the_whole_set(words: Any, tokens: SelTokens) -> None:
    every = train_documents(40)
    whole = sample_source("conll04", every, every, words)
    lone = Document(id="x", text="marie met", entities=(Span(start=0, end=5, type="person"),), relations=())
    source = sample_source("conll04", every, [lone], words)
    assert len(source.chunks) == 1 and (source.entities, source.relations) == (whole.entities, whole.relations)
    assert len(source.entities) > 1 and source.relations
    coder, rng = LabelIds(words, tokens), np.random.default_rng(0)
    sampler = Sampler(coder, tokens, [source], Sampling(far=0.0, own_name=1.0, whole=True, reject=0.0))
    wanted = {(tokens.spot, coder(n)) for n in source.entities} | {(tokens.asoc, coder(n)) for n in source.relations}
    for _ in range(30):
        example = sampler.draw(source, source.chunks[0], rng)
        assert example is not None and set(labels_of(example.source, tokens)) == wanted
