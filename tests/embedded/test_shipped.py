"""The checkpoint and the samples that the project ships."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import pytest
import torch

from workbench.embedded import KINDS
from workbench.embedded.corpus import Document

SAMPLES = Path(__file__).resolve().parents[2] / "sample_data"
CHECKPOINT = SAMPLES / "checkpoints" / "kinds-moe"


@pytest.fixture(scope="module")
def documents() -> dict[str, list[Document]]:
    found = {}
    for kind in KINDS:
        files = sorted((SAMPLES / "inputs" / "kinds" / kind).iterdir())
        found[kind] = [Document(kind, p.name, p.read_bytes().decode("utf-8")) for p in files]
    return found


def test_samples_were_never_trained_on_and_are_small(documents: dict[str, list[Document]]) -> None:
    for kind in KINDS:
        assert 8 <= len(documents[kind]) <= 12
        assert all(d.held_out for d in documents[kind]), "a sample stands on the training side of the split"
        assert all(1500 <= len(d.text.encode()) <= 4096 for d in documents[kind])
    assert sum(p.stat().st_size for p in (SAMPLES / "inputs").rglob("*") if p.is_file()) < 250_000


def test_every_sample_names_its_source_and_licence(documents: dict[str, list[Document]]) -> None:
    readme = (SAMPLES / "inputs" / "README.md").read_text(encoding="utf-8")
    for kind in KINDS:
        for document in documents[kind]:
            (line,) = [row for row in readme.splitlines() if f"`{kind}/{document.name}`" in row]
            source, licence = (cell.strip() for cell in line.split("|")[2:4])
            assert source and licence and licence != "not stated"


def test_checkpoint_is_whole_and_at_most_8_mb() -> None:
    names = {p.name for p in CHECKPOINT.iterdir()}
    needed = {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "README.md",
        "LICENSE",
    }
    assert needed <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl", ".py"))]
    assert sum(p.stat().st_size for p in CHECKPOINT.iterdir()) <= 8_000_000


def test_checkpoint_beats_a_unigram_on_every_kind_and_routes_by_kind(documents: dict[str, list[Document]]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(CHECKPOINT)
    model = AutoModelForCausalLM.from_pretrained(CHECKPOINT).eval()
    tokens = {kind: [tokenizer(d.text)["input_ids"][:512] for d in documents[kind][:3]] for kind in KINDS}
    load = torch.zeros(len(KINDS), model.config.num_hidden_layers, model.config.num_experts)
    for number, kind in enumerate(KINDS):
        # The strongest unigram there can be: fitted on the very tokens that it is tested on.
        counted = Counter(i for ids in tokens[kind] for i in ids[1:])
        total = sum(counted.values())
        unigram = -sum(n * math.log(n / total) for n in counted.values()) / total
        nats = 0.0
        for ids in tokens[kind]:
            row = torch.tensor([ids])
            with torch.no_grad():
                result = model(input_ids=row, output_router_logits=True)
            scores = torch.log_softmax(result.logits[0, :-1].float(), -1)
            nats -= float(scores.gather(1, row[0, 1:, None]).sum())
            for layer, logits in enumerate(result.router_logits):
                chosen = logits[1:].topk(model.config.num_experts_per_tok, -1).indices.flatten()
                load[number, layer] += torch.bincount(chosen, minlength=load.shape[-1])
        assert nats / total < unigram, f"{kind}: {nats / total:.2f} nats a token against {unigram:.2f}"
    top = [[set(layer.topk(8).indices.tolist()) for layer in kind] for kind in load]
    code, tables = KINDS.index("code"), KINDS.index("tables")
    shared = [len(a & b) for a, b in zip(top[code], top[tables], strict=True)]
    assert sum(shared) / len(shared) < 5, "code and tables should not use the same experts"
    assert int((load.sum(0) == 0).sum()) <= 6, "dead experts over all layers"


def test_chats_run_through_the_chat_template() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(CHECKPOINT)
    chats = [json.loads(line) for line in (SAMPLES / "inputs" / "chats.jsonl").read_text(encoding="utf-8").splitlines()]
    assert 8 <= len(chats) <= 10 and len({chat["id"] for chat in chats}) == len(chats)
    assert all(chat["group"] for chat in chats)
    for chat in chats:
        text = tokenizer.apply_chat_template(chat["messages"], tokenize=False)
        assert all(part["text"] in text for message in chat["messages"] for part in message["content"])
        made = tokenizer.apply_chat_template(chat["messages"], return_dict=True, return_assistant_tokens_mask=True)
        assert made["input_ids"][0] == tokenizer.bos_token_id and tokenizer.bos_token_id not in made["input_ids"][1:]
        answers = [i for i, own in zip(made["input_ids"], made["assistant_masks"], strict=True) if own]
        assert chat["messages"][1]["content"][0]["text"] in tokenizer.decode(answers)
