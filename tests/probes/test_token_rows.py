"""Token rows: bounded, a uniform sample of whole documents, pieces that join to the text."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from probes import ProbeError, RoutingProbe
from tests.probes.models import Toy, tiny
from workbench.capture import Capture

TEXT = "Die Straße führt\nüber 3 Brücken — «très loin», 猫も🙂 a  b"


def record_documents(sizes: list[int], **options: Any) -> Capture:
    model = Toy()
    with RoutingProbe(model, tokens=True, **options) as probe:
        for number, size in enumerate(sizes):
            probe.label(documents=[f"d{number}"])
            model(torch.arange(size)[None] % 50)
    return probe.capture()


def kept(capture: Capture) -> Counter[str]:
    assert capture.tokens is not None
    return Counter(capture.tokens["text"].column("document").to_pylist())


def test_whole_documents_within_the_bound() -> None:
    sizes = [10 + number % 7 for number in range(60)]
    capture = record_documents(sizes, max_tokens=200)
    found = kept(capture)
    assert 180 < sum(found.values()) <= 200
    assert all(size == sizes[int(name[1:])] for name, size in found.items()), "no document is cut"
    sampling = capture.manifest.sampling["text"]
    assert (sampling.kept, sampling.seen) == (sum(found.values()), sum(sizes))
    assert (sampling.documents_kept, sampling.documents_seen) == (len(found), 60)
    assert capture.token_count[0, 0] == sum(sizes), "counts are of all tokens, whatever rows are kept"


def test_every_document_is_as_likely() -> None:
    """Over 150 seeds each of 20 documents of equal size is kept with probability 1/4; the bound is five standard deviations."""
    times: Counter[str] = Counter()
    for seed in range(150):
        times.update(kept(record_documents([10] * 20, max_tokens=50, seed=seed)).keys())
    deviation = (150 * 0.25 * 0.75) ** 0.5
    assert sum(times.values()) == 150 * 5
    assert all(abs(times[f"d{number}"] - 37.5) < 5 * deviation for number in range(20))


def test_the_sample_does_not_depend_on_order_or_batches() -> None:
    one = kept(record_documents([10] * 30, max_tokens=100, seed=3))
    model = Toy()
    with RoutingProbe(model, tokens=True, max_tokens=100, seed=3) as probe:
        for start in (20, 0, 10):
            probe.label(documents=[f"d{number}" for number in range(start, start + 10)])
            model(torch.arange(10).repeat(10, 1))
    assert kept(probe.capture()) == one


def test_one_document_longer_than_the_bound_is_cut_and_counted() -> None:
    capture = record_documents([500], max_tokens=100)
    assert kept(capture) == {"d0": 100}
    assert capture.tokens is not None
    assert capture.tokens["text"].column("position").to_pylist() == list(range(100))
    assert capture.manifest.sampling["text"].seen == 500


def test_a_bound_of_nothing_is_refused() -> None:
    with pytest.raises(ProbeError, match="at least 1"):
        RoutingProbe(Toy(), tokens=True, max_tokens=0)


def test_strongest_choice_first() -> None:
    model = tiny("deepseek_v3")  # its router does not sort
    with RoutingProbe(model, tokens=True) as probe, torch.no_grad():
        model(torch.arange(5, 45).reshape(2, 20))
    table = probe.capture().read_tokens("text")
    for name in table.column_names:
        if name.startswith("weights_"):
            weights = np.array(table.column(name).to_pylist(), dtype=float)
            assert (np.diff(weights, axis=1) <= 0).all()


# ---------------------------------------------------------------------- pieces
def byte_level() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator(
        ["The road leads over bridges"] * 3,
        trainers.BpeTrainer(
            vocab_size=290, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<s>"]
        ),
    )
    return made


def byte_fallback() -> Tokenizer:
    """As SentencePiece models: "▁" for a space, bytes as <0x..>."""
    vocabulary = {"<s>": 0, **{f"<0x{byte:02X}>": byte + 1 for byte in range(256)}}
    for character in "▁Diefhrt3Bckn—«»oal,b":
        vocabulary.setdefault(character, len(vocabulary))
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True, unk_token=None))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return made


class Wide(Toy):
    """The toy with room for the ids of a tokenizer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(600, 4)


@pytest.mark.parametrize("made", [byte_level, byte_fallback])
def test_pieces_join_to_the_text(made: Any) -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made(), bos_token="<s>")
    encoded = tokenizer(TEXT, return_tensors="pt", return_offsets_mapping=True)
    ids = torch.cat([torch.tensor([[0]]), encoded.input_ids], dim=1)
    offsets = torch.cat([torch.zeros(1, 1, 2, dtype=torch.long), encoded.offset_mapping], dim=1)
    model = Wide()
    with RoutingProbe(model, tokens=True, processor=tokenizer) as probe:
        probe.label(offsets=offsets)
        model(ids)
    capture = probe.capture()
    assert capture.manifest.excluded == {"text": {"special": 1}}
    assert capture.tokens is not None
    rows = capture.tokens["text"].to_pydict()
    assert "".join(rows["piece"]) == TEXT
    assert rows["position"] == list(range(1, len(ids[0]))), "a special token has a position, but no row"
    assert max(rows["end"]) == len(TEXT)
    assert [TEXT[a:b] for a, b in zip(rows["start"][:4], rows["end"][:4], strict=True)] == [
        TEXT[a:b] for a, b in encoded.offset_mapping[0, :4].tolist()
    ]


def test_without_a_tokenizer_there_are_no_pieces() -> None:
    capture = record_documents([5])
    assert capture.tokens is not None
    assert capture.tokens["text"].column("piece").to_pylist() == [None] * 5


def test_a_real_capture_survives_its_round_trip(tmp_path: Path) -> None:
    model = tiny("jetmoe")
    with RoutingProbe(model, tokens=True, scores=True) as probe, torch.no_grad():
        model(torch.arange(5, 25).reshape(2, 10))
    made = probe.capture()
    assert [site.part for site in made.sites[:2]] in (["attention", "mlp"], ["mlp", "attention"])
    read = Capture.load(made.save(tmp_path / "c.capture.zip"))
    read.validate()
    assert made.tokens is not None
    assert read.tokens is not None
    assert np.array_equal(read.count, made.count)
    assert read.tokens["text"].to_pylist() == made.tokens["text"].to_pylist()
