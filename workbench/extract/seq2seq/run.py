"""`workbench train --engine base`: from an encoder to an encoder-decoder that copies, on open text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from workbench.extract.errors import EngineError
from workbench.extract.formats.sets import load_data
from workbench.extract.loop import Length
from workbench.extract.seq2seq.loop import Recipe, train
from workbench.extract.seq2seq.model import CopySeq2Seq
from workbench.extract.seq2seq.pretrain import Tasks, read_open_texts, stretches
from workbench.extract.seq2seq.start import save_model, start_model
from workbench.extract.seq2seq.stream import Stream
from workbench.extract.seq2seq.tokens import SelTokens
from workbench.extract.usm.train.sources import PLANS

LEAST_TEXT = 16  # pieces


def run(
    start: str,
    texts: Sequence[str | Path],
    root: Path | None,
    out: Path,
    recipe: Recipe,
    length: Length,
    *,
    sets: Sequence[str] = (),
    device: str = "cpu",
    resume: bool = False,
    progress: bool = False,
    notice: Callable[[str], None] | None = None,
    most: int = 30_000,
) -> Path:
    """Load, train, export.

    Args:
        start: see `start.start_model`; what is not a copying model gets a decoder.
        texts: files or folders of open text. root: folder of annotated sets, whose training texts serve as well; None leaves them out.
        sets: names of these sets; all that may be learnt from if empty.
        most: paragraphs of the open texts at most, evenly chosen.
    """
    state = out / "model"
    torch.manual_seed(recipe.seed)  # of the decoder that an encoder gets
    model, tokenizer = start_model(str(state) if resume and state.is_dir() else start, device)
    if not isinstance(model, CopySeq2Seq):
        raise EngineError(f"'{start}' is an encoder-decoder already: a base is made of an encoder.")
    tokens = SelTokens.of(tokenizer, model.config.decoder_start_token_id)
    found = read_open_texts(texts)
    found = found[:: max(1, -(-len(found) // most))]
    if root is not None:
        if unknown := [name for name in sets if name not in PLANS]:
            raise EngineError(f"There is no training plan for '{unknown[0]}': choose among {', '.join(PLANS)}.")
        for name in sets or PLANS:
            if notice is not None:
                notice(name)
            for split in PLANS[name].splits:
                found += [d.text for d in load_data(name, root, split)[:600] if len(d.text) > 40]
    tasks = Tasks(stretches(found, tokenizer, tokens, LEAST_TEXT), tokenizer, tokens)
    stream = Stream(tasks.makers(), tokens, recipe.batch, recipe.seed)
    name = Path(start).name if Path(start).is_dir() else start
    return train(
        model, stream, out, recipe, length, lambda folder: save_model(folder, model, tokenizer),
        family="seq2seq", start=name, resume=resume, progress=progress,
    )  # fmt: skip
