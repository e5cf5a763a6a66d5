"""Whose token is it: documents, packed rows, groups in every form, modality and role."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from probes import RoutingProbe
from probes.errors import LabelError
from tests.probes.families.build import build
from tests.probes.families.catalogue import all_families
from tests.probes.models import Toy, tiny
from workbench.capture import Capture

IDS = torch.tensor([[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]])


def record(model: Any, *args: Any, probe: dict[str, Any] | None = None, **kwargs: Any) -> Capture:
    with RoutingProbe(model, tokens=True, **(probe or {})) as watching, torch.no_grad():
        model(*args, **kwargs)
    return watching.capture()


def documents(capture: Capture) -> list[str]:
    assert capture.tokens is not None
    return capture.tokens["text"].column("document").to_pylist()


def per_group(capture: Capture) -> dict[str, int]:
    return {group: n for group, n in capture.manifest.tokens["text"].items() if n}


# ---------------------------------------------------------------------- documents
def test_a_document_a_row() -> None:
    model = Toy()
    with RoutingProbe(model, tokens=True) as probe:
        model(IDS)
        model(IDS[:1])
    assert documents(probe.capture()) == ["0"] * 6 + ["1"] * 6 + ["2"] * 6


def test_named_documents_continue() -> None:
    model = Toy()
    with RoutingProbe(model, tokens=True) as probe:
        for names in (["x", "y"], ["y", "x"]):
            probe.label(documents=names)
            model(IDS)
    capture = probe.capture()
    assert capture.manifest.documents == 2
    assert capture.tokens is not None
    rows = capture.tokens["text"].to_pydict()
    assert [token for token, name in zip(rows["token_id"], rows["document"], strict=True) if name == "x"] == [
        1,
        2,
        3,
        4,
        5,
        6,
        *range(7, 13),
    ]
    assert rows["position"] == [*range(12), *range(12)]


PACKED = [
    {"position_ids": torch.tensor([[0, 1, 2, 0, 1, 2], [0, 1, 2, 3, 0, 1]])},
    {"seq_idx": torch.tensor([[0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 1, 1]])},
]


@pytest.mark.parametrize("told", PACKED, ids=["position_ids", "seq_idx"])
def test_packed_rows_are_split(told: dict[str, torch.Tensor]) -> None:
    capture = record(Toy(), IDS, **told)
    assert documents(capture) == ["0"] * 3 + ["1"] * 3 + ["2"] * 4 + ["3"] * 2


def test_packed_by_lengths() -> None:
    capture = record(Toy(), IDS.reshape(1, 12), cu_seq_lens_q=torch.tensor([0, 5, 12]))
    assert documents(capture) == ["0"] * 5 + ["1"] * 7


def test_packed_by_the_caller() -> None:
    """Equal numbers are one document, in whichever row; a negative number is none."""
    grid = torch.tensor([[7, 7, 7, 8, 8, 8], [8, 8, -1, -1, 9, 9]])
    capture = record(Toy(), IDS, probe={"documents": grid, "groups": {7: "a", "8": "b", "9": "a"}})
    assert documents(capture) == ["7"] * 3 + ["8"] * 5 + ["9"] * 2
    assert capture.manifest.excluded == {"text": {"no document": 2}}
    assert per_group(capture) == {"a": 5, "b": 5}


# ---------------------------------------------------------------------- groups
def test_groups_in_every_form() -> None:
    assert per_group(record(Toy(), IDS)) == {"Text": 12}
    assert per_group(record(Toy(), IDS, probe={"groups": "all"})) == {"all": 12}
    assert per_group(record(Toy(), IDS, probe={"groups": ["a", "b"]})) == {"a": 6, "b": 6}
    assert per_group(record(Toy(), IDS, probe={"groups": {"0": "a"}})) == {"a": 6, "unknown": 6}
    grid = [["x", "x", None, "y", "y", "y"], ["z"] * 6]
    assert per_group(record(Toy(), IDS, probe={"groups": grid})) == {"x": 2, "unknown": 1, "y": 3, "z": 6}


def test_label_holds_until_the_next_and_as_a_block_until_its_end() -> None:
    model = Toy()
    with RoutingProbe(model, groups="before") as probe:
        with probe.groups("inside"):
            model(IDS)
        model(IDS[:1])
        probe.label(groups=["a", "b"])
        model(IDS)
        model(IDS)
    assert per_group(probe.capture()) == {"inside": 12, "before": 6, "a": 12, "b": 12}


def test_decode_steps_keep_the_labels_of_their_row() -> None:
    model = tiny("qwen3_moe")
    with RoutingProbe(model, groups=["a", "b"], documents=["x", "y"]) as probe:
        model.generate(
            IDS,
            attention_mask=torch.ones_like(IDS),
            max_new_tokens=3,
            min_new_tokens=3,
            do_sample=False,
            pad_token_id=0,
        )
    assert per_group(probe.capture()) == {"a": 8, "b": 8}


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"groups": ["a", "b", "c"]}, "groups= names 3 rows, but the call has 2"),
        ({"documents": np.zeros((2, 5), int)}, "documents= was given for 2 x 5 tokens, but the call has 2 x 6"),
        ({"offsets": np.zeros((2, 6), int)}, "offsets= must be"),
    ],
)
def test_labels_that_do_not_fit(labels: dict[str, Any], words: str) -> None:
    model = Toy()
    with RoutingProbe(model) as probe:
        probe.label(**labels)
        with pytest.raises(LabelError, match=words):
            model(IDS)
        probe.label()
        model(IDS)
    assert probe.capture().manifest.tokens["text"]["Text"] == 12, "the probe goes on after a wrong label"


def test_a_prompt_before_every_row_is_counted_apart() -> None:
    model = Toy()
    ids = torch.tensor([[30, 31, 1, 2], [30, 31, 3, 4]])
    with RoutingProbe(model) as probe:
        probe.label(prefix_ids=[30, 31])
        model(ids)
    capture = probe.capture()
    assert capture.manifest.tokens["text"]["Text"] == 4
    assert capture.manifest.excluded == {"text": {"prefix": 4}}


def test_right_padding_and_no_mask() -> None:
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])
    assert record(tiny("mixtral"), IDS, attention_mask=mask).token_count[:, 0].tolist() == [10] * 4
    assert record(tiny("mixtral"), IDS).token_count[:, 0].tolist() == [12] * 4


# ---------------------------------------------------------------------- modality and role
@pytest.mark.parametrize(
    "name", ["qwen3_vl_moe", "llama4", "aria", "kimi_k25", "internvl_with_qwen3_moe", "qwen3_omni_moe_thinker"]
)
def test_image_tokens_by_placeholder(name: str) -> None:
    built = build(all_families()[name])
    with RoutingProbe(built.model, tokens=True) as probe, torch.no_grad():
        built.model(**built.inputs)
    capture = probe.capture()
    stack = next(stack for stack in capture.stacks if stack != "vision")
    images = int((built.inputs["input_ids"] == 100).sum())
    assert images > 0
    assert {name: n for name, n in capture.manifest.tokens[stack].items() if n} == {"Text": 8, "Image und.": images}
    assert capture.tokens is not None
    rows = capture.tokens[stack].to_pydict()
    assert [modality == "image" for modality in rows["modality"]] == (built.inputs["input_ids"][0] == 100).tolist()


def test_modality_that_comes_with_the_call() -> None:
    """mm_token_type_ids counts for more than placeholder ids: here it calls an image placeholder video."""
    built = build(all_families()["qwen3_vl_moe"])
    inputs = {
        "input_ids": IDS[:1],
        "attention_mask": torch.ones_like(IDS[:1]),
        "mm_token_type_ids": torch.tensor([[0, 1, 2, 2, 3, 0]]),
    }
    with RoutingProbe(built.model) as probe, torch.no_grad():
        built.model(**inputs)
    assert per_group(probe.capture()) == {"Text": 2, "Image und.": 1, "Video und.": 2, "Audio": 1}


def test_embeddings_alone() -> None:
    text, shell = tiny("mixtral"), build(all_families()["llama4"])
    embeddings = torch.randn(2, 6, 32)
    assert per_group(record(text, inputs_embeds=embeddings)) == {"Text": 12}
    assert per_group(record(shell.model, inputs_embeds=embeddings)) == {"unknown": 12}


class Painter(Toy):
    """A model of one's own that says itself which tokens it generates."""

    def routing_labels(self, call: Any) -> tuple[torch.Tensor, torch.Tensor]:
        ids = call.get("input_ids")
        return (ids > 3).long(), (ids > 8).long()


def test_roles_named_by_the_model() -> None:
    assert per_group(record(Painter(), IDS)) == {"Text": 3, "Image und.": 5, "Image gen.": 4}


def test_vision_tower_has_a_token_axis_of_its_own() -> None:
    built = build(all_families()["dots3_note"])
    with RoutingProbe(built.model, tokens=True) as probe, torch.no_grad():
        built.model(**built.inputs)
    capture = probe.capture()
    assert set(capture.stacks) == {"vision", "text"}
    assert capture.manifest.tokens["vision"] == {
        "Text": 0,
        "Image und.": 16,
        "Video und.": 0,
        "Image gen.": 0,
        "Video gen.": 0,
        "Audio": 0,
    }


def test_ernie_splits_its_tokens_between_two_sets_of_experts() -> None:
    built = build(all_families()["ernie4_5_vl_moe"])
    with RoutingProbe(built.model, tokens=True) as probe, torch.no_grad():
        built.model(**built.inputs)
    capture = probe.capture()
    images = int((built.inputs["input_ids"] == 100).sum())
    for site in capture.sites:
        seen = dict(zip(capture.groups, capture.token_count[capture.site_index(site.id)].tolist(), strict=True))
        assert (seen["Text"], seen["Image und."]) == ((0, images) if site.part == "vision" else (8, 0))
    assert capture.tokens is not None
    column = capture.tokens["text"].column(f"experts_{capture.sites[0].id}").to_pylist()
    assert sum(row is None for row in column) == (images if capture.sites[0].part == "text" else 8)
