"""A copying model on disk: config.json, model.safetensors, the tokenizer (matrices as int8 where that is wished).

Models that were trained from one base with its word embeddings at rest have them in common. One of them may leave them out and say in whose folder, beside its
own, they are; the digest of what is stored there is checked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from workbench.capture.errors import reason
from workbench.extract.errors import EngineError
from workbench.extract.seq2seq.apart import cannot_read_apart
from workbench.extract.seq2seq.config import CopyConfig
from workbench.extract.seq2seq.model import CopySeq2Seq, warm_start
from workbench.extract.seq2seq.tokens import SelTokens, add_tokens
from workbench.extract.storage import SCALE, read_tensors, write_tensors

WEIGHTS, CONFIG = "model.safetensors", "config.json"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
_BESIDE = ("vocab.txt", "special_tokens_map.json", "added_tokens.json", "merges.txt", "vocab.json")


LINK = 64  # width of the link that a label is chosen by, as in USM
WORDS = "words"  # key of the configuration: where word embeddings are that this folder does not hold


def is_copy_model(folder: Path) -> bool:
    """Whether a folder holds a model of this kind."""
    return _type_of(folder) == CopyConfig.model_type


def _type_of(folder: Path) -> str:
    try:
        return str(json.loads((folder / CONFIG).read_text(encoding="utf-8")).get("model_type", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def new_copy_model(encoder: Any, tokenizer: Any, **choices: Any) -> CopySeq2Seq:
    """A copying model on an encoder, its decoder started from the encoder's layers where that is possible.

    Args:
        encoder: a transformers encoder. tokenizer: gets the special tokens it lacks.
        choices: fields of `CopyConfig`; `fixed` adds to the structure tokens.

    Raises:
        EngineError: the encoder has no width that attention heads divide.
    """
    add_tokens(tokenizer)
    tokens = SelTokens.of(tokenizer)
    encoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    values = encoder.config.to_diff_dict()
    values["model_type"] = encoder.config.model_type
    for name in ("_name_or_path", "transformers_version", "torch_dtype", "dtype"):
        values.pop(name, None)
    heads = int(getattr(encoder.config, "num_attention_heads", 8))
    if int(encoder.config.hidden_size) % heads:
        raise EngineError(
            f"The encoder's width {encoder.config.hidden_size} is not divided by its {heads} heads: choose another one."
        )
    fixed = [tokens.open, tokens.close, tokens.colon, tokens.null, tokens.eos]
    fixed += [
        n
        for text, n in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
        if text.startswith("<extra_id_") and n not in fixed and n != tokens.text
    ]
    fixed += [number for number in choices.pop("fixed", ()) if number not in fixed]
    longest = int(getattr(encoder.config, "max_position_embeddings", 512))
    apart = not cannot_read_apart(encoder)
    config = CopyConfig(
        **{
            "encoder": values, "vocab_size": len(tokenizer), "fixed": fixed, "special": sorted(tokens.special), "decoder_heads": heads,
            "decoder_ffn": int(getattr(encoder.config, "intermediate_size", 4 * encoder.config.hidden_size)),
            "apart": [tokens.spot, tokens.asoc, tokens.text] if apart else None, "ahead": [tokens.open, tokens.colon, LINK] if apart else None,
            "max_source": min(384, longest), "pad_token_id": tokens.pad, "eos_token_id": tokens.eos, "decoder_start_token_id": tokens.pad,
            **choices,
        }
    )  # fmt: skip
    model = CopySeq2Seq(config, encoder)
    warm_start(model)
    if config.apart:
        open_as_before(model, tokenizer)
    return model


def open_as_before(model: CopySeq2Seq, tokenizer: Any) -> None:
    """Let the marks before labels and text be to the encoder what its own first token is, so that it reads each as it read a text."""
    first = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
    if first is None or model.config.apart is None:
        return
    words: Any = model.get_input_embeddings().weight
    encoder = model.encoder
    with torch.no_grad():
        for number in model.config.apart:
            encoder.marks.weight[encoder.mark[number]] = words[first] - words[number]
        encoder.marks.weight[encoder.mark[model.config.eos_token_id]] = 0


def save_copy_model(
    folder: Path, model: CopySeq2Seq, tokenizer: Any, storage: str = "float32", words_of: Path | None = None
) -> int:
    """Write a model and its tokenizer.

    Args:
        storage: of `workbench.extract.storage.STORAGES`.
        words_of: folder of another model whose word embeddings this one shares, so that they are not written again; it has to lie beside `folder` when this is
            loaded. None: the folder holds everything.

    Returns:
        Bytes written.

    Raises:
        EngineError: the other model has other word embeddings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = dict(model.state_dict())
    shared = None
    if words_of is not None:
        table = model.get_input_embeddings().weight
        name = next(name for name, parameter in model.named_parameters() if parameter is table)
        tensors.update(_with_words_of(words_of, name, tensors[name], model))
        shared = _shared_words(words_of, name, tensors.pop(name))
    write_tensors(folder / WEIGHTS, tensors, storage)
    values = json.loads(model.config.to_json_string(use_diff=True))
    values = {
        key: value for key, value in values.items() if key not in ("_name_or_path", "transformers_version", "dtype")
    }
    if shared is not None:
        values[WORDS] = shared
    text = json.dumps({**values, "architectures": ["CopySeq2Seq"]}, indent=1)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
    tokenizer.save_pretrained(folder)
    for file in folder.iterdir():  # tokenizer.json holds it all
        if file.name in _BESIDE:
            file.unlink()
    return sum((folder / each).stat().st_size for each in (WEIGHTS, CONFIG, *TOKENIZER) if (folder / each).exists())


def words_digest(folder: Path, name: str) -> str:
    """SHA-256 of a table as it is stored in a folder, with its scales."""
    digest = sha256()
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        for key in (name, name + SCALE):
            if key in file.keys():  # noqa: SIM118 - it is no mapping
                value = file.get_tensor(key)
                digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
                digest.update(value.contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _with_words_of(folder: Path, name: str, table: Tensor, model: CopySeq2Seq) -> dict[str, Tensor]:
    """The model's tables with the other one's embeddings of special tokens; the part of their own makes up for the difference."""
    theirs, mark = _stored_words(folder, name).to(table.device), model.encoder.mark
    if theirs.shape[1] != table.shape[1]:
        return {}
    special = mark.nonzero().flatten()
    special = special[special < min(len(theirs), len(table))]
    words, marks = table.clone(), model.encoder.marks.weight.detach().clone()
    marks[mark[special]] += words[special] - theirs[special]
    words[special] = theirs[special]
    return {name: words, "encoder.marks.weight": marks}


def _shared_words(folder: Path, name: str, table: Tensor) -> dict[str, Any]:
    """Where word embeddings are, once it is clear that they are the same up to how they are stored; further rows have to be 0."""
    theirs = _stored_words(folder, name)
    rows = theirs.shape[0]
    near = theirs.abs().amax(1, keepdim=True) / 127 + 1e-6  # a step of int8
    alike = table.shape[0] >= rows and table.shape[1] == theirs.shape[1]
    if not alike or bool(((table[:rows].cpu() - theirs).abs() > near).any()) or bool(table[rows:].any()):
        raise EngineError(
            f"The model in '{folder}' has other word embeddings: name one that was trained from the same base with its embeddings at rest, or write the model whole."
        )
    return {"folder": folder.name, "tensor": name, "rows": rows, "sha256": words_digest(folder, name)}


def _stored_words(folder: Path, name: str) -> Tensor:
    try:
        return read_tensors(folder / WEIGHTS)[name]
    except (OSError, KeyError, SafetensorError) as fault:
        raise EngineError(
            f"The word embeddings in '{folder}' cannot be read ({reason(fault)}): get the whole folder again."
        ) from None


def _fetch_words(folder: Path, where: Mapping[str, Any], vocabulary: int) -> tuple[str, Tensor]:
    """The word embeddings that a folder names, from the folder beside it."""
    name, tensor = str(where["folder"]), str(where["tensor"])
    beside = folder.resolve().parent / name
    if Path(name).name != name or not (beside / WEIGHTS).is_file():
        raise EngineError(
            f"The model in '{folder}' shares the word embeddings of '{name}', which is not beside it: put the folder '{name}' into '{folder.resolve().parent}'."
        )
    if words_digest(beside, tensor) != where["sha256"]:
        raise EngineError(
            f"The model in '{folder}' shares the word embeddings of '{name}', but the folder '{beside}' holds others: get the '{name}' that it came with."
        )
    table = _stored_words(beside, tensor)
    return tensor, torch.nn.functional.pad(table, (0, 0, 0, vocabulary - table.shape[0]))


def load_copy_model(folder: Path, device: str = "cpu", attention: str = "eager") -> tuple[CopySeq2Seq, Any]:
    """The model and the tokenizer of a folder.

    Args:
        attention: implementation; only "eager" can show its weights.

    Raises:
        EngineError: the folder holds no such model, or its files do not fit each other.
    """
    from transformers import AutoModel, PreTrainedTokenizerFast

    if not is_copy_model(folder) or not (folder / WEIGHTS).is_file():
        raise EngineError(
            f"'{folder}' holds no copying encoder-decoder (it needs {CONFIG} and {WEIGHTS}): name the folder that `workbench train` wrote."
        )
    try:
        values = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        shared = values.pop(WORDS, None)
        config = CopyConfig(**{k: v for k, v in values.items() if k not in ("model_type", "architectures")})
        config._attn_implementation = attention
        encoder = AutoModel.from_config(config.encoder_config(), attn_implementation=attention)
        model = CopySeq2Seq(config, encoder)
        tensors = read_tensors(folder / WEIGHTS)
        if shared is not None:
            tensors.update([_fetch_words(folder, shared, config.vocab_size)])
        wanted = {name for name, value in model.state_dict().items() if value.is_floating_point()}
        if missing := sorted(wanted - tensors.keys()):
            raise EngineError(
                f"The model in '{folder}' lacks {len(missing)} weights, for instance {missing[0]}: get the whole folder again."
            )
        model.load_state_dict(tensors, strict=False)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, IndexError, SafetensorError) as fault:
        raise EngineError(
            f"The model in '{folder}' cannot be read ({reason(fault)}): get the whole folder again."
        ) from None
    return model.to(device).eval(), tokenizer  # type: ignore[arg-type]
