"""What a run starts from: an encoder, a USM model, a copying model, any encoder-decoder or causal language model of transformers."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch

from workbench.capture.errors import reason
from workbench.extract.errors import EngineError, no_model
from workbench.extract.loop import on_device
from workbench.extract.seq2seq.causal import PromptModel, is_causal
from workbench.extract.seq2seq.lora import merged
from workbench.extract.seq2seq.model import CopySeq2Seq
from workbench.extract.seq2seq.tokens import add_tokens
from workbench.extract.seq2seq.weights import is_copy_model, load_copy_model, new_copy_model, save_copy_model
from workbench.extract.usm.config import LINKS
from workbench.extract.usm.model import UsmModel
from workbench.extract.usm.train.start import UNLOADABLE, is_usm_model
from workbench.extract.usm.weights import load_model as load_usm
from workbench.models.files import find_model


def start_model(start: str, device: str = "cpu", **choices: Any) -> tuple[Any, Any]:
    """A model to train and its tokenizer, with the special tokens.

    Args:
        start: folder of a copying model or a USM model, or hub id or folder of a transformers encoder (it gets a copying decoder) or
            encoder-decoder or causal language model (they stay as they are), or a GGUF file of a causal language model, which is
            dequantised.
        choices: fields of `CopyConfig`, where a decoder is made.

    Raises:
        EngineError: it cannot be loaded, or the device is not here.
    """
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    folder = Path(start)
    if is_copy_model(folder):
        copying, tokenizer = load_copy_model(folder)
        return on_device(copying, device), tokenizer
    if is_usm_model(folder):
        usm, tokenizer = load_usm(folder)
        made = new_copy_model(usm.encoder, tokenizer, shapes=usm.config.shapes, **choices)
        take_over(made, usm)
        return on_device(made, device), tokenizer
    target, gguf = _gguf(start)
    try:
        config = AutoConfig.from_pretrained(target, **gguf)
        tokenizer = AutoTokenizer.from_pretrained(target, use_fast=True, **gguf)
        causal = bool(gguf) or is_causal(config)
        kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM if causal else AutoModel
        stored: dict[str, Any] = {**gguf} or {"use_safetensors": True}
        model: Any = kind.from_pretrained(target, attn_implementation="eager", dtype=torch.float32, **stored)
        model = _plain(model, kind) if gguf else model
    except UNLOADABLE as fault:
        raise EngineError(
            f"'{start}' cannot be loaded ({reason(fault)}): name a hub id, a folder with safetensors weights or a .gguf file (extra gguf); `workbench convert` makes them of a pytorch_model.bin."
        ) from None
    if not tokenizer.is_fast:
        raise EngineError(
            f"A tokenizer that knows offsets is needed, but that of '{start}' does not: choose a model with a tokenizer.json."
        )
    if config.is_encoder_decoder or causal:
        if tokenizer.pad_token_id is None:
            tokenizer.add_special_tokens({"pad_token": "<pad>"})
        if add_tokens(tokenizer) or len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
            model.resize_token_embeddings(max(len(tokenizer), model.config.vocab_size), mean_resizing=False)
        return on_device(PromptModel(model) if causal else model, device), tokenizer
    uncased = _ids(tokenizer, "A") == _ids(tokenizer, "a")
    return on_device(new_copy_model(model, tokenizer, shapes=uncased, **choices), device), tokenizer


def _gguf(start: str) -> tuple[str, dict[str, str]]:
    """What transformers is to load, and the argument that names a GGUF file; none where the start is no such file nor a folder of one alone."""
    path = Path(start).expanduser()
    if path.suffix.lower() != ".gguf" and not (path.is_dir() and any(path.glob("*.gguf"))):
        return start, {}
    found = find_model(start)
    return found.target, {} if found.gguf_file is None else {"gguf_file": found.gguf_file}


def _plain(model: Any, kind: Any) -> Any:
    """A model of float32 weights that may be saved, from one that transformers marks as read from GGUF though its weights are dequantised."""
    config = copy.deepcopy(model.config)
    del config.quantization_config
    made = kind.from_config(config, attn_implementation="eager", dtype=torch.float32)
    made.load_state_dict(model.state_dict())
    return made


def take_over(model: CopySeq2Seq, usm: UsmModel) -> None:
    """Start from what a USM model has beside its encoder: shapes of words, kinds of places, and the link from a label to the first piece of a span."""
    size, link = usm.config.head_size, LINKS.index("L2H")
    with torch.no_grad():
        if model.encoder.shape is not None:
            model.encoder.shape.weight.copy_(usm.shape.weight)
        if model.encoder.kind is not None:
            model.encoder.kind.weight.copy_(usm.kind.weight)
        if model.ahead is not None and model.ahead.size == size:
            for mine, theirs, number in ((model.ahead.text, usm.token_sides, 6), (model.ahead.label, usm.label_sides, 0)):  # fmt: skip
                rows = slice(number * size, (number + 1) * size)
                mine.weight.copy_(theirs.weight[rows])
                mine.bias.copy_(theirs.bias[rows])
            model.ahead.bias.copy_(usm.bias[link])


def load_writer(model: str, device: str, who: str, causal: bool = False) -> tuple[Any, Any]:
    """A trained encoder-decoder and its tokenizer, ready to write: a copying model or any of transformers.

    Args:
        model: folder or hub id. who: the engine, for the error. causal: whether a causal language model will do as well.

    Raises:
        EngineError: there is none, its weights are pickled, or its tokenizer knows no offsets.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    folder = Path(model)
    if is_copy_model(folder):
        return load_copy_model(folder, device)
    if folder.is_dir() and not any(folder.glob("*.safetensors")) and any(folder.glob("pytorch_model*.bin")):
        raise EngineError(
            f"'{model}' holds pickled weights, which are not read: make safetensors of them with `workbench convert {model} --out FOLDER`, which shows their licence."
        )
    try:
        config = AutoConfig.from_pretrained(model)
        prompts = causal and is_causal(config)
        if not config.is_encoder_decoder and not prompts:
            raise EngineError(
                f"{who} needs an encoder-decoder, but '{model}' is a model of type '{config.model_type}'."
            )
        tokenizer = AutoTokenizer.from_pretrained(model, use_fast=True)
        kind = AutoModelForCausalLM if prompts else AutoModelForSeq2SeqLM
        net = kind.from_pretrained(model, use_safetensors=True, attn_implementation="eager")
    except (OSError, ValueError, KeyError, ImportError) as fault:
        hint = "check the name; pickled weights are first converted with `workbench convert`"
        raise no_model(who, model, fault, hint) from None
    if not tokenizer.is_fast:
        raise EngineError(
            f"A tokenizer that knows offsets is needed, but that of '{model}' does not: get one with a tokenizer.json."
        )
    net = net.float().to(device).eval()
    return (PromptModel(net).eval() if prompts else net), tokenizer


def _ids(tokenizer: Any, text: str) -> list[int]:
    found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return found


def save_model(folder: Path, model: Any, tokenizer: Any, storage: str = "float32") -> None:
    """Write a model that was trained, of whatever class."""
    if isinstance(model, CopySeq2Seq):
        save_copy_model(folder, model, tokenizer, storage)
    else:
        merged(model.lm if isinstance(model, PromptModel) else model).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
