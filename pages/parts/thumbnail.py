"""The small picture on a card: layers down, experts across, colour by load against the even share, all groups together."""

from __future__ import annotations

import io

import numpy as np
import streamlit as st
from PIL import Image

from workbench import session
from workbench.capture import Capture, CaptureError
from workbench.figures.style import DIVERGING

WIDTH, HEIGHT = 384, 144  # pixels; cards are about as wide
RANGE = 2.0  # log2 of load / even share at the ends of the scale: a quarter and four times
_MASKED = (128, 128, 128, 60)


@st.cache_data(max_entries=256, show_spinner=False)
def thumbnail(place_id: str, stamp: str) -> bytes | None:
    """PNG of a capture at hand, or None if its tables cannot be read."""
    place = session.find(place_id)
    if place is None or place.fault is not None:
        return None
    try:
        return draw(session.open_capture(place))
    except CaptureError:
        return None


def draw(capture: Capture) -> bytes:
    """PNG of the heat map of all groups together."""
    load = capture.count.sum(axis=1).astype(np.float64)  # [S, E]
    mask = capture.expert_mask
    even = load.sum(axis=1, keepdims=True) / mask.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        level = np.log2(load / even)
    place = np.clip((np.nan_to_num(level, nan=0.0, neginf=-RANGE, posinf=RANGE) + RANGE) / (2 * RANGE), 0, 1)
    scale = np.array([_rgb(colour) for colour in DIVERGING], dtype=np.float64)
    stops = np.linspace(0, 1, len(DIVERGING))
    pixels = np.empty((*load.shape, 4), dtype=np.uint8)
    for channel in range(3):
        pixels[..., channel] = np.interp(place, stops, scale[:, channel]).round()
    pixels[..., 3] = 255
    pixels[~mask | (even <= 0)] = _MASKED
    image = Image.fromarray(pixels, "RGBA").resize(
        (WIDTH, HEIGHT), Image.Resampling.NEAREST if _coarse(load) else Image.Resampling.BOX
    )
    sink = io.BytesIO()
    image.save(sink, format="PNG", optimize=True)
    return sink.getvalue()


def _coarse(load: np.ndarray) -> bool:
    return load.shape[0] <= HEIGHT and load.shape[1] <= WIDTH


def _rgb(colour: str) -> tuple[int, int, int]:
    value = colour.lstrip("#")
    return int(value[0:2], 16), int(value[2:4], 16), int(value[4:6], 16)
