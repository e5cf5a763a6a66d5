"""Load a model by hub id, folder or GGUF file, with its tokenizer or processor, for routing to be recorded.

Choices: safetensors and GGUF only, never a pickle; remote code stays off; the class that the checkpoint was saved as, else
the Auto class of its type; a dense model is refused before its weights are read; automatic choices say why.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from workbench.capture.schema import ModelInfo
from workbench.models.device import choose_device
from workbench.models.files import (
    ModelError,
    ModelSource,
    check_config,
    check_weights,
    find_model,
    read_config,
)
from workbench.models.memory import MemoryEstimate, NotEnoughMemoryError, Workload, estimate_source
from workbench.models.options import QUANTIZE, LoadOptions, hub_arguments, load_error
from workbench.models.processors import load_processor

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

# Auto classes in the order in which a type's name is looked for; the last takes every model that transformers has.
AUTO_CLASSES = (
    "AutoModelForImageTextToText",
    "AutoModelForMultimodalLM",
    "AutoModelForSeq2SeqLM",
    "AutoModelForCausalLM",
    "AutoModelForTokenClassification",
    "AutoModelForKeypointDetection",
    "AutoModel",
)


# Model types of the workbench itself -> the module that makes transformers know them.
OWN_TYPES = {"unified_omni": "workbench.unified"}


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to run, in evaluation mode.

    Attributes:
        model: the transformers model.
        processor: its processor if it takes more than text, else its tokenizer; None if it has neither.
        tokenizer: the tokenizer, also where it is part of the processor; None if there is none.
        info: what the capture will say about it.
        reason: why this device, dtype and class.
        estimate: the memory estimate that was made before.
    """

    model: PreTrainedModel
    processor: Any
    tokenizer: Any
    info: ModelInfo
    reason: str
    estimate: MemoryEstimate

    @property
    def is_encoder_decoder(self) -> bool:
        return bool(getattr(self.model.config, "is_encoder_decoder", False))

    @property
    def is_unified(self) -> bool:
        """Whether this is the workbench's own model, which takes pictures, clips and sounds by tokenizers of its own."""
        return self.info.family == "unified_omni"

    @property
    def modalities(self) -> frozenset[str]:
        """What the processor takes besides text: "image", "audio", "video"."""
        kinds = {"image": "image_processor", "audio": "feature_extractor", "video": "video_processor"}
        found = {kind for kind, part in kinds.items() if getattr(self.processor, part, None) is not None}
        if self.processor is not None and self.tokenizer is None and hasattr(self.processor, "image_mean"):
            found.add("image")  # an image processor by itself
        return frozenset(found)


def load_model(
    name: str,
    options: LoadOptions | None = None,
    progress: Callable[[str], None] | None = None,
    *,
    workload: Workload | None = None,
) -> LoadedModel:
    """Find, check and load a model.

    Args:
        name: folder, GGUF file, name of an embedded model, or hub id.
        options: see LoadOptions.
        progress: is told in words what is being done.
        workload: largest batch that will be run, for the memory estimate.

    Raises:
        ModelError: if it is dense, needs remote code, has only pickled weights, or cannot be loaded.
        NotEnoughMemoryError: if the estimate says that it will not fit (and not `options.force`).
    """
    options = options or LoadOptions()
    say = progress or (lambda _: None)
    source = find_model(name, gguf_file=options.gguf_file, revision=options.revision)
    _check_quantize(options)
    say(f"Reading the configuration of {source.name}")
    raw = read_config(source, revision=options.revision)
    if raw is not None:
        know_own_type(raw)
        check_config(source.name, raw)
    check_weights(source)
    config = _config(source, options)
    kind, why = model_class(config)
    refuse_dense(source.name, config, kind)
    say(f"Estimating the memory of {source.name}")
    estimate = estimate_source(source, options, workload or Workload(), raw if raw is not None else config.to_dict())
    if not estimate.fits and not options.force:
        raise NotEnoughMemoryError(
            f"'{source.name}' needs {estimate.sentence()}: use a smaller --batch-size or --max-length, --dtype bfloat16, --quantize 4bit or "
            "--device-map auto, or --force if you know better."
        )
    say(f"Loading {source.name}: {size_note(estimate)}")
    model = _load_weights(source, options, config, kind, estimate)
    processor, tokenizer = load_processor(source, options)
    parameters = estimate.parameters or sum(parameter.numel() for parameter in model.parameters())
    info = ModelInfo(
        id=source.name,
        revision=getattr(model.config, "_commit_hash", None) or options.revision,
        family=str(getattr(model.config, "model_type", "unknown")),
        architecture=type(model).__name__,
        dtype=options.quantize or str(getattr(model, "dtype", estimate.dtype)).removeprefix("torch."),
        device=str(getattr(model, "device", estimate.device)),
        parameters=parameters,
    )
    return LoadedModel(model, processor, tokenizer, info, f"{estimate.reason}; {why}", estimate)


def size_note(estimate: MemoryEstimate) -> str:
    """ "7.2 million weights, about 40 MB of memory (...)", for a progress line."""
    return f"{estimate.parameters / 1e6:,.1f} million weights, {estimate.sentence()}"


def _check_quantize(options: LoadOptions) -> None:
    if options.quantize is None:
        return
    if options.quantize not in QUANTIZE:
        raise ModelError(f"--quantize must be 8bit or 4bit, not '{options.quantize}'.")
    if find_spec("bitsandbytes") is None:
        raise ModelError(
            "--quantize needs the package bitsandbytes, which is not installed: install it with `pip install 'unified-workbench[quantize]'`."
        )


def know_own_type(raw: Mapping[str, Any]) -> None:
    """Register a model of the workbench itself with transformers, where the configuration is of one."""
    module = OWN_TYPES.get(str(raw.get("model_type")))
    if module is not None:
        import_module(module)


def _config(source: ModelSource, options: LoadOptions) -> PreTrainedConfig:
    from transformers import AutoConfig

    if source.kind == "gguf" and find_spec("gguf") is None:
        raise ModelError(
            "Reading GGUF files needs the package gguf: install it with `pip install 'unified-workbench[gguf]'`."
        )
    try:
        return AutoConfig.from_pretrained(source.target, **hub_arguments(source, options))
    except Exception as fault:
        raise load_error(source, fault, "configuration") from fault


def model_class(config: PreTrainedConfig) -> tuple[Any, str]:
    """The class to load a configuration's model with, and the reason.

    The class that the checkpoint was saved as comes first: one type may be a text model and a part of a multimodal one.

    Raises:
        ModelError: if transformers has no model for it.
    """
    import transformers

    for name in getattr(config, "architectures", None) or ():
        found = getattr(transformers, name, None)
        if inspect.isclass(found) and issubclass(found, transformers.PreTrainedModel):
            return found, f"class {name}, which the checkpoint was saved as"
    for name in AUTO_CLASSES:
        auto = getattr(transformers, name, None)
        if auto is not None and type(config) in auto._model_mapping:
            found = auto._model_mapping[type(config)]
            found = found[0] if isinstance(found, tuple) else found
            return found, f"class {found.__name__}, which {name} gives for the type '{config.model_type}'"
    raise ModelError(
        f"transformers has no model class for the type '{config.model_type}': check `architectures` in its config.json, or upgrade transformers."
    )


def refuse_dense(name: str, config: PreTrainedConfig, kind: Any) -> None:
    """Build the model without memory and look for routers, so that a dense model is refused before its weights are read.

    Raises:
        ModelError: if there is no router, or one that no adapter knows (the probe's own sentence).
    """
    import torch

    from probes import NoExpertsError, find_sites

    try:
        with torch.device("meta"):
            model = kind._from_config(config)
    except Exception:  # some models cannot be built without memory: the probe will judge the loaded one
        return
    try:
        found = find_sites(model)
    except NoExpertsError as fault:
        raise dense_error(name, config) from fault
    if not found:
        raise dense_error(name, config)


def dense_error(name: str, config: PreTrainedConfig) -> ModelError:
    """The sentence for a model without experts."""
    return ModelError(
        f"'{name}' (type '{config.model_type}') is a dense model, it has no experts to watch: choose a mixture-of-experts model, "
        "`workbench models` lists those at hand and the families known."
    )


def _device_map(options: LoadOptions) -> str | dict[str, Any] | None:
    if options.device_map is None or not options.device_map.lstrip().startswith("{"):
        return options.device_map
    try:
        value = json.loads(options.device_map)
    except ValueError as fault:
        raise ModelError(
            f"--device-map must be 'auto', 'balanced', 'sequential' or a JSON object module -> device ({fault})."
        ) from fault
    return dict(value)


def _load_weights(
    source: ModelSource, options: LoadOptions, config: PreTrainedConfig, kind: Any, estimate: MemoryEstimate
) -> PreTrainedModel:
    import torch

    arguments: dict[str, Any] = {**hub_arguments(source, options), "config": config, "output_loading_info": True}
    if source.gguf_file is None:
        arguments["use_safetensors"] = True
    device = choose_device(options.device)
    mapping = _device_map(options)
    if options.quantize is not None:
        from transformers import BitsAndBytesConfig

        compute = torch.bfloat16 if device.name != "cpu" else torch.float32
        arguments["quantization_config"] = BitsAndBytesConfig(
            load_in_8bit=options.quantize == "8bit",
            load_in_4bit=options.quantize == "4bit",
            bnb_4bit_compute_dtype=compute,
        )
        mapping = mapping or {"": device.name}
    elif not getattr(config, "quantization_config", None):
        arguments["dtype"] = getattr(torch, estimate.dtype)
    if mapping is not None:
        arguments["device_map"] = mapping
    try:
        model, loading = kind.from_pretrained(source.target, **arguments)
        if mapping is None:
            model = model.to(device.name)
    except Exception as fault:
        raise load_error(source, fault, "model") from fault
    _check_missing(source, loading)
    return model.eval()


def _check_missing(source: ModelSource, loading: Mapping[str, Any]) -> None:
    """Weights that were not in the files are random: their routing would mean nothing."""
    missing = sorted(loading.get("missing_keys", ()))
    if missing:
        raise ModelError(
            f"The files of '{source.name}' lack {len(missing)} of the model's tensors ({missing[0]} first), which would be filled with random "
            "numbers: download the model again, or load the class that it was saved as."
        )
