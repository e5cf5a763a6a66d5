"""`workbench train --engine uie`: from a base, an encoder-decoder or a UIE model to a trained one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from workbench.extract.errors import ExtractError
from workbench.extract.loop import MODEL, Length
from workbench.extract.seq2seq.loop import Recipe, train
from workbench.extract.seq2seq.lora import with_lora
from workbench.extract.seq2seq.model import CopySeq2Seq
from workbench.extract.seq2seq.start import save_model, start_model
from workbench.extract.seq2seq.stream import Stream
from workbench.extract.seq2seq.tokens import SelTokens
from workbench.extract.uie.ssi import LabelIds
from workbench.extract.uie.train.objectives import OBJECTIVES, Objectives
from workbench.extract.uie.train.sampling import Sampler, Sampling
from workbench.extract.usm.train.loop import inventory
from workbench.extract.usm.train.names import banned_names
from workbench.extract.usm.train.sources import PLANS, Source, load_sources

WINDOW = 112  # pieces of text in an example at most


def build_stream(
    recipe: Recipe,
    sources: list[Source],
    tokenizer: Any,
    tokens: SelTokens,
    copies: bool,
    held_out: list[Source] | None = None,
) -> Stream:
    """The data of a recipe.

    Args:
        sources: what is learnt from. held_out: sets whose types' names and synonyms are kept out.
    """
    banned = banned_names({source.name: inventory(source) for source in held_out or ()})
    sampling = Sampling(**recipe.what.get("sampling", {}))
    sampler = Sampler(LabelIds(tokenizer, tokens), tokens, sources, sampling, banned)
    makers = Objectives(sampler, sources, tokenizer, tokens, copies).makers(recipe.what.get("objectives", OBJECTIVES))
    return Stream(makers, tokens, recipe.batch, recipe.seed)


def run(
    start: str,
    root: Path,
    out: Path,
    recipe: Recipe,
    length: Length,
    *,
    sets: tuple[str, ...] = (),
    hold_out: tuple[str, ...] = (),
    documents: int = 6000,
    device: str = "cpu",
    resume: bool = False,
    progress: bool = False,
    notice: Callable[[str], None] | None = None,
    development: int = 60,
    lora: int = 0,
) -> Path:
    """Load, train, export, and learn on development parts how sure a score is.

    Args:
        start: see `seq2seq.start.start_model`.
        sets: names of what is learnt from; all that may be learnt from if empty. hold_out: sets left out with the names of their types.
        documents: of a set at most. development: texts of each development part; 0 leaves that out.
        lora: rank of low-rank parts that are trained in place of the whole; 0: the whole.
    """
    if unknown := [name for name in sets if name not in PLANS]:
        raise ExtractError(f"There is no training plan for '{unknown[0]}': choose among {', '.join(PLANS)}.")
    names = [name for name in sets or tuple(PLANS) if name not in hold_out]
    what = {
        "sets": names,
        "held_out": list(hold_out),
        "documents": documents,
        **({"lora": lora} if lora else {}),
        **recipe.what,
    }
    started = start_training(start, out, device, resume, lora, recipe.seed)

    def read(which: Sequence[str]) -> list[Source]:
        return load_sources(which, root, started.tokenizer, WINDOW, documents, recipe.seed, notice) if which else []

    made = train_on(
        started, read(names), out, replace(recipe, what=what), length, held_out=read(hold_out), resume=resume, progress=progress
    )  # fmt: skip
    if development:
        from workbench.extract.uie.tune import learn

        learn(started.model, started.tokenizer, names, root, development, recipe.seed, notice)
        save_model(made, started.model, started.tokenizer)
    return made


@dataclass(frozen=True)
class Started:
    """A model to train, its tokenizer, and what it started from, for the log."""

    model: Any
    tokenizer: Any
    name: str


def start_training(
    start: str, out: Path, device: str = "cpu", resume: bool = False, lora: int = 0, seed: int = 0
) -> Started:
    """Load what a run starts from, or, where it goes on, what it exported last (the state's weights then take its place).

    Args:
        start: see `seq2seq.start.start_model`. out: folder of the run. lora: see `run`; what was exported is merged, so it begins anew.
        seed: of what is new in the model: a decoder, rows of added tokens, low-rank parts.
    """
    torch.manual_seed(seed)
    last = out / MODEL
    model, tokenizer = start_model(str(last) if resume and last.is_dir() and not lora else start, device)
    model = with_lora(model, lora).to(device) if lora else model
    return Started(model, tokenizer, Path(start).name if Path(start).is_dir() else start)


def train_on(
    started: Started,
    sources: list[Source],
    out: Path,
    recipe: Recipe,
    length: Length,
    *,
    held_out: list[Source] | None = None,
    resume: bool = False,
    progress: bool = False,
) -> Path:
    """Train on sets that are read already; returns the folder of the exported model."""
    model, tokenizer = started.model, started.tokenizer
    tokens = SelTokens.of(tokenizer, getattr(model.config, "decoder_start_token_id", None))
    stream = build_stream(recipe, sources, tokenizer, tokens, isinstance(model, CopySeq2Seq), held_out)
    return train(
        model, stream, out, recipe, length, lambda folder: save_model(folder, model, tokenizer),
        family="uie", start=started.name, resume=resume, progress=progress,
    )  # fmt: skip
