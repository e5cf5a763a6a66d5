"""The tokens of MetaNER's wire format (arXiv 2305.11038, `config/formats/metaner.yaml`), and models that get them.

Type names and hidden words stand under `<type1>` … and `<mask1>` …; the released tokenizer has them, T5's own and our base get them here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from workbench.extract.errors import EngineError
from workbench.extract.seq2seq.config import CopyConfig
from workbench.extract.seq2seq.model import CopySeq2Seq
from workbench.extract.seq2seq.tokens import SelTokens, add_tokens, sentinel

LEARNT = "learnt.json"  # beside a model of a class of transformers: what a copying model keeps in its configuration
TYPES, MASKS = 99, 98  # <type1> … <type99>, <mask1> … <mask98>
LABEL, TEXT, OUT, END = sentinel(7), sentinel(4), sentinel(6), sentinel(5)
# Ours: what a copying model writes for " is ", "." and ",", so that a sign inside a span is never mistaken for structure.
IS, STOP, COMMA = sentinel(8), sentinel(9), sentinel(10)


def type_name(number: int) -> str:
    """The anonymous name of a type, counted from 1."""
    return f"<type{number}>"


def mask_name(number: int) -> str:
    """The token that stands for a hidden word, counted from 1."""
    return f"<mask{number}>"


@dataclass(frozen=True)
class MetaTokens:
    """Vocabulary numbers of the tokens that have a role.

    Attributes:
        label: before each label. text: before each text. out: before an output, and what decoding starts from. end: of an output.
        is_, stop, comma: between span and type, behind a type, between two types; of a copying model.
        types, masks: anonymous names, in order. sel: the same model's numbers as the shared parts want them, with start `out` and end `end`.
    """

    label: int
    text: int
    out: int
    end: int
    is_: int
    stop: int
    comma: int
    types: tuple[int, ...]
    masks: tuple[int, ...]
    sel: SelTokens

    @classmethod
    def of(cls, tokenizer: Any) -> MetaTokens:
        """The tokens of a tokenizer.

        Raises:
            EngineError: it lacks one of them.
        """
        known = tokenizer.get_vocab()
        types, masks = _names(type_name, TYPES), _names(mask_name, MASKS)
        roles = {"label": LABEL, "text": TEXT, "out": OUT, "end": END, "is_": IS, "stop": STOP, "comma": COMMA}
        lacking = [text for text in (*roles.values(), *types[:-1], *masks) if text not in known]
        if lacking or tokenizer.pad_token_id is None:
            raise EngineError(
                f"The tokenizer lacks {', '.join(lacking[:3]) or 'a padding token'}, which MetaNER's prompts are written with: choose a MetaNER checkpoint, or start "
                "from this model with `workbench train --engine metaner --backbone`, which adds them."
            )
        unk = tokenizer.unk_token_id
        marks = {known[text] for text in roles.values()} | {known[t] for t in (*types, *masks) if t in known}
        others = {n for text, n in known.items() if text.startswith("<extra_id_") and text.endswith(">")}
        special = (marks | others | set(tokenizer.all_special_ids)) - {unk}
        sel = SelTokens(
            **dict.fromkeys(("spot", "asoc", "open", "close", "colon", "null"), -1), text=known[TEXT], eos=known[END],
            pad=tokenizer.pad_token_id, start=known[OUT], unk=unk, special=frozenset(special),
        )  # fmt: skip
        return cls(
            **{role: known[text] for role, text in roles.items()},
            types=tuple(known[t] for t in types if t in known),
            masks=tuple(known[t] for t in masks),
            sel=sel,
        )


def _names(name: Any, count: int) -> list[str]:
    return [name(n) for n in range(1, count + 1)]


def prepare(model: Any, tokenizer: Any, generator: torch.Generator | None = None) -> tuple[Any, MetaTokens]:
    """A model and its tokenizer with every token of the wire format, its configuration set to write in it.

    Args:
        model: a copying model, which is made anew if it grows, or any encoder-decoder, which is changed in place.
        generator: of the first values of what is new.
    """
    known = tokenizer.get_vocab()
    new = [t for t in (*_names(type_name, TYPES), *_names(mask_name, MASKS)) if t not in known]
    grown = add_tokens(tokenizer)
    if new:
        tokenizer.add_special_tokens({"additional_special_tokens": new}, replace_extra_special_tokens=False)
    tokens = MetaTokens.of(tokenizer)
    if isinstance(model, CopySeq2Seq):
        if new or grown or model.config.eos_token_id != tokens.end or model.config.naming is None:
            model = grow(model, tokens, len(tokenizer), generator)
    else:
        size = model.get_input_embeddings().weight.shape[0]
        if len(tokenizer) > size:
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        model.config.eos_token_id, model.config.decoder_start_token_id = tokens.end, tokens.out
    return model, tokens


def grow(
    model: CopySeq2Seq, tokens: MetaTokens, vocabulary: int, generator: torch.Generator | None = None
) -> CopySeq2Seq:
    """A copying model that knows more tokens: word embeddings of the new ones are 0, and what they mean is learnt as their mark.

    Args:
        vocabulary: numbers of the grown tokenizer.
    """
    old = model.config
    names = [*tokens.types, *tokens.masks]
    values = {
        **old.to_diff_dict(),
        "engine": {},
        "encoder": {**old.encoder, "vocab_size": vocabulary},
        "vocab_size": vocabulary,
    }
    fixed = [*old.fixed, *(n for n in (tokens.end, tokens.is_, tokens.stop, tokens.comma) if n not in old.fixed)]
    longest = int(getattr(old.encoder_config(), "max_position_embeddings", 512))
    values |= {
        "fixed": fixed, "special": sorted({*old.special, tokens.text, tokens.label, tokens.out}), "marked": names, "naming": [tokens.is_, tokens.label], "apart": None, "ahead": None, "max_source": min(512, longest),
        "eos_token_id": tokens.end, "decoder_start_token_id": tokens.out,
    }  # fmt: skip
    values.pop("model_type", None)
    config = CopyConfig(**values)
    made = CopySeq2Seq(config)
    words: Any = made.get_input_embeddings().weight
    kept = {
        name: value
        for name, value in model.state_dict().items()
        if name in made.state_dict() and value.shape == made.state_dict()[name].shape
    }
    made.load_state_dict(kept, strict=False)
    with torch.no_grad():
        table: Any = model.get_input_embeddings().weight
        words.zero_()
        words[: table.shape[0]] = table
        marks, before = made.encoder.marks.weight, model.encoder.marks.weight
        spread = float(table.std())  # a name has to be told apart as a word is
        marks[1:] = torch.randn(marks[1:].shape, generator=generator) * spread
        for number in {*old.fixed, *old.special, *old.marked}:
            marks[made.encoder.mark[number]] = before[model.encoder.mark[number]]
        if fixed != old.fixed:
            made.write.weight[: len(old.fixed)], made.write.bias[: len(old.fixed)] = (
                model.write.weight,
                model.write.bias,
            )
    return made.to(next(model.parameters()).device).train(model.training)  # type: ignore[arg-type]
