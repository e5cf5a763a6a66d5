"""`workbench train --engine metaner`: from a base that can copy, or any encoder-decoder, to in-context extraction."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from workbench.extract.loop import MODEL, Length
from workbench.extract.metaner.tokens import LEARNT, prepare
from workbench.extract.metaner.train.episodes import Episodes, Sampling, Writer
from workbench.extract.metaner.train.hidden import HiddenWords
from workbench.extract.metaner.train.meta import WEIGHT, MetaLoss
from workbench.extract.metaner.train.sets import load_shots, touched, usable
from workbench.extract.metaner.wire import Wire
from workbench.extract.seq2seq.loop import Recipe, train
from workbench.extract.seq2seq.model import CopySeq2Seq
from workbench.extract.seq2seq.pretrain import OpenText, read_open_texts, stretches
from workbench.extract.seq2seq.start import save_model, start_model
from workbench.extract.seq2seq.stream import Maker, Stream
from workbench.training.processes import Place, process_group

CYCLE = ("in context", "plain") * 4 + ("hidden in context", "hidden plain")  # MetaNER, pretrain.py


@dataclass(frozen=True)
class Choices:
    """What is learnt, with the switches of the paper's ablation.

    Attributes:
        meta: weight of the meta loss; 0 leaves it out. anonymous: chance that a type stands under `<typeN>`. language_model: whether open text is used.
        plain: only the plain task, without demonstrations.
        demonstrations, shown, asked: see `Sampling`; the paper cuts demonstrations at 100 and plain texts at 200 tokens.
    """

    meta: float = WEIGHT
    anonymous: float = Sampling.anonymous
    language_model: bool = True
    plain: bool = False
    demonstrations: int = 5
    shown: int = 48
    asked: int = 64

    def cycle(self) -> tuple[str, ...]:
        """Tasks in turn."""
        if self.plain:
            return ("plain",)
        return CYCLE if self.language_model else CYCLE[:-2]


@dataclass
class Data:
    """What a run draws from.

    Attributes:
        stream: batches. facts: what the card says of it, plain JSON.
    """

    stream: Stream
    facts: dict[str, Any] = field(default_factory=dict)


def build_data(
    recipe: Recipe,
    choices: Choices,
    wire: Wire,
    names: Sequence[str],
    root: Path,
    texts: Sequence[str | Path],
    documents: int,
    longest: int,
    notice: Callable[[str], None] | None = None,
    most: int = 20_000,
) -> Data:
    """Read the sets, and the open texts where they are wanted.

    Args:
        documents: of a set at most. longest: tokens of a source at most. most: paragraphs of the open texts at most, evenly chosen.
    """
    sampling = Sampling(choices.anonymous, choices.demonstrations, choices.shown, choices.asked, max_source=longest)
    writer = Writer(wire, sampling)
    window = max(choices.shown, choices.asked)
    sources, shots, left_out = load_shots(names, root, wire.tokenizer, window, documents, recipe.seed, notice)
    episodes = Episodes(sources, shots, writer)
    makers: dict[str, tuple[float, Maker]] = {"in context": (4.0, episodes.in_context), "plain": (4.0, episodes.plain)}
    if choices.language_model and not choices.plain:
        if notice is not None:
            notice("open text")
        if texts:
            found = read_open_texts(texts)
            found = found[:: max(1, -(-len(found) // most))]
            parts = stretches(found, wire.tokenizer, wire.tokens.sel, longest=choices.asked)
        else:  # the words of the sets themselves
            parts = [OpenText(each.text, each.pieces) for name in shots for each in shots[name][:2000]]
        hidden = HiddenWords(parts, writer)
        makers |= {"hidden in context": (1.0, hidden.in_context), "hidden plain": (1.0, hidden.plain)}
    facts = {
        "sets": list(names), "types": episodes.types, "texts": {name: len(each) for name, each in shots.items()},
        "left_out_as_measured": left_out, "touched": touched(sources), "anonymous": choices.anonymous > 0,
    }  # fmt: skip
    return Data(Stream(makers, wire.tokens.sel, recipe.batch, recipe.seed, choices.cycle()), facts)


def run(
    start: str,
    root: Path,
    out: Path,
    recipe: Recipe,
    length: Length,
    *,
    choices: Choices | None = None,
    sets: Sequence[str] = (),
    texts: Sequence[str | Path] = (),
    documents: int = 6000,
    device: str = "cpu",
    resume: bool = False,
    progress: bool = False,
    notice: Callable[[str], None] | None = None,
) -> Path:
    """Load, train, export.

    Args:
        start: see `seq2seq.start.start_model`. sets: names of what is learnt from; all that may be learnt from if empty.
        texts: files or folders of open text; none: words are hidden in the texts of the sets.
        documents: of a set at most.

    Raises:
        EngineError: a set may not be learnt from, or the model cannot be loaded.
    """
    with process_group(device) as place:
        return _run(
            start, root, out, recipe, length, choices or Choices(), usable(sets), texts, documents, place, resume,
            progress and place.first, notice if place.first else None,
        )  # fmt: skip


def _run(
    start: str,
    root: Path,
    out: Path,
    recipe: Recipe,
    length: Length,
    choices: Choices,
    names: Sequence[str],
    texts: Sequence[str | Path],
    documents: int,
    place: Place,
    resume: bool,
    progress: bool,
    notice: Callable[[str], None] | None,
) -> Path:
    last = out / MODEL
    model, tokenizer = start_model(str(last) if resume and last.is_dir() else start, place.device)
    generator = torch.Generator().manual_seed(recipe.seed)
    model, tokens = prepare(model, tokenizer, generator)
    copies = isinstance(model, CopySeq2Seq)
    longest = int(model.config.max_source) if copies else 512
    data = build_data(recipe, choices, Wire(tokenizer, tokens, copies), names, root, texts, documents, longest, notice)
    what = {
        **recipe.what,
        "sets": list(names),
        "documents": documents,
        "texts": [Path(t).name for t in texts],
        **asdict(choices),
    }
    extra = MetaLoss(tokens.sel, recipe.warmup, choices.meta) if choices.meta > 0 and not choices.plain else None
    learnt = {"anonymous": choices.anonymous > 0 and not choices.plain, "plain": choices.plain, "facts": data.facts}

    def save(folder: Path) -> None:
        if copies:
            model.config.engine = learnt
        save_model(folder, model, tokenizer)
        if not copies:
            (folder / LEARNT).write_text(json.dumps(learnt, indent=1) + "\n", encoding="utf-8")

    return train(
        model, data.stream, out, replace(recipe, what=what), length, save,
        family="metaner", start=Path(start).name if Path(start).is_dir() else start, resume=resume, progress=progress, extra=extra, place=place,
    )  # fmt: skip
