"""How much memory a model and a run of it will need, said before anything is loaded.

Weights are summed from the safetensors headers (a hub model's over the network, without its weights), a GGUF file's table,
or the parameters of the model built without memory. What a forward pass adds is an estimate, made of the largest tensors
that live at the same time; it leaves out what a kernel allocates for itself, so a tenth is added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.models.families import EXPERT_FIELDS, LAYER_FIELDS, TOP_K_FIELDS
from workbench.models.files import (
    ModelError,
    ModelSource,
    find_model,
    offline,
    read_config,
    tensor_shapes,
    weight_files,
)

if TYPE_CHECKING:
    from workbench.models.options import LoadOptions

GB = 1e9
RESERVE = 1.1  # our own margin for allocator and kernels
# Bytes of one element by the code in a safetensors header.
CODE_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
    "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "I8": 1, "U8": 1, "BOOL": 1, "F4": 0.5,
}  # fmt: skip
FLOAT_CODES = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})
DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
QUANTIZED_BYTES = {"8bit": 1.0, "4bit": 0.56}  # 4 bits, and the scales of blocks of 64


class NotEnoughMemoryError(ModelError):
    """A model does not fit, or ran out of memory."""


@dataclass(frozen=True)
class Workload:
    """What will be run: the shape of the largest batch."""

    batch_size: int = 8  # rows
    max_length: int = 2048  # tokens a row
    generate: int = 0  # new tokens a row


@dataclass(frozen=True)
class MemoryEstimate:
    """Memory a run needs, in bytes.

    Attributes:
        parameters: number of weights stored.
        weights: bytes of the weights in the chosen dtype.
        activations: largest tensors of one forward pass.
        cache: keys and values of generation.
        available: free on the device, None where it cannot be known.
        device: "cpu", "cuda:0", ...
        dtype: what weights are counted in.
        reason: why this device and dtype.
        source: what the weights were read from.
    """

    parameters: int
    weights: int
    activations: int
    cache: int
    available: int | None
    device: str
    dtype: str
    reason: str
    source: str

    @property
    def total(self) -> int:
        return int((self.weights + self.activations + self.cache) * RESERVE)

    @property
    def fits(self) -> bool:
        return self.available is None or self.total <= self.available

    def sentence(self) -> str:
        """The estimate in words."""
        free = "" if self.available is None else f", {size(self.available)} free on {self.device}"
        return (
            f"about {size(self.total)} of memory (weights {size(self.weights)} in {self.dtype}, a batch {size(self.activations + self.cache)}, "
            f"a tenth in reserve{free})"
        )

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "total": self.total, "fits": self.fits}


def size(number: float) -> str:
    """Bytes as "1.2 GB" or "340 MB"."""
    return f"{number / GB:.1f} GB" if number >= GB else f"{number / 1e6:.0f} MB"


def estimate_memory(name: str, options: LoadOptions, workload: Workload | None = None) -> MemoryEstimate:
    """What loading `name` with these options and running this workload will need.

    Args:
        name: folder, GGUF file, embedded model or hub id.
        options: dtype, device, revision and the like, as for `load_model`.
        workload: largest batch; by default 8 rows of 2,048 tokens.

    Raises:
        ModelError: if the model cannot be found or its files cannot be read.
    """
    source = find_model(name, gguf_file=options.gguf_file, revision=options.revision)
    return estimate_source(source, options, workload or Workload())


def estimate_source(
    source: ModelSource, options: LoadOptions, workload: Workload, config: Mapping[str, Any] | None = None
) -> MemoryEstimate:
    """`estimate_memory` of a model that is found already; `config` saves reading it again."""
    from workbench.models.device import choose_device, choose_dtype

    if config is None:
        config = read_config(source, revision=options.revision) or {}
    elements, where = _elements(source, config, options.revision)
    device = choose_device(options.device)
    available = available_memory(device.name if options.device_map is None else "all")
    quantized = bool(config.get("quantization_config")) and source.kind != "gguf"

    def weights_in(dtype: str) -> int:
        if options.quantize is not None:
            return int(sum(elements.values()) * QUANTIZED_BYTES[options.quantize])
        return int(
            sum(
                count * (DTYPE_BYTES[dtype] if code in FLOAT_CODES and not quantized else CODE_BYTES.get(code, 4))
                for code, count in elements.items()
            )
        )

    dtype = choose_dtype(
        options.dtype, device, lambda name: available is None or weights_in(name) * RESERVE <= available
    )
    activations, cache = _batch_bytes(config, workload, DTYPE_BYTES[dtype.name])
    return MemoryEstimate(
        parameters=sum(elements.values()),
        weights=weights_in(dtype.name),
        activations=activations,
        cache=cache,
        available=available,
        device=device.name if options.device_map is None else f"{device.name} and what --device-map adds",
        dtype=options.quantize or ("as stored" if quantized else dtype.name),
        reason=f"{device.reason}; {dtype.reason}",
        source=where,
    )


def _elements(source: ModelSource, config: Mapping[str, Any], revision: str | None) -> tuple[dict[str, int], str]:
    """Number of stored elements by dtype code, and what was read to know it."""
    if source.kind == "gguf":
        return _gguf_elements(source)
    files = weight_files(source.folder) if source.folder is not None else []
    if files:
        totals: dict[str, int] = {}
        for file in files:
            for _, code, count in tensor_shapes(file):
                totals[code] = totals.get(code, 0) + count
        return totals, "safetensors headers"
    if source.kind == "hub" and source.repo is not None and not offline():
        from huggingface_hub import get_safetensors_metadata

        try:
            found = get_safetensors_metadata(source.repo, revision=revision)
            return {
                str(code): int(count) for code, count in found.parameter_count.items()
            }, "safetensors headers on the hub"
        except Exception:  # whatever the network did: the configuration tells nearly the same
            pass
    return {"F32": _config_parameters(config)}, "the configuration"


def _gguf_elements(source: ModelSource) -> tuple[dict[str, int], str]:
    """A GGUF file is expanded to the chosen dtype when transformers loads it, so its elements count as floats."""
    from importlib.util import find_spec

    if find_spec("gguf") is None:
        raise ModelError(
            "Reading GGUF files needs the package gguf: install it with `pip install 'unified-workbench[gguf]'`."
        )
    if source.folder is None or source.gguf_file is None:
        return {"F32": 0}, "nothing: the GGUF file is not here yet"
    from gguf import GGUFReader

    try:
        reader = GGUFReader(source.folder / source.gguf_file)
        return {"F32": sum(int(tensor.n_elements) for tensor in reader.tensors)}, "GGUF tensor table"
    except (ValueError, OSError, IndexError, KeyError) as fault:
        raise ModelError(f"'{source.gguf_file}' is not a whole GGUF file ({fault}): download it again.") from fault


def _config_parameters(config: Mapping[str, Any]) -> int:
    """Parameters of the model that a configuration describes, built without memory; 0 where it cannot be built."""
    import torch
    from transformers import AutoConfig, AutoModel

    try:
        fields = {key: value for key, value in config.items() if key != "model_type"}
        with torch.device("meta"):
            model = AutoModel.from_config(AutoConfig.for_model(config["model_type"], **fields))
    except Exception:
        return 0
    return sum(parameter.numel() for parameter in model.parameters())


def _number(config: Mapping[str, Any], *names: str) -> int | None:
    """The first whole number by one of these names, in the configuration or its text part."""
    for part in (
        config.get("text_config"),
        config,
        *(value for value in config.values() if isinstance(value, Mapping)),
    ):
        if isinstance(part, Mapping):
            for name in names:
                value = part.get(name)
                if isinstance(value, int) and not isinstance(value, bool):
                    return value
    return None


def _batch_bytes(config: Mapping[str, Any], workload: Workload, element: int) -> tuple[int, int]:
    """Bytes of (one forward pass, the key-value cache) for a decoder of this configuration."""
    width = _number(config, "hidden_size", "d_model", "n_embd") or 4096
    layers = _number(config, *LAYER_FIELDS) or 32
    heads = _number(config, "num_attention_heads", "n_heads", "encoder_attention_heads") or max(width // 128, 1)
    kv_heads = _number(config, "num_key_value_heads") or heads
    head = _number(config, "head_dim") or max(width // heads, 1)
    inner = _number(config, "moe_intermediate_size", "intermediate_size", "ffn_hidden_size") or 4 * width
    top_k = _number(config, *TOP_K_FIELDS) or 2
    experts = _number(config, *EXPERT_FIELDS) or 8
    vocabulary = _number(config, "vocab_size") or 0
    tokens = workload.batch_size * workload.max_length
    # Residual, normed copy, queries, keys, values and output; a gathered input, gate-up and output for each choice; logits of
    # the router; and the vocabulary once a row (only the last position's logits are asked for where the model allows it).
    a_token = 8 * width + top_k * (2 * width + 3 * inner) + 4 * experts
    activations = tokens * a_token * element + workload.batch_size * vocabulary * 4
    cache = 0
    if workload.generate:
        cache = 2 * layers * workload.batch_size * (workload.max_length + workload.generate) * kv_heads * head * element
    return activations, cache


def available_memory(device: str) -> int | None:
    """Bytes free on a device ("cpu", "cuda:0"; "all" adds up processor and every GPU), or None where it is unknown."""
    if device == "all":
        import torch

        return (host_memory() or 0) + sum(
            torch.cuda.mem_get_info(index)[0] for index in range(torch.cuda.device_count())
        )
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(torch.device(device))[0])
    return host_memory()


def host_memory() -> int | None:
    """Free main memory, not more than what the container's limit leaves."""
    import psutil

    free = int(psutil.virtual_memory().available)
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        base = Path("/sys/fs/cgroup")
        try:
            most = int((base / limit).read_text(encoding="ascii"))
            now = int((base / used).read_text(encoding="ascii"))
        except (OSError, ValueError):  # no container, or no limit ("max")
            continue
        free = min(free, max(most - now, 0))
    return free
