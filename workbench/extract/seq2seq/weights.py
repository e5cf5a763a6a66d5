"""A copying model on disk: config.json, model.safetensors, the tokenizer (matrices as int8 where that is wished)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from workbench.capture.errors import reason
from workbench.extract.errors import EngineError
from workbench.extract.seq2seq.config import CopyConfig
from workbench.extract.seq2seq.model import CopySeq2Seq, warm_start
from workbench.extract.seq2seq.tokens import SelTokens, add_tokens
from workbench.extract.storage import read_tensors, write_tensors

WEIGHTS, CONFIG = "model.safetensors", "config.json"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
_BESIDE = ("vocab.txt", "special_tokens_map.json", "added_tokens.json", "merges.txt", "vocab.json")


def is_copy_model(folder: Path) -> bool:
    """Whether a folder holds a model of this kind."""
    return _type_of(folder) == CopyConfig.model_type


def _type_of(folder: Path) -> str:
    try:
        return str(json.loads((folder / CONFIG).read_text(encoding="utf-8")).get("model_type", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def new_copy_model(encoder: Any, tokenizer: Any, shape: Any = None, **choices: Any) -> CopySeq2Seq:
    """A copying model on an encoder, its decoder started from the encoder's layers where that is possible.

    Args:
        encoder: a transformers encoder. tokenizer: gets the special tokens it lacks.
        shape: weights of a word-shape embedding to start from.
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
    config = CopyConfig(
        **{
            "encoder": values, "vocab_size": len(tokenizer), "fixed": fixed, "special": sorted(tokens.special), "decoder_heads": heads,
            "decoder_ffn": int(getattr(encoder.config, "intermediate_size", 4 * encoder.config.hidden_size)),
            "max_source": min(384, longest), "pad_token_id": tokens.pad, "eos_token_id": tokens.eos, "decoder_start_token_id": tokens.pad,
            **choices,
        }
    )  # fmt: skip
    model = CopySeq2Seq(config, encoder)
    warm_start(model)
    if shape is not None and model.encoder.shape is not None:
        model.encoder.shape.weight.data.copy_(shape)
    return model


def save_copy_model(
    folder: Path, model: CopySeq2Seq, tokenizer: Any, storage: str = "float32", name: str = "copy-seq2seq"
) -> int:
    """Write a model and its tokenizer.

    Args:
        storage: of `workbench.extract.storage.STORAGES`.

    Returns:
        Bytes written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / WEIGHTS, model.state_dict(), storage)
    values = json.loads(model.config.to_json_string(use_diff=True))
    values = {
        key: value for key, value in values.items() if key not in ("_name_or_path", "transformers_version", "dtype")
    }
    text = json.dumps({**values, "architectures": ["CopySeq2Seq"]}, indent=1)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
    tokenizer.save_pretrained(folder)
    for file in folder.iterdir():  # tokenizer.json holds it all
        if file.name in _BESIDE:
            file.unlink()
    return sum((folder / each).stat().st_size for each in (WEIGHTS, CONFIG, *TOKENIZER) if (folder / each).exists())


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
        config = CopyConfig(**{k: v for k, v in values.items() if k not in ("model_type", "architectures")})
        config._attn_implementation = attention
        encoder = AutoModel.from_config(config.encoder_config(), attn_implementation=attention)
        model = CopySeq2Seq(config, encoder)
        tensors = read_tensors(folder / WEIGHTS)
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
