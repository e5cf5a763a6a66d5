"""Look at this machine and say what would stop the workbench, and what to do about it."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from workbench.capture.errors import WorkbenchError, reason

OK, WARN, FAIL = "ok", "warn", "fail"
NEEDED = (
    "torch",
    "transformers",
    "streamlit",
    "plotly",
    "matplotlib",
    "pyarrow",
    "safetensors",
    "tokenizers",
    "pydantic",
)
OPTIONAL = {
    "av": "sounds and clips: pip install 'unified-workbench[media]'",
    "gguf": "GGUF files: pip install 'unified-workbench[gguf]'",
}
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
LOW_MEMORY, LOW_DISK = 2e9, 1e9  # bytes


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what.
        status: "ok", "warn" (works without it, or may get tight) or "fail".
        detail: what was found.
        advice: what to do; empty where all is well.
    """

    name: str
    status: str
    detail: str
    advice: str = ""

    def to_json(self) -> dict[str, str]:
        return asdict(self)


def examine(port: int = 8501) -> list[Finding]:
    """Every finding, in a fixed order; a look that itself fails is a finding too."""
    looks: list[tuple[str, Callable[[], list[Finding]]]] = [
        ("python", _python),
        ("packages", _packages),
        ("device", _device),
        ("memory", _memory),
        ("disk", _disk),
        ("library", _library),
        ("embedded model", _embedded),
        ("ready capture", _captures),
        ("browser for tests", _chromium),
        ("port", lambda: [port_finding(port)]),
    ]
    found: list[Finding] = []
    for name, look in looks:
        try:
            found += look()
        except Exception as fault:  # the doctor reports what breaks, whatever it is
            found.append(
                Finding(
                    name,
                    FAIL,
                    f"could not be looked at ({type(fault).__name__}: {reason(fault)})",
                    "install again with `make app`",
                )
            )
    return found


def _python() -> list[Finding]:
    enough = sys.version_info >= (3, 11)
    advice = "" if enough else "use Python 3.11 or newer: `make app PYTHON=python3.12`"
    return [
        Finding(
            "python",
            OK if enough else FAIL,
            f"{platform.python_version()} on {platform.system()} {platform.machine()}",
            advice,
        )
    ]


def _packages() -> list[Finding]:
    found = []
    for name in NEEDED:
        try:
            found.append(Finding(name, OK, version(name)))
        except PackageNotFoundError:
            found.append(Finding(name, FAIL, "not installed", "install again with `make app`"))
    for name, what in OPTIONAL.items():
        try:
            found.append(Finding(name, OK, version(name)))
        except PackageNotFoundError:
            found.append(Finding(name, WARN, "not installed", f"needed only for {what}"))
    return found


def _device() -> list[Finding]:
    import torch

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info(0)
        return [
            Finding("device", OK, f"{torch.cuda.get_device_name(0)}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free")
        ]
    if torch.backends.mps.is_available():
        return [Finding("device", OK, "Apple GPU")]
    threads = torch.get_num_threads()
    return [Finding("device", OK, f"processor, {threads} threads (torch sees no GPU)")]


def _memory() -> list[Finding]:
    from workbench.models.memory import host_memory

    free = host_memory() or 0
    low = free < LOW_MEMORY
    return [
        Finding(
            "memory",
            WARN if low else OK,
            f"{free / 1e9:.1f} GB free",
            "close other programs before loading a model" if low else "",
        )
    ]


def _disk() -> list[Finding]:
    from workbench.capture.library import default_root

    place = _existing(default_root())
    free = shutil.disk_usage(place).free
    low = free < LOW_DISK
    return [
        Finding("disk", WARN if low else OK, f"{free / 1e9:.1f} GB free for captures", "free some space" if low else "")
    ]


def _existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _library() -> list[Finding]:
    from workbench.capture.library import HOME_VARIABLE, Library, default_root

    root = default_root()
    place = _existing(root)
    advice = f"make it writable, or name another folder in {HOME_VARIABLE}"
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as fault:
        return [Finding("library", FAIL, f"'{root}' cannot be written ({fault.strerror})", advice)]
    broken = [entry.name for entry in Library().entries() if entry.fault]
    if broken:
        return [
            Finding(
                "library",
                WARN,
                f"{len(broken)} broken captures, '{broken[0]}' first",
                "`workbench info` says what is wrong; delete them on Start",
            )
        ]
    return [Finding("library", OK, f"'{root}' can be written")]


def _embedded() -> list[Finding]:
    from workbench.models.files import embedded_models, tensor_shapes, weight_files

    found = embedded_models()
    if not found:
        return [
            Finding(
                "embedded model",
                FAIL,
                "none in sample_data/checkpoints",
                "get the whole repository, sample_data included",
            )
        ]
    try:
        for model in found:
            for file in weight_files(model.path):
                list(tensor_shapes(file))
    except WorkbenchError as fault:
        return [Finding("embedded model", FAIL, str(fault), "get the repository again")]
    return [Finding("embedded model", OK, ", ".join(f"{model.name} ({model.bytes / 1e6:.1f} MB)" for model in found))]


def _captures() -> list[Finding]:
    from workbench.capture.read import read_manifest
    from workbench.models.files import checkout

    root = checkout()
    folders = sorted((root / "sample_data" / "captures").glob("*/manifest.json")) if root is not None else []
    if not folders:
        return [
            Finding(
                "ready capture",
                WARN,
                "none in sample_data/captures",
                "make one with `workbench capture`, or get the whole repository",
            )
        ]
    try:
        for file in folders:
            read_manifest(file.parent)
    except WorkbenchError as fault:
        return [Finding("ready capture", FAIL, str(fault), "get the repository again")]
    return [Finding("ready capture", OK, ", ".join(file.parent.name for file in folders))]


def _chromium() -> list[Finding]:
    given = os.environ.get("CHROMIUM")
    found = (
        given
        if given and Path(given).is_file()
        else next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    )
    if found is None:
        return [
            Finding(
                "browser for tests",
                WARN,
                "no Chromium",
                "needed only by the tests in tests/browser: install the package chromium",
            )
        ]
    return [Finding("browser for tests", OK, found)]


def port_finding(port: int) -> Finding:
    """Whether the dashboard's usual port is free."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return Finding("port", WARN, f"{port} is taken", "`workbench app` will take the next free one")
    return Finding("port", OK, f"{port} is free")


def summary(findings: list[Finding]) -> dict[str, Any]:
    """The findings as one JSON object."""
    counts = {status: sum(finding.status == status for finding in findings) for status in (OK, WARN, FAIL)}
    return {"healthy": counts[FAIL] == 0, **counts, "findings": [finding.to_json() for finding in findings]}
