"""Episodes and the meta loss: held against what they are said to be, and against a copy of the model that takes a step of AdamW."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.extract.metaner.conftest import documents
from workbench.extract.errors import EngineError
from workbench.extract.loop import Length
from workbench.extract.metaner.tokens import MetaTokens
from workbench.extract.metaner.train.episodes import Episode, Episodes, Sampling, Writer
from workbench.extract.metaner.train.hidden import HiddenWords
from workbench.extract.metaner.train.meta import MetaLoss, features, meta_loss
from workbench.extract.metaner.train.run import CYCLE, Choices
from workbench.extract.metaner.train.sets import MEASURED, NEVER, shingles, usable
from workbench.extract.metaner.wire import Shot, Wire
from workbench.extract.seq2seq.batch import make_batch
from workbench.extract.seq2seq.loop import Recipe, new_optimizer, token_losses, train
from workbench.extract.seq2seq.model import IGNORED, CopySeq2Seq
from workbench.extract.seq2seq.pretrain import OpenText
from workbench.extract.seq2seq.stream import Stream
from workbench.extract.seq2seq.tokens import encode_plain
from workbench.extract.seq2seq.weights import load_copy_model, save_copy_model
from workbench.extract.usm.train.sources import PLANS, Plan, Source

Made = tuple[Any, Any, MetaTokens]


def drawn(wire: Wire, complete: bool = True, **choices: Any) -> Episodes:
    shots = wire.shots(documents(40))
    source = Source("own", Plan(1.0, "general", complete=complete), [], entities=("city", "person"))
    return Episodes([source], {"own": shots}, Writer(wire, Sampling(max_source=160, **choices)))


def many(maker: Any, count: int = 60) -> list[Any]:
    rng = np.random.default_rng(3)
    found = [each for each in (maker(rng) for _ in range(count)) if each is not None]
    assert len(found) > count // 3
    return found


@pytest.mark.parametrize("kind", ["made", "t5"])
def test_an_episode_asks_what_its_demonstrations_show(kind: str, request: pytest.FixtureRequest) -> None:
    _, tokenizer, tokens = request.getfixturevalue(kind)
    wire = Wire(tokenizer, tokens, kind == "made")
    queries = []
    for each in many(drawn(wire).in_context):
        assert isinstance(each, Episode)
        demonstrations = each.source.count(tokens.out)
        assert 1 <= demonstrations <= 5 == each.source.count(tokens.text) - demonstrations + 4
        assert each.source[0] == tokens.label and each.source[-1] not in (tokens.end, tokens.sel.eos)
        assert each.target[-1] == tokens.end and not each.silent
        assert [each.source[place] for place in each.kept] == each.bare
        assert all(n < 0 or each.source[n] == number for n, number in zip(each.places, each.target, strict=True))
        assert len(each.shown) == demonstrations
        for shown in each.shown:  # what a demonstration says is what it says alone
            row = [tokens.out, *shown.target]
            text = each.source
            assert any(text[n : n + len(row)] == row for n in range(len(text)))
        named = [n for n in each.source if n in tokens.types]
        asked = {each.source[n + 1] for n in range(len(each.source)) if each.source[n] == tokens.label}
        assert set(named) <= asked | set(tokens.types) and (not named or set(named) & asked)
        queries.append(each.target)
    assert any(any(n in tokens.types for n in target) for target in queries)


def test_types_stand_under_anonymous_names_as_often_as_said(wire: Wire) -> None:
    def share(chance: float) -> float:
        found = many(drawn(wire, anonymous=chance).in_context, 200)
        starts = [each.source[n + 1] for each in found for n, x in enumerate(each.source) if x == wire.tokens.label]
        return float(np.mean([number in wire.tokens.types for number in starts]))

    assert share(1.0) == 1.0 and share(0.0) == 0.0 and 0.65 < share(0.8) < 0.95


def test_plain_samples_have_no_demonstrations(wire: Wire) -> None:
    for each in many(drawn(wire).plain):
        t = wire.tokens
        assert not isinstance(each, Episode) and t.text not in each.source and t.out not in each.source
        assert each.source[-1] == t.end and not set(each.source) & set(t.types)


def test_a_partly_annotated_set_gives_no_negatives(wire: Wire) -> None:
    """Where a span begins and where the output ends is not counted, so that nothing that is unmarked is learnt as wrong."""
    t = wire.tokens
    for maker in (drawn(wire, complete=False).in_context, drawn(wire, complete=False).plain):
        for each in many(maker):
            starts = [0, *(n + 1 for n, number in enumerate(each.target) if number == t.stop)]
            assert each.silent == frozenset(starts) and len(each.target) - 1 in each.silent
            batch = make_batch([each], t.sel)
            assert (batch.labels[0][starts] == IGNORED).all()
            assert len(each.target) > 1, "a text without a mention of what is asked teaches nothing sure"


def test_hidden_words_are_asked_and_shown(wire: Wire) -> None:
    texts = [d.text + " and met her husband near a museum in warsaw" for d in documents(12)]
    pieces = encode_plain(wire.tokenizer, wire.tokens.sel, texts)
    hidden = HiddenWords(
        [OpenText(t, p) for t, p in zip(texts, pieces, strict=True)], Writer(wire, Sampling(max_source=200))
    )
    t = wire.tokens
    for each in many(hidden.plain):
        query = each.source[max(n for n, x in enumerate(each.source) if x == t.label) :]
        for n, number in enumerate(each.target):
            if number == t.is_:
                mask, phrase = each.target[n - 1], each.target[n + 1 : each.target.index(t.stop, n)]
                assert mask in t.masks and query.count(mask) == 1
                assert any([t.label, *phrase] == each.source[k : k + 1 + len(phrase)] for k in range(len(each.source)))
    for each in many(hidden.in_context):
        shown = {tuple(part.target[2:-2]) for part in each.shown}
        assert shown and all(part.target[1] == t.is_ for part in each.shown)
        said = [n for n, number in enumerate(each.target) if number == t.is_]
        assert said and all(tuple(each.target[n + 1 : each.target.index(t.stop, n)]) in shown for n in said)


# ---------------------------------------------------------------------- the meta loss
def brute_force(model: Any, episode: Episode, tokens: MetaTokens) -> torch.Tensor:
    """As the original does it: a copy of the model of which the encoder is trained for a step."""
    twin = copy.deepcopy(model)
    for parameter in twin.parameters():
        parameter.requires_grad_(False)
    both = zip(model.get_encoder().parameters(), twin.get_encoder().parameters(), strict=True)
    parts = [theirs for ours, theirs in both if ours.requires_grad]
    for parameter in parts:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(parts, lr=1e-4, weight_decay=0.01)
    batch = make_batch(episode.shown, tokens.sel)
    losses = token_losses(twin, batch)
    (losses.sum() / (batch.labels != IGNORED).sum()).backward()
    optimizer.step()
    with torch.no_grad():
        wanted = features(twin, episode.bare, episode.bare_shapes)
    whole = features(model, episode.source, episode.shapes)
    distances = [(whole[place] - wanted[n]).pow(2).sum().sqrt() for n, place in enumerate(episode.kept)]
    return torch.stack(distances).mean()


@pytest.mark.parametrize("kind", ["made", "t5"])
@pytest.mark.parametrize("frozen", [True, False])
def test_the_meta_loss_equals_a_copy_that_takes_a_step(kind: str, frozen: bool, request: pytest.FixtureRequest) -> None:
    model, tokenizer, tokens = request.getfixturevalue(kind)
    model = model.double()
    model.get_input_embeddings().weight.requires_grad_(not frozen)
    episode = many(drawn(Wire(tokenizer, tokens, kind == "made")).in_context)[0]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ours, theirs = meta_loss(model, episode, tokens.sel), brute_force(model, episode, tokens)
    assert float(ours.detach()) > 0 and torch.allclose(ours.double(), theirs, rtol=1e-6), (ours, theirs)
    ours.backward()
    mine = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    theirs.backward()
    yours = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert mine.keys() == yours.keys() and mine
    assert all(torch.allclose(mine[name], yours[name], atol=1e-6) for name in mine)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items()), (
        "the model itself changed"
    )


def test_a_step_away_means_trained_on_the_demonstrations(made: Made) -> None:
    """The surrogate loses less on the demonstrations than the model does, and differs from it."""
    from torch.func import functional_call

    from workbench.extract.metaner.train.meta import one_step

    model, tokenizer, tokens = made
    episode = many(drawn(Wire(tokenizer, tokens, True)).in_context)[0]
    changed = one_step(model, episode.shown, tokens.sel)
    batch = make_batch(episode.shown, tokens.sel)
    with torch.no_grad():
        before = float(token_losses(model, batch).sum())
        states = functional_call(model.encoder, changed, (batch.source, batch.mask, batch.shapes))
        slots, _ = model.slots(states, batch.mask, batch.inputs)
        sure = model.vocabulary(slots.log_softmax(-1), batch.source)
        after = float(-sure.gather(2, batch.labels.clamp_min(0)[..., None]).squeeze(-1)[batch.labels != IGNORED].sum())
        now = model.vocabulary(
            model.slots(model.encoder(batch.source, batch.mask, batch.shapes), batch.mask, batch.inputs)[0].log_softmax(
                -1
            ),
            batch.source,
        )
        loose = float(-now.gather(2, batch.labels.clamp_min(0)[..., None]).squeeze(-1)[batch.labels != IGNORED].sum())
    assert loose <= before + 1e-4  # the loss of training also asks for the place
    assert after < loose


def test_the_meta_loss_comes_every_tenth_step_after_warm_up(made: Made) -> None:
    model, tokenizer, tokens = made
    episodes = many(drawn(Wire(tokenizer, tokens, True)).in_context)[:2]
    plain = many(drawn(Wire(tokenizer, tokens, True)).plain)[:1]
    loss = MetaLoss(tokens.sel, warmup=15)
    assert [bool(loss(model, [*plain, *episodes], step)) for step in (0, 10, 15, 20, 21, 30)] == [
        False, False, False, True, False, True,
    ]  # fmt: skip
    assert not loss(model, plain, 20)
    value = float(loss(model, [*plain, *episodes], 20)["meta"].detach())
    assert value == pytest.approx(0.05 * float(meta_loss(model, episodes[0], tokens.sel).detach()), rel=1e-5)


# ---------------------------------------------------------------------- the run
def test_tasks_come_in_the_paper_s_cycle(wire: Wire) -> None:
    assert Choices().cycle() == CYCLE and len(CYCLE) == 10 and CYCLE.count("in context") == CYCLE.count("plain") == 4
    assert set(Choices(language_model=False).cycle()) == {"in context", "plain"} and Choices(plain=True).cycle() == (
        "plain",
    )
    episodes = drawn(wire)
    stream = Stream(
        {"in context": (4.0, episodes.in_context), "plain": (4.0, episodes.plain)}, wire.tokens.sel, 5, 0, ("in context", "plain")
    )  # fmt: skip
    kinds = [row.kind for step in range(24) for row in stream.rows(step)]
    assert kinds.count("in context") == kinds.count("plain") == 60
    assert stream.batch(3)[1].total() == 5


@pytest.mark.parametrize("kind", ["made", "t5"])
def test_a_run_learns_and_goes_on_after_a_stop(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    def run(out: Path, steps: int, stop: int | None = None, resume: bool = False) -> tuple[Any, list[float]]:
        model, tokenizer, tokens = copy.deepcopy(request.getfixturevalue(kind))
        episodes = drawn(Wire(tokenizer, tokens, kind == "made"))
        stream = Stream(
            {"in context": (1.0, episodes.in_context), "plain": (1.0, episodes.plain)}, tokens.sel, 6, 0, ("in context", "plain")
        )  # fmt: skip
        recipe = Recipe(batch=6, warmup=3, encoder_rate=3e-3, decoder_rate=3e-3, bf16=False)
        first = float(token_losses(model, stream.batch(0)[0]).sum())
        train(
            model, stream, out, recipe, Length(steps=steps, stop_after=stop), lambda _: None, family="metaner", start="tiny",
            resume=resume, extra=MetaLoss(tokens.sel, 3),
        )  # fmt: skip
        return model, [first, float(token_losses(model, stream.batch(0)[0]).sum())]

    whole, (before, after) = run(tmp_path / "whole", 25)
    assert after < 0.9 * before
    log = (tmp_path / "whole" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert sum('"loss/meta"' in line and '"loss/extraction"' in line for line in log) == 2  # steps 10 and 20
    run(tmp_path / "cut", 25, stop=11)
    resumed, _ = run(tmp_path / "cut", 25, resume=True)
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())


# ---------------------------------------------------------------------- what may not be learnt from
def test_measured_sets_are_never_learnt_from() -> None:
    assert {"wnut17", "ncbi_disease", "sec_filings", "bc5cdr", "biored", "metaner_fewshot"} <= NEVER
    assert not set(usable()) & NEVER and set(usable()) < set(PLANS) and "casie" not in usable()
    for name in MEASURED:
        with pytest.raises(EngineError, match="never learnt from"):
            usable([name])
    with pytest.raises(EngineError, match="no plan"):
        usable(["nowhere"])


def test_a_text_that_shares_ten_words_with_a_measured_one_is_found() -> None:
    text = "One two three four five, six seven eight nine ten eleven twelve."
    known = shingles(text)
    assert shingles(f"Before it. {text.lower().replace(',', '')} After it, more words") & known
    assert not shingles("one two three four five six seven eight nine and ten") & known
    assert shingles("one two") == set() and shingles("a short one of six words") == shingles(
        "A short one, of six words!"
    )


def test_shots_are_cut_with_their_mentions(wire: Wire) -> None:
    shot = wire.shots(documents(1))[0]
    assert isinstance(shot, Shot) and [m[2] for m in shot.mentions] == ["person", "person", "city"]
    assert [m[2] for m in shot.cut(3).mentions] == ["person", "person"] and len(shot.cut(3).pieces) == 3


def test_a_grown_model_keeps_what_it_knew(made: Made, words: Any) -> None:
    from tests.extract.seq2seq.conftest import tiny_copy

    old, (new, _, tokens) = tiny_copy(words), made
    assert isinstance(new, CopySeq2Seq) and new.config.vocab_size == len(words) + 99 + 98
    rows = old.get_input_embeddings().weight.shape[0]
    table = new.get_input_embeddings().weight
    assert torch.equal(table[:rows], old.get_input_embeddings().weight) and not table[rows:].any()
    for number in (*old.config.fixed, *old.config.special):
        assert torch.equal(
            new.encoder.marks.weight[new.encoder.mark[number]], old.encoder.marks.weight[old.encoder.mark[number]]
        )
    assert new.copyable[list(tokens.types)].all() and not new.copyable[[tokens.is_, tokens.stop, tokens.end]].any()
    assert len({tuple(row.tolist()) for row in new.encoder.embed(torch.tensor(tokens.types))}) == 99


SCRIPT = """
import sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from tests.extract.metaner.test_train import parallel
from workbench.extract.seq2seq.loop import train
from workbench.extract.seq2seq.weights import load_copy_model
from workbench.extract.loop import Length
from workbench.training.processes import process_group

model, tokenizer = load_copy_model(Path(sys.argv[1]))
with process_group("cpu") as place:
    if place.rank:
        with torch.no_grad():
            model.write.bias += 1  # what only one process has must not last
    stream, recipe, extra = parallel(tokenizer)
    train(model, stream, Path(sys.argv[2]), recipe, Length(steps=3), lambda _: None, family="metaner", start="tiny", extra=extra, place=place)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, f"{sys.argv[2]}-{place.rank}.safetensors")
"""


def parallel(tokenizer: Any) -> tuple[Stream, Recipe, MetaLoss]:
    tokens = MetaTokens.of(tokenizer)
    episodes = drawn(Wire(tokenizer, tokens, True))
    stream = Stream({"in context": (1.0, episodes.in_context)}, tokens.sel, 3, 0)
    return stream, Recipe(batch=3, warmup=2, bf16=False), MetaLoss(tokens.sel, 0, every=2)


@pytest.mark.full
def test_two_processes_step_by_the_mean_of_their_gradients(made: Made, tmp_path: Path) -> None:
    model, tokenizer, _ = made
    save_copy_model(tmp_path / "start", model, tokenizer)
    (tmp_path / "run.py").write_text(SCRIPT, encoding="utf-8")
    root = Path(__file__).resolve().parents[3]
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        str(tmp_path / "run.py"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [*command, str(tmp_path / "start"), str(tmp_path / "out")], cwd=root, env=environment, check=True, timeout=400
    )
    one, two = (load_file(f"{tmp_path / 'out'}-{rank}.safetensors") for rank in (0, 1))
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    # the same by hand: gradients of both draws on one model
    model, tokenizer = load_copy_model(tmp_path / "start")
    stream, recipe, extra = parallel(tokenizer)
    optimizer = new_optimizer(model, recipe)
    for step in range(3):
        factor = min(1.0, (step + 1) / 2) * (1 - step / 3)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        for rank in (0, 1):
            stream.rank, stream._pool = rank, (-1, [])
            batch = stream.batch(step)[0]
            loss = token_losses(model, batch).sum() / (batch.labels != IGNORED).sum()
            loss = loss + sum(extra(model, stream.rows(step), step).values())
            (loss / 2).backward()
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
        optimizer.step()
        optimizer.zero_grad()
    for name, value in model.state_dict().items():
        assert torch.allclose(value, one[name], atol=1e-6), name
    rows = [
        row for row in (tmp_path / "out" / "metrics.jsonl").read_text(encoding="utf-8").splitlines() if '"loss"' in row
    ]
    assert len(rows) == 3
