"""Which device and which number format, and why: an automatic choice always returns its reason."""

from __future__ import annotations

import platform
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

from workbench.models.files import ModelError

DTYPES = {
    "float32": "float32", "fp32": "float32", "f32": "float32",
    "bfloat16": "bfloat16", "bf16": "bfloat16",
    "float16": "float16", "fp16": "float16", "half": "float16",
}  # fmt: skip


class Choice(NamedTuple):
    name: str
    reason: str


def choose_device(wish: str) -> Choice:
    """The device to load on.

    Args:
        wish: "auto", "cpu", "cuda", "cuda:N" or "mps".

    Raises:
        ModelError: if that device is not here.
    """
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wish == "auto":
        if gpus:
            return Choice("cuda:0", f"device cuda:0, because this machine has {gpus} GPU{'s' if gpus > 1 else ''}")
        if torch.backends.mps.is_available():
            return Choice("mps", "device mps, because this machine has an Apple GPU")
        return Choice("cpu", "device cpu, because torch sees no GPU here")
    if wish == "cpu":
        return Choice("cpu", "device cpu, as asked")
    kind, _, index = wish.partition(":")
    if kind == "cuda" and (not index or index.isdigit()):
        if not gpus:
            raise ModelError(
                f"--device {wish} asks for a GPU, but torch sees none here: use --device cpu, or install a CUDA build of torch."
            )
        if int(index or 0) >= gpus:
            raise ModelError(
                f"--device {wish} asks for GPU number {index}, but the last of the {gpus} here is cuda:{gpus - 1}."
            )
        return Choice(f"cuda:{int(index or 0)}", f"device {wish}, as asked")
    if wish == "mps":
        if not torch.backends.mps.is_available():
            raise ModelError("--device mps asks for an Apple GPU, but torch sees none here: use --device cpu.")
        return Choice("mps", "device mps, as asked")
    raise ModelError(f"--device must be auto, cpu, cuda, cuda:N or mps, not '{wish}'.")


def choose_dtype(wish: str, device: Choice, fits: Callable[[str], bool]) -> Choice:
    """The number format of the weights.

    Args:
        wish: "auto" or a format's name.
        device: where the model goes.
        fits: whether the weights fit there in a given format.

    Raises:
        ModelError: for an unknown name.
    """
    if wish != "auto":
        if wish not in DTYPES:
            raise ModelError(f"--dtype must be auto, float32, bfloat16 or float16, not '{wish}'.")
        return Choice(DTYPES[wish], f"dtype {DTYPES[wish]}, as asked")
    if device.name.startswith("cuda"):
        import torch

        if torch.cuda.is_bf16_supported():
            return Choice("bfloat16", "dtype bfloat16, because GPUs run it fastest and most models were trained in it")
        return Choice("float16", "dtype float16, because this GPU has no bfloat16")
    if device.name == "mps":
        return Choice("float16", "dtype float16, because Apple GPUs run it fastest")
    if fits("float32") or not fits("bfloat16"):
        return Choice(
            "float32", "dtype float32, because CPUs run it fastest and near-ties between experts are told apart"
        )
    return Choice("bfloat16", "dtype bfloat16, because float32 does not fit into memory")


def arithmetic(device: str, bf16: bool) -> str:
    """ "bfloat16" where it was asked for and `device` ("cpu", "cuda:0") computes in it, else "float32".

    A CPU without such instructions (AVX2 only, say) works through bfloat16 number by number, some fifty times slower than float32. An x86 CPU that has them but
    no matrix unit for them (AMX) multiplies matrices more slowly than in float32, as measured on a Xeon with AVX512-BF16: 90 GFLOP/s a core against 160.
    """
    import torch

    if not bf16:
        return "float32"
    kind = device.split(":")[0]
    if kind == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    # torch's own questions: the first before it hands bfloat16 to oneDNN, the second before it sets up the matrix unit.
    quick = kind == "cpu" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    if quick and platform.machine().lower() in ("x86_64", "amd64"):
        quick = torch.cpu._is_amx_tile_supported()
    return "bfloat16" if quick else "float32"


def autocast(device: str, bf16: bool) -> AbstractContextManager[object]:
    """What training computes in: see `arithmetic`; weights, moments and losses stay float32."""
    import torch

    quick = arithmetic(device, bf16) == "bfloat16"
    return torch.autocast(device.split(":")[0], torch.bfloat16) if quick else nullcontext()


def use_threads(threads: int | None) -> None:
    """Compute with so many CPU threads; None or 0: as many as torch takes by itself."""
    if threads:
        import torch

        torch.set_num_threads(threads)
