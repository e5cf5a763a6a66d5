"""GLiNER as an engine: windows, blocks, offsets against a model of rules; then GLiNER's own classes, tiny and untrained."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from workbench.cli import run
from workbench.extract import EngineError, load_engine
from workbench.extract.engines import engine_spec
from workbench.extract.gliner.engine import GlinerEngine
from workbench.extract.gliner.files import check

WORD = re.compile(r"\w+(?:[-_]\w+)*|\S")


class Rules:
    """Stands for a GLiNER model: a capital is a "name", digits are a "number"; it cuts silently as GLiNER does."""

    def __init__(self, max_len: int = 20, max_types: int = 25, limit: int = 10**6) -> None:
        self.config = SimpleNamespace(max_len=max_len, max_types=max_types, encoder_config=None)
        self.calls: list[tuple[int, tuple[str, ...]]] = []
        self.data_processor = SimpleNamespace(words_splitter=self._split, transformer_tokenizer=_Pieces(limit))

    @staticmethod
    def _split(text: str) -> Iterator[tuple[str, int, int]]:
        for match in WORD.finditer(text):
            yield match.group(), match.start(), match.end()

    def inference(
        self,
        texts: list[str],
        labels: list[str],
        *,
        flat_ner: bool,
        multi_label: bool,
        threshold: float,
        batch_size: int,
    ) -> list[list[dict[str, Any]]]:
        assert not flat_ner and multi_label and threshold <= 0.05
        self.calls.append((len(texts), tuple(labels)))
        found = []
        for text in texts:
            words = list(self._split(text))[: self.config.max_len]
            found.append(
                [
                    {"start": start, "end": end, "text": word, "label": label, "score": 0.9 if word.isdigit() else 0.6}
                    for word, start, end in words
                    for label in labels
                    if (label == "number" and word.isdigit()) or (label == "name" and word[:1].isupper())
                ]
            )
        return found


class _Pieces:
    """A tokenizer of three characters a piece."""

    def __init__(self, limit: int) -> None:
        self.model_max_length = limit

    def __call__(self, words: list[str], **_: Any) -> dict[str, list[list[int]]]:
        return {"input_ids": [[0] * ((len(word) + 2) // 3) for word in words]}


TEXT = "🙂 On 12 May Ähm met Zoë; 340 people came to Málaga. " * 12


@pytest.mark.parametrize(("max_len", "limit"), [(9, 10**6), (300, 40), (10_000, 10**6)])
def test_a_long_text_is_read_whole_with_offsets_of_the_whole(max_len: int, limit: int) -> None:
    engine = GlinerEngine(Rules(max_len, limit=limit))
    found = engine.extract([TEXT, "", "7"], {"entities": ["name", "number"]}, batch_size=3)
    got = {(span.start, span.end, span.type) for span in found[0].entities}
    wanted = {(m.start(), m.end(), "number") for m in re.finditer(r"\b\d+\b", TEXT)}
    wanted |= {(m.start(), m.end(), "name") for m in WORD.finditer(TEXT) if m.group()[0].isupper()}
    assert got == wanted
    assert found[1].entities == () and [TEXT[s.start : s.end] for s in found[0].entities][:2] == ["On", "12"]
    assert [(s.start, s.end) for s in found[2].entities] == [(0, 1)]
    assert bool(found[0].notes) == (max_len < 10_000)


def test_labels_are_asked_in_blocks_and_relations_are_left_to_others() -> None:
    rules = Rules(max_len=300, max_types=4)
    labels = ["name", *(f"type {n}" for n in range(9)), "number"]
    schema = {"entities": labels, "relations": {"knows": {}}}
    (found,) = GlinerEngine(rules).extract(["Ada has 3"], schema)
    assert [len(asked) for _, asked in rules.calls] == [4, 4, 3]
    assert [(span.type, span.start) for span in found.entities] == [("name", 0), ("number", 8)]
    shown = found.select(0.5)
    assert shown.relations is None and "entities only" in found.notes[0]
    with pytest.raises(EngineError, match="names no entity type"):
        GlinerEngine(rules).extract(["x"], {"events": {"attack": ["target"]}})


def test_a_run_that_is_stopped_keeps_whole_texts_only() -> None:
    asked = iter([False, False, True, True, True])
    found = GlinerEngine(Rules()).extract(
        ["Ada", "Bob", "Cem"], {"entities": ["name"]}, batch_size=1, stopped=lambda: next(asked)
    )
    assert [each.text for each in found] == ["Ada"]


def test_passes_of_a_long_text_are_counted() -> None:
    said: list[tuple[int, int]] = []
    schema = {"entities": ["name", *(f"type {n}" for n in range(9))]}
    GlinerEngine(Rules(max_len=12, max_types=4)).extract(
        ["Ada met Bob in Oslo . " * 12], schema, batch_size=2, passes=lambda *at: said.append(at)
    )
    assert said[-1][0] == said[-1][1] > 6 and [done for done, _ in said] == sorted({done for done, _ in said})


# ------------------------------------------------------------------ checkpoints
def config_of(**more: Any) -> dict[str, Any]:
    return {"encoder_config": {"model_type": "bert"}, "max_len": 20, **more}


@pytest.mark.parametrize(
    ("config", "files", "said"),
    [
        (None, (), "gliner_config.json"),
        (config_of(), ("pytorch_model.bin",), "workbench convert"),
        (config_of(), (), "no model.safetensors"),
        (
            config_of(encoder_config={"model_type": "bert", "auto_map": {"AutoModel": "x.Y"}}),
            ("model.safetensors",),
            "code",
        ),
        (config_of(encoder_config={"model_type": "made-up"}), ("model.safetensors",), "none that transformers has"),
    ],
)
def test_a_checkpoint_that_may_not_be_opened_is_refused_in_one_sentence(
    tmp_path: Path, config: dict[str, Any] | None, files: tuple[str, ...], said: str
) -> None:
    if config is not None:
        (tmp_path / "gliner_config.json").write_text(json.dumps(config))
    for name in files:
        (tmp_path / name).write_bytes(b"\x80\x04.")
    with pytest.raises(EngineError, match=said) as fault:
        check(tmp_path)
    assert "\n" not in str(fault.value)


def test_an_encoder_that_is_only_named_may_not_bring_code_either(tmp_path: Path) -> None:
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "config.json").write_text('{"model_type": "bert", "auto_map": {"AutoModel": "m.M"}}')
    (tmp_path / "gliner_config.json").write_text(json.dumps({"model_name": str(tmp_path / "encoder"), "max_len": 9}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(EngineError, match="code"):
        check(tmp_path, "theirs")
    (tmp_path / "gliner_config.json").write_text(json.dumps({"model_name": str(tmp_path / "nothing")}))
    with pytest.raises(EngineError, match="'theirs' names cannot be read"):
        check(tmp_path, "theirs")


def test_weights_have_to_be_named_and_the_package_to_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError, match="GLiNER needs the name"):
        GlinerEngine.load(None)
    monkeypatch.setattr(sys.modules["workbench.extract.engines"], "find_spec", lambda _: None)
    with pytest.raises(EngineError, match="--no-deps"):
        load_engine("gliner", "somewhere")
    assert engine_spec("gliner").named


def letters() -> Any:
    """A tokenizer of letters: whole words are unknown to it."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    signs = [chr(c) for c in range(33, 127) if not chr(c).isupper()]
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "marie",
        "curie",
        "paris",
        "city",
        "person",
        *signs,
        *(f"##{c}" for c in signs),
    ]
    made = Tokenizer(models.WordPiece({piece: n for n, piece in enumerate(pieces)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GLiNER model of GLiNER's own classes, two layers, as chance made it."""
    gliner = pytest.importorskip("gliner")
    import torch
    from transformers import BertConfig

    folder = tmp_path_factory.mktemp("gliner")
    made = letters()
    made.save_pretrained(folder / "encoder")
    encoder = BertConfig(
        vocab_size=len(made), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, max_position_embeddings=64
    )  # fmt: skip
    encoder.save_pretrained(folder / "encoder")
    torch.manual_seed(0)
    model = gliner.GLiNER.from_config(
        {
            "model_name": str(folder / "encoder"), "name": "tiny", "max_width": 4, "hidden_size": 16, "max_len": 30, "max_types": 8,
            "span_mode": "markerV0", "encoder_config": encoder.to_dict(),
        },
        backbone_from_pretrained=False,
    )  # fmt: skip
    model.eval()
    model.save_pretrained(folder / "tiny", safe_serialization=True)
    return folder / "tiny"


def test_engine_gives_what_gliner_itself_gives(checkpoint: Path) -> None:
    from gliner import GLiNER

    texts = ["Marie Curie worked in Paris.", "Ähm 🙂 Zoë went to New York in May"]
    labels = ["person", "city"]
    engine = load_engine("gliner", str(checkpoint), device="cpu")
    found = engine.extract(texts, {"entities": labels})
    itself = GLiNER.from_pretrained(str(checkpoint), local_files_only=True)
    for text, mine in zip(texts, found, strict=True):
        theirs = itself.predict_entities(text, labels, flat_ner=False, multi_label=True, threshold=0.05)
        assert theirs, "an untrained model scores about a half"
        assert {s.key: s.score for s in mine.entities} == {
            (e["start"], e["end"], e["label"]): pytest.approx(e["score"], abs=1e-3) for e in theirs
        }
        flat = {s.key[:2] for s in mine.select(0.05, nested=False).entities or ()}
        assert all(a[1] <= b[0] or b[1] <= a[0] for a in flat for b in flat if a != b)


def test_no_word_is_lost_behind_the_encoders_last_position(checkpoint: Path) -> None:
    engine = load_engine("gliner", str(checkpoint), device="cpu")
    text = "Marie Curie worked in Paris. " * 30
    (found,) = engine.extract([text], {"entities": [f"type number {n}" for n in range(12)]})
    assert max(span.end for span in found.entities) > len(text) - 12
    assert len(found.notes) == 2
    assert {span.type for span in found.entities} == {f"type number {n}" for n in range(12)}
    with pytest.raises(EngineError, match="use a shorter name"):
        engine.extract([text], {"entities": ["a very long name of a type " * 6]})


def test_missing_weights_and_pickles_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    import shutil

    import torch
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(checkpoint, broken)
    tensors = load_file(broken / "model.safetensors")
    tensors.pop(next(name for name in sorted(tensors) if "layer.1" in name))
    save_file(tensors, broken / "model.safetensors")
    with pytest.raises(EngineError, match="lacks 1 weights"):
        load_engine("gliner", str(broken), device="cpu")
    pickled = tmp_path / "pickled"
    shutil.copytree(checkpoint, pickled)
    torch.save(load_file(pickled / "model.safetensors"), pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    with pytest.raises(EngineError, match="workbench convert"):
        load_engine("gliner", str(pickled), device="cpu")
    from workbench.convert import convert

    convert(pickled, tmp_path / "converted")
    assert load_engine("gliner", str(tmp_path / "converted"), device="cpu").model == "converted"


def test_command(checkpoint: Path, tmp_path: Path) -> None:
    schema, texts, out = tmp_path / "schema.json", tmp_path / "texts.txt", tmp_path / "out.jsonl"
    schema.write_text('{"entities": ["person", "city"]}')
    texts.write_text("Marie Curie worked in Paris.")
    arguments = [
        "extract",
        "--engine",
        "gliner",
        "--model",
        str(checkpoint),
        "--schema",
        str(schema),
        "--input",
        str(texts),
    ]
    assert run([*arguments, "--out", str(out), "--threshold", "0.1", "--device", "cpu", "--json"]) == 0
    (line,) = out.read_text().splitlines()
    assert all(each["score"] >= 0.1 for each in json.loads(line)["entities"])
