"""The engine `llm`: any causal language model of transformers as an extractor that learns from examples in a chat.

Everything but the model's own words is as for MetaNER: which demonstrations stand in which prompt (five, in turn by type), how an answer is read, every
occurrence of a span in the text, and the vote of several prompts. So the two differ in the model alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from workbench.extract.errors import EngineError
from workbench.extract.extraction import Evidence, Extraction, Step
from workbench.extract.llm.chat import Prompts
from workbench.extract.llm.generate import Answer, write
from workbench.extract.metaner.merge import Hit, place, read_output, vote
from workbench.extract.metaner.windows import CONTEXT, SEED, interleave, prompts
from workbench.extract.records import Document, Event, Relation, Span
from workbench.extract.schema import Schema

LONGEST = 4096  # tokens of prompt and answer at most, where the model reads more
WRITTEN = 200  # tokens of an answer at most
BULLETS = " -*•\t\"'“”`"  # that models put round an answer's lines
UNCUT = "Scores are the share of the prompts that say a span, times its probability; the engine cuts nothing off."


@dataclass(frozen=True)
class Asked:
    """One prompt.

    Attributes:
        text: number of the text. ids: token numbers.
    """

    text: int
    ids: list[int]


class LlmEngine:
    """A language model as an extractor.

    Args:
        net, tokenizer: a causal language model of transformers.
        source: what was loaded, for people.
        context: demonstrations of a prompt. ordered: keep the demonstrations in the order given, instead of by type in turn.
        longest: tokens of prompt and answer at most. written: tokens of an answer at most.
    """

    name = "llm"

    def __init__(
        self,
        net: Any,
        tokenizer: Any,
        source: str = "",
        context: int = CONTEXT,
        ordered: bool = False,
        longest: int = LONGEST,
        written: int = WRITTEN,
    ) -> None:
        self.net, self.tokenizer, self.model = net, tokenizer, source
        self.device = str(next(net.parameters()).device)
        self.context, self.ordered, self.written = context, ordered, written
        reads = getattr(net.config, "max_position_embeddings", None)
        self.longest = min(longest, int(reads)) if reads else longest
        self.written = min(written, self.longest // 2)
        self.prompts = Prompts(tokenizer)

    @classmethod
    def load(cls, model: str | None, device: str = "auto", dtype: str = "auto", **options: Any) -> LlmEngine:
        """Load a folder or a hub id.

        Raises:
            EngineError: none was named, or it is no causal language model. WorkbenchError: it cannot be loaded, or does not fit into memory.
        """
        if model is None:
            raise EngineError(
                "The engine 'llm' has no weights of its own: name a text model, by folder or hub id, as its model (on the page: Weights)."
            )
        net, tokenizer, name = load_text_model(model, device, dtype)
        return cls(net, tokenizer, name, **options)

    # ------------------------------------------------------------------ asking
    def in_order(self) -> LlmEngine:
        """The same model, showing demonstrations in the order given."""
        made = copy.copy(self)
        made.ordered = True
        return made

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
        whole = self._schema(schema)
        done: list[Extraction] = []
        size = max(1, batch_size)
        shown = self._plan(whole, demonstrations)
        for at in range(0, len(texts), size):
            if stopped is not None and stopped():
                break
            group = texts[at : at + size]
            asked = [
                each for n, text in enumerate(group) for each in self._asked(n, text, whole, demonstrations, shown)
            ]
            answers: list[Answer] = []
            for first in range(0, len(asked), size):
                if stopped is not None and stopped():
                    return done
                part = [each.ids for each in asked[first : first + size]]
                answers += write(self.net, self.tokenizer, part, self.written)
                if passes is not None:
                    passes(len(answers), len(asked))
            for n, text in enumerate(group):
                here = [answer for each, answer in zip(asked, answers, strict=True) if each.text == n]
                done.append(self._extraction(text, whole, here))
            if progress is not None:
                progress(len(done))
        return done

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
        """The answer that first said a result, token by token; attention is not kept."""
        whole = self._schema(schema)
        types = [label.name for label in whole.entities]
        if not isinstance(item, Span):
            raise EngineError("The engine 'llm' finds entities only: choose one of them.")
        answers: list[Answer] = []
        for asked in self._asked(0, text, whole, demonstrations, self._plan(whole, demonstrations)):
            answers += write(self.net, self.tokenizer, [asked.ids], self.written)
            if any(hit.key == (item.type, item.start, item.end) for hit in hits_of(answers[-1], text, types)):
                break
        steps = tuple(Step(piece=piece, probability=min(1.0, chance)) for piece, chance in answers[-1].pieces)
        return Evidence(
            item=item, steps=steps, raw=answers[-1].text, attention_refused="Attention of a language model of yours is not shown here.",
            caution="The steps are what the model wrote and how likely each token was, not why the statement is true.",
        )  # fmt: skip

    def _schema(self, schema: Schema | Mapping[str, Any]) -> Schema:
        whole = Schema.read(schema).expanded()
        if not whole.entities:
            raise EngineError(
                "The engine 'llm' finds entities, but the schema names no entity type: name at least one."
            )
        return whole

    def _plan(self, schema: Schema, shots: Sequence[Document]) -> list[tuple[int, int]]:
        """Demonstrations in the order in which they are shown: number, and tokens of each."""
        types = [label.name for label in schema.entities]
        kinds = [{span.type for span in shot.entities or ()} for shot in shots]
        order = list(range(len(shots))) if self.ordered else interleave(types, kinds, SEED)
        bare = len(self.prompts.ids(schema.entities, (), ""))
        return [(n, max(1, len(self.prompts.ids(schema.entities, [shots[n]], "")) - bare)) for n in order]

    def _asked(
        self, number: int, text: str, schema: Schema, shots: Sequence[Document], plan: Sequence[tuple[int, int]]
    ) -> Iterator[Asked]:
        """The prompts about one text."""
        bare = self.prompts.ids(schema.entities, (), text)
        room = self.longest - self.written - len(bare)
        if room < 0:
            raise EngineError(
                f"A text takes {len(bare):,} tokens with the task, but the model reads {self.longest:,} with an answer of {self.written}: give shorter texts."
            )
        sizes = [size for _, size in plan]
        if any(size > room for size in sizes):
            # what would never fit is left out, so that no prompt stands without demonstrations for its sake
            plan = [(n, size) for n, size in plan if size <= room]
            sizes = [size for _, size in plan]
        for chosen in prompts(sizes, room, self.context):
            shown = [shots[plan[place_][0]] for place_ in chosen]
            yield Asked(number, self.prompts.ids(schema.entities, shown, text) if shown else bare)

    def _extraction(self, text: str, schema: Schema, answers: Sequence[Answer]) -> Extraction:
        types = [label.name for label in schema.entities]
        voted = vote([hits_of(answer, text, types) for answer in answers])
        notes = [UNCUT]
        if cut := sum(not answer.whole for answer in answers):
            notes.append(f"{cut} of {len(answers)} answers were cut at {self.written} tokens.")
        if not self.prompts.chat:
            notes.append("The model has no chat template, so it is asked in prose.")
        return Extraction(
            text=text, wanted=schema, floor=0.0, threshold=0.0, notes=tuple(notes),
            entities=tuple(
                Span(start=each.hit.start, end=each.hit.end, type=each.hit.type, score=round(min(1.0, each.score), 6)) for each in voted
            ),
        )  # fmt: skip


def hits_of(answer: Answer, text: str, types: Sequence[str]) -> list[Hit]:
    """What an answer says of a text: a line or a sentence a span, types in any case, bullets and quotes passed over."""
    known = {name.lower(): name for name in types}
    lines = [(piece.replace("\n", "."), chance) for piece, chance in answer.pieces]
    entries = [
        replace(entry, span=entry.span.strip(BULLETS), type=known.get(entry.type.strip(BULLETS).lower(), entry.type))
        for entry in read_output(lines)
    ]
    return place([entry for entry in entries if entry.span], text, types)


def load_text_model(model: str, device: str = "auto", dtype: str = "auto") -> tuple[Any, Any, str]:
    """A causal language model, its tokenizer and its name, from safetensors, without remote code, if it fits into memory."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from workbench.models.device import choose_device
    from workbench.models.files import check_config, check_weights, find_model, read_config
    from workbench.models.memory import NotEnoughMemoryError, Workload, estimate_source
    from workbench.models.options import LoadOptions, hub_arguments, load_error

    options = LoadOptions(dtype=dtype, device=device)
    source = find_model(model)
    raw = read_config(source)
    if raw is not None:
        check_config(source.name, raw)
    check_weights(source)
    arguments = hub_arguments(source, options)
    try:
        config = AutoConfig.from_pretrained(source.target, **arguments)
        if config.is_encoder_decoder:
            raise EngineError(
                f"'{source.name}' is an encoder-decoder, but the engine 'llm' asks causal language models: name one, for instance an instruction-tuned chat model."
            )
        estimate = estimate_source(source, options, Workload(), raw if raw is not None else config.to_dict())
        if not estimate.fits:
            raise NotEnoughMemoryError(f"'{source.name}' needs {estimate.sentence()}: choose a smaller model.")
        tokenizer = AutoTokenizer.from_pretrained(source.target, **arguments)
        weights = {} if source.gguf_file is not None else {"use_safetensors": True}
        form = getattr(torch, estimate.dtype, "auto")  # "as stored" of weights that are quantised
        net: Any = AutoModelForCausalLM.from_pretrained(
            source.target, config=config, dtype=form, **arguments, **weights
        )
        return net.to(choose_device(device).name).eval(), tokenizer, source.name
    except Exception as fault:
        raise load_error(source, fault, "text model") from fault
