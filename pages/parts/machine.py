"""What this machine offers, found out without loading torch."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess

import psutil
import streamlit as st

from pages.parts.words import count, size

QUERY = ("--query-gpu=name,memory.free", "--format=csv,noheader,nounits")


@st.cache_data(ttl=30, max_entries=1, show_spinner=False)
def machine_line() -> str:
    """One line: graphics devices with free memory, processor cores, free memory of the machine."""
    memory = psutil.virtual_memory()
    devices = _nvidia()
    if devices:
        first = " · ".join(devices)
    elif platform.system() == "Darwin" and platform.machine() == "arm64":
        first = "Apple graphics (Metal)"
    else:
        first = "no graphics device found, models run on the processor"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{first} · {count(cores, 'processor core')} · {size(memory.available)} of {size(memory.total)} memory free"


def _nvidia() -> list[str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        answer = subprocess.run([program, *QUERY], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    found = []
    for line in answer.stdout.splitlines():
        name, _, free = line.rpartition(",")
        if name.strip() and free.strip().isdigit():
            found.append(f"{name.strip()}, {size(int(free) * 2**20)} free")
    return found
