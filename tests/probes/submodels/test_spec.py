"""The words of a sub-model: read, written, read again; and one sentence for each that cannot be read."""

from __future__ import annotations

import dataclasses
import json

import pytest

from probes import KeepLayers, KeepShare, SubModel, SubModelError

WORDS = {
    "full": SubModel(),
    "layers=first:4": SubModel(layers=4),
    "layers=even:2": SubModel(layers=KeepLayers("even", 2)),
    "layers=important:3": SubModel(layers="important:3"),
    "layers=0-2,5": SubModel(layers=[5, 0, 1, 2]),
    "layers@decoder=first:1 layers@encoder=0-1": SubModel(layers={"decoder": 1, "encoder": (0, 1)}),
    "experts=0-3,7": SubModel(experts=(0, 1, 2, 3, 7)),
    "experts=share:0.5:mass": SubModel(experts=KeepShare(0.5, "mass")),
    "experts=share:0.25:random:7": SubModel(experts="share:0.25:random:7"),
    "experts@text_0_mlp=0,2 experts@*_mlp=share:0.5:norm": SubModel(
        experts={"text_0_mlp": [0, 2], "*_mlp": KeepShare(0.5, "norm")}
    ),
    "top_k=2": SubModel(top_k=2),
    "layers=first:4 experts=share:0.5:count top_k@text_1_mlp=1": SubModel(
        layers=4, experts="share:0.5", top_k={"text_1_mlp": 1}
    ),
}


@pytest.mark.parametrize("words", WORDS)
def test_words_and_json_come_back(words: str) -> None:
    sub = WORDS[words]
    assert str(sub) == words
    assert SubModel.parse(words) == sub
    assert SubModel.parse(sub.to_json()) == sub
    assert SubModel.from_dict(json.loads(sub.to_json())) == sub
    assert hash(sub) == hash(SubModel.parse(words))


def test_order_of_parts_is_free_and_blanks_do_not_count() -> None:
    assert SubModel.parse("  top_k=2   layers=first:4 ") == SubModel(layers=4, top_k=2)
    assert SubModel.parse("") == SubModel()


def test_a_sub_model_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SubModel(layers=2).layers = None  # type: ignore[misc]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("layers=first:0", "zero layers were asked for"),
        ("layers=last:2", "first:N, even:N, important:N"),
        ("layers=first:two", "first:N, even:N, important:N"),
        ("layers=a,b", "A list of whole numbers was expected for layers"),
        ("layers=3-1", "the list is empty"),
        ("layers=1,1", "stands once"),
        ("experts=share:0:mass", "above 0 and at most 1"),
        ("experts=share:1.5:mass", "above 0 and at most 1"),
        ("experts=share:nan:mass", "above 0 and at most 1"),
        ("experts=share:0.5:luck", "count, mass, norm or random"),
        ("experts=share", "share:SHARE:RANKING"),
        ("experts=share:0.5:random:7:8", "share:SHARE:RANKING"),
        ("experts@text 0=1", "layers=, experts= and top_k="),
        ("top_k=0", "1 or more"),
        ("top_k=two", "1 or more"),
        ("width=4", "layers=, experts= and top_k="),
        ("layers", "layers=, experts= and top_k="),
        ("layers@=2", "layers=, experts= and top_k="),
        ("top_k=2 top_k=3", "stands twice"),
        ("top_k=2 top_k@text_0_mlp=3", "stands twice"),
        ("experts@a=1 experts@a=2", "stands twice"),
        ("{not json", "cannot be read"),
        ('{"width": 4}', "keys layers, experts and top_k"),
        ("[1]", "layers=, experts= and top_k="),
    ],
)
def test_what_cannot_be_read_is_said_in_one_sentence(words: str, sentence: str) -> None:
    with pytest.raises(SubModelError, match=sentence) as caught:
        SubModel.parse(words)
    assert str(caught.value).endswith(".") and str(caught.value).count("\n") == 0


@pytest.mark.parametrize(
    "given",
    [{"layers": [0.5]}, {"layers": [True]}, {"experts": 3}, {"top_k": True}, {"top_k": {3: 1}}, {"experts": []}],
)
def test_python_values_that_are_none(given: dict[str, object]) -> None:
    with pytest.raises(SubModelError):
        SubModel(**given)  # type: ignore[arg-type]
