"""The engine `uie`: a loaded model behind the engine protocol."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from workbench.extract.errors import EngineError, usable
from workbench.extract.extraction import FLOOR, Evidence, Extraction
from workbench.extract.records import Document, Event, Relation, Span
from workbench.extract.schema import Schema
from workbench.extract.seq2seq.causal import PromptModel
from workbench.extract.seq2seq.model import CopySeq2Seq
from workbench.extract.seq2seq.start import load_writer
from workbench.extract.seq2seq.tokens import SelTokens
from workbench.extract.uie.passes import Choices, Pass, Passes
from workbench.extract.uie.reading import UieReading
from workbench.extract.uie.records import MODES, OURS, PAPER, Found
from workbench.extract.uie.results import extraction_of
from workbench.extract.uie.sel import FIXED, ILL, WELL
from workbench.extract.usm.pieces import foreign_note

if TYPE_CHECKING:
    from workbench.extract.uie.replay import Replay

T5_SOURCE, T5_TARGET, T5_WINDOW = 384, 192, 256  # of UIE's own fine-tuning (config/exp_conf)
ONE_STRUCTURE = (
    "UIE writes one structure, its best: what it did not write has no score, so a lower threshold shows nothing more."
)


class UieEngine:
    """UIE.

    Args:
        model, tokenizer: a copying model, any encoder-decoder of transformers or a `PromptModel`, with UIE's special tokens.
        source: what was loaded, for people.
        places: how repeated words are placed: "auto" (what did best on development data), or one of `records.MODES`.
        constrained: decode under the grammar. beams: 1 is greedy.
        original: run as the original does, with every switch of `records.Switches` off and no window halved.
    """

    name = "uie"

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        source: str = "",
        places: str = "auto",
        constrained: bool = True,
        beams: int = 1,
        original: bool = False,
    ) -> None:
        if places not in ("auto", *MODES):
            raise EngineError(f"UIE places words by auto, {', '.join(MODES)}, not by '{places}': choose one of them.")
        if beams < 1:
            raise EngineError(f"At least one beam is needed, but {beams} came: give 1 for greedy decoding.")
        self.net, self.tokenizer, self.model = model, tokenizer, source
        self.tokens = SelTokens.of(tokenizer, getattr(model.config, "decoder_start_token_id", None))
        self.device = str(next(model.parameters()).device)
        copies = isinstance(model, CopySeq2Seq)
        learnt = dict(getattr(model.config, "engine", None) or {})
        default = {"mode": "pointed" if copies else "closest"}
        self.reading = UieReading.from_json({**default, **learnt})
        if places != "auto":
            self.reading = replace(self.reading, mode=places)
        sizes = (
            {"max_source": model.config.max_source, "max_target": model.config.max_target - 8}
            if copies
            else {"max_source": T5_SOURCE, "max_target": T5_TARGET, "window": T5_WINDOW}
        )
        if isinstance(model, PromptModel):  # prompt and structure share its window
            window = int(getattr(model.config, "max_position_embeddings", None) or T5_SOURCE + T5_TARGET)
            sizes["max_target"] = min(T5_TARGET, window // 3)
            sizes["max_source"] = min(T5_SOURCE, window - sizes["max_target"])
        self.choices = Choices(
            constrained=constrained, beams=beams, switches=PAPER if original else OURS, halve=not original, **sizes
        )
        self.counts: Counter[str] = Counter()  # outputs read since loading: well-formed, fixed, ill-formed

    @classmethod
    def load(
        cls,
        model: str | None,
        device: str = "auto",
        places: str = "auto",
        constrained: bool = True,
        beams: int = 1,
        original: bool = False,
    ) -> UieEngine:
        """Load a folder or a hub id.

        Raises:
            EngineError: there is no such model, it lacks the special tokens, or the device is not there.
        """
        if model is None:
            raise EngineError("Name the UIE model to load: a folder that `workbench train` wrote, or a hub id.")
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        folder = Path(model)
        with usable(device):
            loaded, tokenizer = load_writer(model, device, "UIE", causal=True)
        return cls(loaded, tokenizer, folder.name if folder.is_dir() else model, places, constrained, beams, original)

    def passes(self, schema: Schema) -> Passes:
        """The model with a schema compiled; sentiment has to be written out."""
        return Passes(self.net, self.tokenizer, self.tokens, schema, self.choices)

    def extract(
        self,
        texts: Sequence[str],
        schema: Schema | Mapping[str, Any],
        demonstrations: Sequence[Document] = (),
        *,
        batch_size: int = 8,
        progress: Callable[[int], None] | None = None,
        stopped: Callable[[], bool] | None = None,
        passes: Callable[[int, int], None] | None = None,
    ) -> list[Extraction]:
        """Candidates of every text, in order; see `workbench.extract.engines.Engine.extract`."""
        if demonstrations:
            raise EngineError(
                "UIE does not learn from examples in context: leave the demonstrations out, or fine-tune it with `workbench train --engine uie`."
            )
        whole = Schema.read(schema).expanded()
        compiled = self.passes(whole)
        done: list[Extraction] = []
        size = max(1, batch_size)
        for at in range(0, len(texts), size * 4):
            group = texts[at : at + size * 4]
            made: dict[int, list[Pass]] = {number: [] for number in range(len(group))}
            jobs = compiled.jobs(group)
            for count, each in enumerate(compiled.run(group, jobs, size, stopped), start=1):
                made[each.job.text].append(each)
                if passes is not None:
                    passes(count, max(count, len(jobs)))  # a window that is read in halves is one pass more
            if stopped is not None and stopped():
                break  # the passes of this group may be incomplete
            for number, text in enumerate(group):
                done.append(self._extraction(text, whole, compiled, made[number]))
            if progress is not None:
                progress(len(done))
        return done

    def _extraction(self, text: str, schema: Schema, passes: Passes, made: Sequence[Pass]) -> Extraction:
        found = Found()
        statuses: Counter[str] = Counter()
        full = 0
        for each in made:
            found.merge(passes.records(each, self.reading.mode))
            statuses[each.sel.status] += 1
            full += passes.is_full(each)
        self.counts.update(statuses)
        found = self.reading.scored(found)
        scores = [v for t in ("entities", "relations", "triggers", "arguments") for v in getattr(found, t).values()]
        least = min([*scores, max(self.reading.threshold, FLOOR)])
        notes = [ONE_STRUCTURE, *foreign_note(self.tokenizer, text)]
        windows = len({int(each.job.pieces.starts[0]) for each in made})
        if windows > 1:
            notes.append(
                f"The text was read in {windows} overlapping windows: a relation or argument across more than one window is not found."
            )
        if halved := sum(each.job.halves > 0 for each in made):
            notes.append(
                f"It says more than fits into the {self.choices.max_target} tokens of a structure, so {halved} of these windows are halves of larger ones."
            )
        if len(passes.plan) > 1:
            notes.append(f"The schema was asked in {len(passes.plan)} passes.")
        if full:
            notes.append(
                f"The structure may have been cut at {self.choices.max_target} tokens in {full} of {len(made)} passes: ask for fewer labels at a time."
            )
        if statuses[FIXED] or statuses[ILL]:
            notes.append(
                f"Of {len(made)} outputs {statuses[WELL]} were well-formed, {statuses[FIXED]} fixed and {statuses[ILL]} ill-formed."
            )
        return extraction_of(
            text, schema, found, floor=round(max(0.0, least - 5e-5), 4), threshold=round(self.reading.threshold, 4),
            calibrated=self.reading.calibrated, notes=tuple(notes),
        )  # fmt: skip

    def explain(
        self,
        text: str,
        schema: Schema | Mapping[str, Any],
        item: Span | Relation | Event,
        demonstrations: Sequence[Document] = (),
        *,
        layer: int | None = None,
        heads: Sequence[int] | None = None,
    ) -> Evidence:
        """Decoding steps, the raw output and attention behind one result; see `workbench.extract.engines.Engine.explain`."""
        from workbench.extract.uie.explain import explain

        return explain(self, text, Schema.read(schema).expanded(), item, layer, heads)

    def replay(self, text: str, schema: Schema | Mapping[str, Any]) -> list[Replay]:
        """What was written about a whole text, step by step; see `replay.replay`."""
        from workbench.extract.uie.replay import replay

        return replay(self, text, Schema.read(schema).expanded())
