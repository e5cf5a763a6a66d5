"""A sweep of the unified model over files of every modality: the numbers are those of passes without targets, scored by hand."""

from __future__ import annotations

import json
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from probes import SubModel
from tests.unified.toy import ToyData, ToyTokenizers, sizes, toy_model
from workbench.analysis.curve import EVERY, curve_table, load_curve
from workbench.capture import DEFAULT_GROUPS
from workbench.cli import run
from workbench.elastic.errors import SweepError
from workbench.elastic.latency import LatencyOptions
from workbench.elastic.samples import Item, pack_samples, read_samples
from workbench.elastic.shared import SharedRunner
from workbench.elastic.sweep import SweepOptions, sweep
from workbench.elastic.texts import Scores
from workbench.inputs import Document, InputOptions, read_documents
from workbench.models import LoadedModel, LoadOptions, load_model
from workbench.unified import UnifiedConfig, UnifiedForCausalLM
from workbench.unified.batch import make_batch
from workbench.unified.checkpoint import export
from workbench.unified.documents import Reader
from workbench.unified.segments import BOA, BOI, BOV, EOA, EOI, EOS, EOV, Sample, UnifiedError
from workbench.unified.tokenizers.bundle import Tokenizers

SAMPLES = Path(__file__).resolve().parents[2] / "sample_data" / "inputs" / "unified"
SUBS = ["layers=0,2-4", "layers=0,3-4", "layers=0-1,3-4 top_k=1", "experts=0-7 top_k=1"]
QUICK = SweepOptions(batch_size=4, latency=LatencyOptions(rounds=0))
SIX = [group.name for group in DEFAULT_GROUPS]


@pytest.fixture(scope="module")
def folder(tokenizers: Tokenizers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    config = UnifiedConfig(**{**tokenizers.facts(), **sizes(), "initializer_range": 0.2})
    folder = tmp_path_factory.mktemp("model") / "tiny"
    export(UnifiedForCausalLM(config), tokenizers, folder, torch.float32)
    return folder


@pytest.fixture(scope="module")
def loaded(folder: Path) -> LoadedModel:
    return load_model(str(folder), LoadOptions(device="cpu", dtype="float32"))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few of the shipped files of every kind, with captions."""
    pytest.importorskip("av")
    root = tmp_path_factory.mktemp("inputs") / "files"
    rows = []
    for name, caption in (
        ("texts/kite.txt", None), ("texts/snow.txt", None), ("pictures/digit-zero.png", "zero"), ("pictures/garment-boot-1.png", "boot"),
        ("pictures/digit-two.png", None), ("clips/4-seven-down.mp4", "Seven down"), ("sounds/vowel-a.wav", None), ("sounds/vowel-i.wav", "a long i"),
    ):  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes((SAMPLES / name).read_bytes())
        rows += [] if caption is None else [json.dumps({"file": name, "caption": caption})]
    (root / "captions.jsonl").write_text("\n".join(rows))
    return root


def by_hand(model: Any, tokenizers: Tokenizers, samples: list[tuple[str, Sample]]) -> dict[tuple[str, str], list[Any]]:
    """(document, group) -> losses and rights, from logits of one sample at a time; the codes of a sound are fed one level after the other."""
    found: dict[tuple[str, str], list[Any]] = {}
    for document, sample in samples:
        batch = make_batch([sample], model.config, tokenizers)
        given = {name: value for name, value in batch.items() if not name.endswith("labels")}
        codes = batch.get("audio_labels")
        sound = None if codes is None else codes[0][codes[0, :, 0] >= 0]

        def choice(level: int, logits: torch.Tensor, sound: Any = sound) -> torch.Tensor:
            return sound[:, level]

        with torch.no_grad():
            out = model(**given, use_cache=False, audio_choice=None if sound is None else choice)
        kinds = {type(segment).__name__ for segment in sample.segments}
        read = next((group for kind, group in (("Picture", "Image und."), ("Clip", "Video und."), ("Sound", "Audio")) if kind in kinds), "Text")  # fmt: skip
        makes = bool(kinds & {"DrawnPicture", "DrawnClip", "Speech"})
        for place, label in enumerate(batch["labels"][0].tolist()):
            if label < 0 or makes:
                assert label < 0 or label in (BOI, EOI, BOV, EOV, BOA, EOA, EOS)
                continue
            loss = functional.cross_entropy(out.logits[0, place], torch.tensor(label)).item()
            found.setdefault((document, read), []).append((loss, float(out.logits[0, place].argmax() == label)))
        for place, bits in enumerate(batch["bit_labels"][0] if "bit_labels" in batch else ()):
            if bits[0] >= 0:
                logits = out.bit_logits[0, place]
                loss = functional.softplus(torch.where(bits > 0, -logits, logits)).mean().item()
                right = ((logits > 0) == (bits > 0)).float().mean().item()
                group = "Video gen." if "DrawnClip" in kinds else "Image gen."
                found.setdefault((document, group), []).append((loss, right))
        if sound is not None and "Speech" in kinds:
            for step, logits in zip(sound, out.audio_logits, strict=True):
                losses = [functional.cross_entropy(logits[level], step[level]).item() for level in range(len(step))]
                right = float((logits.argmax(-1) == step).float().mean())
                found.setdefault((document, "Audio"), []).append((float(np.mean(losses)), right))
    return found


def test_losses_by_group_are_those_by_hand(loaded: LoadedModel, inputs: Path, tmp_path: Path) -> None:
    documents = read_documents([inputs])
    done = sweep(loaded, documents, [], QUICK, tmp_path / "out", listed=[SubModel.parse(words) for words in SUBS])
    curve = load_curve(tmp_path / "out")
    assert done.rows == 5 and done.documents == 8 and set(curve.groups) == {EVERY, *SIX}
    model, tokenizers = loaded.model, Tokenizers.load(Path(str(loaded.model.name_or_path)) / "tokenizers")
    reader = Reader(tokenizers)
    samples = [(document.id, sample) for document in documents for sample in reader.samples(document)]
    assert len(samples) == 2 + 2 + 2 + 1 + 2 + 1 + 2  # texts, pictures with and without a caption, the clip, the sounds
    for words in ("full", SUBS[2]):
        with SubModel.parse(words).applied(model):
            expected = by_hand(model, tokenizers, samples)
        assert curve.documents is not None
        own = curve.documents[curve.documents["sub_model"] == words].set_index(["document", "group"])
        assert set(own.index) == set(expected)
        for cell, pairs in expected.items():
            loss, right = np.array(pairs).sum(0)
            assert own.loc[cell, "tokens"] == len(pairs)
            assert own.loc[cell, "loss"] == pytest.approx(loss, rel=1e-4)
            assert own.loc[cell, "right"] == pytest.approx(right, abs=1e-3)
    row = curve.quality.set_index(["sub_model", "group", "measure"]).loc[("full", "Image gen.", "loss")]
    assert row["documents"] == 3 and row["low"] < row["value"] < row["high"]
    assert curve_table(curve, group="Image gen.").y_title == "Loss (nats a bit)"
    assert curve_table(curve, group="Image und.").y_title == "Loss (nats a token)"


def test_fewer_layers_share_work_and_give_the_numbers_of_the_plain_loop(loaded: LoadedModel, inputs: Path) -> None:
    texts = read_samples(loaded, read_documents([inputs]), group_by="modality", batch_size=4, max_length=None)
    plans = [SubModel.parse(words).plan(loaded.model) for words in ("full", *SUBS)]
    sums = []
    for share in (True, False):
        runner = SharedRunner(loaded.model, plans, share=share)
        runner.check(texts.batches[0])
        assert runner.shared == share, runner.reason
        scores = [Scores(len(texts.cells)) for _ in plans]
        assert runner.run(
            texts.batches, 0, lambda point, number, answer, scores=scores: scores[point].add(texts.batches[number], answer), lambda: False
        )  # fmt: skip
        sums.append(np.array([[one.loss, one.right] for one in scores]))
        if share:
            assert runner.work.layers < runner.work.layers_plain
    np.testing.assert_array_equal(*sums)


def test_where_audio_levels_would_be_lost_nothing_is_shared() -> None:
    """Sub-models that differ only behind the second audio head cannot start there: the first level would be foreseen from nothing."""
    model: Any = toy_model(audio_levels=3)  # heads on layers 2 to 4
    items = [Item(f"text {number}", ToyData().draw("text", number)) for number in range(3)]
    texts = pack_samples(items, model.config, ToyTokenizers(), 3)  # type: ignore[arg-type]
    for last, shared in (("top_k@text_3_*=1 top_k@text_4_*=1", True), ("top_k@text_4_*=1", False)):
        runner = SharedRunner(model, [SubModel.parse(words).plan(model) for words in ("full", last)])
        runner.check(texts.batches[0])
        assert runner.shared == shared
    assert "head of audio level 0" in runner.reason


def test_rankings_chats_and_other_groups(loaded: LoadedModel, inputs: Path, tmp_path: Path) -> None:
    chats = [
        {"id": "seen", "messages": [{"role": "user", "content": [{"type": "image", "image": "pictures/digit-two.png"}]}, {"role": "assistant", "content": "two"}]},
        {"id": "made", "messages": [{"role": "user", "content": "a handwritten two"}, {"role": "assistant", "content": [{"type": "image", "image": "pictures/digit-two.png"}]}]},
    ]  # fmt: skip
    file = inputs / "chats.jsonl"
    file.write_text("\n".join(json.dumps(chat) for chat in chats))
    try:
        documents = read_documents([file, inputs / "texts"], InputOptions(group_by="folder"))
        texts = read_samples(loaded, documents[:2], group_by="modality", batch_size=4, max_length=None)
        assert set(texts.cells) == {("seen", "Image und."), ("made", "Image gen.")}
        options = SweepOptions(group_by="folder", batch_size=4, latency=LatencyOptions(rounds=1, steps=1, length=4))
        done = sweep(
            loaded, documents, [], options, tmp_path / "out", calibration=documents,
            listed=[SubModel.parse("layers=important:4 experts=share:0.5:mass top_k=1")],
        )  # fmt: skip
    finally:
        file.unlink()
    curve = load_curve(tmp_path / "out")
    assert done.rows == 2 and set(curve.groups) == {EVERY, "files", "texts"}
    assert set(curve.rows["measured"]) == {"gathered"} and (curve.rows["decode_ms_p50"] > 0).all()
    small = curve.rows.set_index("sub_model").iloc[1]
    assert small["depth"] == 4 and small["experts_kept"] == 8 and {3, 4} <= set(small["layers_kept"])


def test_what_cannot_be_scored_is_refused(loaded: LoadedModel, inputs: Path, tmp_path: Path) -> None:
    documents = read_documents([inputs / "texts"])
    with pytest.raises(SweepError, match="--group-by role"):
        read_samples(loaded, documents, group_by="role", batch_size=4, max_length=None)
    with pytest.raises(UnifiedError, match="has none: leave it out"):
        read_samples(loaded, [Document("empty", text=" ")], group_by="modality", batch_size=4, max_length=None)


def test_the_command_gives_loss_by_the_six_groups(
    folder: Path, inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "my.sweep"
    status = run(
        ["sweep", "--model", str(folder), "--input", str(inputs), "--layers", "all even:4", "--top-k", "2 1", "--rounds", "1",
         "--decode-steps", "1", "--latency-length", "8", "--out", str(out), "--json"]
    )  # fmt: skip
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert status == 0 and said["rows"] == 4 and said["shared"]
    found = load_curve(out).quality
    for words in set(found["sub_model"]):
        own = found[(found["sub_model"] == words) & (found["measure"] == "loss")]
        assert set(own["group"]) == {EVERY, *SIX} and own["value"].notna().all()


def test_the_page_sweeps_records_and_carves_it(
    folder: Path, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the page's jobs do with this model: shipped samples of every kind, by the six groups; a zip that holds its tokenizers."""
    from pages.parts import elastic_jobs
    from workbench.capture import Capture
    from workbench.capture.library import HOME_VARIABLE, Library
    from workbench.elastic.places import Order, keep_order
    from workbench.jobs import JobList

    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    monkeypatch.setattr(elastic_jobs, "SHIPPED_SAMPLES", inputs)

    def done(work: Any) -> Any:
        snapshot = JobList().start("test", work).wait(120)
        assert snapshot.state == "done", snapshot.error
        return snapshot.result

    order = keep_order(Order("trial", str(folder), ("all", "even:4"), ("all",), ("all",), rounds=0), [])
    curve = load_curve(done(lambda task: elastic_jobs.run_sweep(order, task)))
    assert len(curve.rows) == 2 and set(curve.groups) <= {EVERY, *SIX} and len(curve.groups) > 4
    exact = str(curve.rows.iloc[1]["exact"])
    pair = done(lambda task: elastic_jobs.record_pair(str(folder), exact, "layers=even:4", Library(), task))
    whole, small = Capture.load(pair.whole), Capture.load(pair.small)
    assert set(whole.groups) == set(SIX) and len(small.sites) == 5
    silent = small.count[small.site_index("text_1_mlp")].sum()
    assert silent == 0 and whole.count[whole.site_index("text_1_mlp")].sum() > 0
    carved = done(lambda task: elastic_jobs.carve_model(str(folder), exact, "layers=even:4", task))
    names = zipfile.ZipFile(BytesIO(carved.archive)).namelist()
    assert {f"{carved.name}/tokenizers/image/model.safetensors", f"{carved.name}/model.safetensors"} <= set(names)
