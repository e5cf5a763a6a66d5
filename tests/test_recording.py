"""Recording: counts against the model's own router logits, windows, groups, generation, cancel, memory."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tiny_model import EXPERTS, LAYERS, TOP_K, save_model
from workbench.inputs import Document, InputError, InputOptions, Message, Part, read_documents
from workbench.models import LoadOptions, load_model
from workbench.recording import RecordingError, RecordOptions, record

TEXTS = {"cats": "the cat sat on a mat", "dogs": "a dog ran fast and the dog sat", "talk": "hello there how are you"}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Any:
    torch.set_num_threads(1)
    return load_model(
        str(save_model(tmp_path_factory.mktemp("model") / "tiny")), LoadOptions(device="cpu", dtype="float32")
    )


def documents() -> list[Document]:
    return [Document(name, name, text=text) for name, text in TEXTS.items()]


def brute_force(loaded: Any, text: str) -> np.ndarray:
    """Tokens of a text per [layer, expert], from the model's own router logits, without the start token."""
    ids = loaded.tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits = loaded.model(input_ids=ids, output_router_logits=True).router_logits
    counts = np.zeros((LAYERS, EXPERTS), dtype=np.int64)
    for layer, scores in enumerate(logits):
        for expert in scores[1:].topk(TOP_K, dim=-1).indices.reshape(-1).tolist():
            counts[layer, expert] += 1
    return counts


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_counts_equal_the_models_own_router_logits(loaded: Any, batch_size: int) -> None:
    capture = record(loaded, documents(), RecordOptions(group_by="file", batch_size=batch_size))
    assert set(capture.groups) == set(TEXTS)
    for name, text in TEXTS.items():
        np.testing.assert_array_equal(capture.count[:, capture.group_index(name)], brute_force(loaded, text))
    assert capture.manifest.grouped_by == "file" and capture.manifest.documents == 3
    assert capture.manifest.model.id == "tiny"


def test_default_groups_are_by_modality(loaded: Any) -> None:
    capture = record(loaded, documents())
    total = sum(brute_force(loaded, text) for text in TEXTS.values())
    np.testing.assert_array_equal(capture.count[:, capture.group_index("Text")], total)


def test_long_texts_are_cut_into_windows_that_keep_their_document(loaded: Any) -> None:
    text = " ".join(["the cat sat on a mat"] * 4)
    capture = record(loaded, [Document("long", "g", text=text)], RecordOptions(group_by="group", max_length=11))
    rows = capture.read_tokens("text").to_pandas()
    assert set(rows["document"].astype(str)) == {"long"} and capture.manifest.documents == 1
    assert int(capture.token_count[:, 0].max()) == 24
    assert "1 of 1 documents were longer than 11 tokens and were cut into 3 windows" in capture.manifest.notes
    expected = sum(
        brute_force(loaded, part)
        for part in ("the cat sat on a mat the cat sat on", "a mat the cat sat on a mat the cat", "sat on a mat")
    )
    np.testing.assert_array_equal(capture.count[:, 0], expected)


def test_generation_is_recorded_as_decode(loaded: Any) -> None:
    capture = record(loaded, documents()[:1], RecordOptions(group_by="file", generate=4))
    ids = loaded.tokenizer(TEXTS["cats"], return_tensors="pt")
    with torch.no_grad():
        written = loaded.model.generate(**ids, max_new_tokens=4, do_sample=False, pad_token_id=2)[
            0, ids["input_ids"].shape[1] :
        ]
    fed_back = min(len(written) - 1, 3)
    tokens = capture.table("tokens").values.sum(axis=(0, 3))  # [site, phase]
    assert (tokens[:, 0] == 6).all() and (tokens[:, 1] == fed_back).all()


def test_predicted_tokens_and_losses_are_the_models_own(loaded: Any) -> None:
    capture = record(loaded, documents(), RecordOptions(group_by="file", predictions=True, loss=True, scores=True))
    rows = capture.read_tokens("text").to_pandas()
    for document in documents():
        ids = loaded.tokenizer(document.text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            logits = loaded.model(ids).logits[0]
        loss = torch.nn.functional.cross_entropy(logits[:-1], ids[0, 1:], reduction="none")
        mine = rows[rows["document"].astype(str) == document.id].sort_values("position")
        # The start token is special: it is in no group and has no row.
        assert mine["predicted_id"].tolist() == logits[1:].argmax(-1).tolist()
        np.testing.assert_allclose(mine["loss"].to_numpy()[:-1], loss[1:].numpy(), rtol=1e-3)
        assert np.isnan(mine["loss"].to_numpy()[-1])
    assert len(rows[f"scores_{capture.sites[0].id}"][0]) == capture.sites[0].experts


@pytest.mark.parametrize("batch_size", [1, 8])
def test_what_is_written_follows_the_last_window(loaded: Any, batch_size: int) -> None:
    """A text of three windows reads whole and in order, and what the model wrote stands after its end."""
    text = " ".join(["the cat sat on a mat"] * 4)
    options = RecordOptions(group_by="group", max_length=11, generate=5, batch_size=batch_size)
    capture = record(loaded, [Document("long", "g", text=text), Document("short", "g", text="a dog")], options)
    rows = capture.read_tokens("text").to_pandas()
    rows = rows[rows["document"].astype(str) == "long"].sort_values("position")
    given = loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
    # A start token opens each window; it is special and has no group, but it keeps its row.
    read = rows[rows["phase"].astype(str) == "prefill"]
    words = [token for token in read["token_id"].tolist() if token != loaded.tokenizer.bos_token_id]
    assert words == given
    assert read["position"].max() < rows[rows["phase"].astype(str) == "decode"]["position"].min()
    last = loaded.tokenizer("sat on a mat", return_tensors="pt")
    with torch.no_grad():
        written = loaded.model.generate(**last, max_new_tokens=5, do_sample=False, pad_token_id=2)[0, 5:].tolist()
    assert rows[rows["phase"].astype(str) == "decode"]["token_id"].tolist() == written[:-1]


def test_roles_of_a_chat(loaded: Any) -> None:
    chat = Document(
        "chat",
        messages=(
            Message("user", (Part("text", "how are you"),)),
            Message("assistant", (Part("text", "fine thanks there hello"),)),
        ),
    )
    capture = record(loaded, [chat], RecordOptions(group_by="role"))
    counted = dict(zip(capture.groups, capture.token_count[0].tolist(), strict=True))
    assert counted == {"template": 6, "user": 3, "assistant": 4}  # "user : ... . assistant : ... ."
    assert capture.manifest.grouped_by == "chat role"


def test_a_prompt_is_counted_apart(loaded: Any) -> None:
    made = [
        Document("a", "g", text="the cat sat", prompt="hello there"),
        Document("b", "g", text="a dog", prompt="you"),
    ]
    capture = record(loaded, made, RecordOptions(group_by="group"))
    assert int(capture.token_count[0].sum()) == 5
    assert sum(capture.manifest.excluded["text"].values()) >= 3


def test_progress_and_cancel_keep_what_was_recorded(loaded: Any) -> None:
    seen: list[int] = []
    capture = record(
        loaded,
        documents(),
        RecordOptions(group_by="file", batch_size=1),
        on_progress=lambda now: seen.append(now.documents),
        cancelled=lambda: len(seen) == 2,
    )
    assert seen == [1, 2]
    assert "Stopped early: 2 of 3 documents" in capture.manifest.notes
    assert len(capture.groups) == 2
    with pytest.raises(RecordingError, match="before its first batch"):
        record(loaded, documents(), cancelled=lambda: True)


def test_the_same_seed_gives_the_same_capture(loaded: Any) -> None:
    one, other = (record(loaded, documents(), RecordOptions(max_tokens=8, seed=3)) for _ in range(2))
    assert one.read_tokens("text").equals(other.read_tokens("text"))
    np.testing.assert_array_equal(one.mass, other.mass)


def test_out_of_memory_names_a_smaller_batch(loaded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(loaded.model.model, "forward", forward)
    with pytest.raises(RecordingError, match="batch of 6: use a smaller --batch-size, for instance 3"):
        record(loaded, documents(), RecordOptions(batch_size=6))
    monkeypatch.undo()
    record(loaded, documents())  # the lock is free again


def test_a_text_model_refuses_a_picture(loaded: Any, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "one.png")
    with pytest.raises(InputError, match="'one.png' is a picture, and the model 'tiny' takes text alone"):
        record(loaded, read_documents([tmp_path / "one.png"], InputOptions()))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, "--batch-size"),
        ({"max_length": 1}, "--max-length"),
        ({"generate": -1}, "--generate"),
        ({"max_tokens": 0}, "--max-tokens"),
    ],
)
def test_options_out_of_range(options: dict[str, int], words: str) -> None:
    with pytest.raises(RecordingError, match=words):
        RecordOptions(**options)  # type: ignore[arg-type]


def test_more_length_than_positions(loaded: Any) -> None:
    with pytest.raises(RecordingError, match="has 64 positions"):
        record(loaded, documents(), RecordOptions(max_length=60, generate=8))


def test_no_documents(loaded: Any) -> None:
    with pytest.raises(RecordingError, match="no document"):
        record(loaded, [])


def test_a_chat_without_a_template(tmp_path: Path) -> None:
    bare = load_model(str(save_model(tmp_path / "bare", chat=False)), LoadOptions(device="cpu"))
    chat = Document("chat", messages=(Message("user", (Part("text", "hello"),)),))
    with pytest.raises(InputError, match="no chat template"):
        record(bare, [chat])


def test_pieces_and_offsets_point_into_the_text(loaded: Any) -> None:
    capture = record(loaded, documents(), RecordOptions(group_by="file"))
    rows = capture.read_tokens("text").to_pandas()
    start = next(name for name in rows.columns if "start" in name)
    end = next(name for name in rows.columns if "end" in name)
    words = Counter()
    for _, row in rows.iterrows():
        if row[end] > row[start]:
            words[TEXTS[str(row["document"])][int(row[start]) : int(row[end])]] += 1
    assert words == Counter(word for text in TEXTS.values() for word in text.split()), json.dumps(words)
