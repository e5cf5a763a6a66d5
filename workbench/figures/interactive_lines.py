"""Lines over sites for the page, drawn with Plotly from `workbench.figures.lines`."""

from __future__ import annotations

from html import escape

import numpy as np
import plotly.graph_objects as go

from workbench.figures.interactive_heatmap import legend_line, legend_square
from workbench.figures.lines import Line, SiteLines, strand_runs
from workbench.figures.style import ABSENT_COLOUR, FEW_COLOUR, NEUTRAL, site_axis, site_labels, site_places, thin_ticks

RING = "#7A7F87"  # a ring that is seen on a light and on a dark page


def site_lines(drawn: SiteLines, *, height: int = 460) -> go.Figure:
    """Every line with what it has: band, dotted chance, bars, points (grey: few tokens or within noise, ringed: more)."""
    places, breaks = site_places(drawn.strand)
    figure = go.Figure()
    for line, offset in zip(drawn.lines, drawn.offsets(), strict=True):
        _band(figure, line, places, drawn)
        _line(figure, line, places, offset)
    if any(line.few.any() for line in drawn.lines):
        figure.add_trace(legend_square("within noise" if drawn.zero else "few tokens", FEW_COLOUR))
    for gap in breaks:
        figure.add_vline(x=gap, line={"color": ABSENT_COLOUR, "width": 1})
    if drawn.zero:
        figure.add_hline(y=0, line={"color": NEUTRAL, "width": 1, "dash": "dot"})
    labels = site_labels(drawn.sites)
    shown = thin_ticks(len(labels), 30)
    figure.update_layout(
        height=height,
        margin={"l": 70, "r": 20, "t": 40, "b": 70},
        hovermode="closest",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        xaxis={
            "title": {
                "text": f"{escape(site_axis(drawn.sites))}<br><span style='font-size:12px'>{escape(drawn.note)}</span>"
            },
            "tickvals": places[shown].tolist(),
            "ticktext": [escape(labels[at]) for at in shown],
            "range": [-0.5, float(places.max()) + 0.5],
            "zeroline": False,
            "showgrid": False,
        },
        yaxis={"title": escape(drawn.title), "zeroline": False},
    )
    return figure


def _band(figure: go.Figure, line: Line, places: np.ndarray, drawn: SiteLines) -> None:
    if line.null_low is None or line.null_high is None:
        return
    for part in strand_runs(drawn.strand):
        part = part[np.isfinite(line.null_low[part])]
        if not len(part):
            continue
        # A band at a single site needs a width to be seen.
        x = places[part].astype(float) if len(part) > 1 else np.array([places[part[0]] - 0.25, places[part[0]] + 0.25])
        high, low = (
            values[part] if len(part) > 1 else np.repeat(values[part], 2) for values in (line.null_high, line.null_low)
        )
        figure.add_trace(
            go.Scatter(
                x=np.concatenate([x, x[::-1]]),
                y=np.concatenate([high, low[::-1]]),
                fill="toself",
                fillcolor=line.style.colour,
                opacity=drawn.band_opacity,
                line={"width": 0},
                mode="lines",
                hoverinfo="skip",
                name=f"{escape(line.name)}: null",
                legendgroup=line.name,
                showlegend=False,
            )
        )


def _line(figure: go.Figure, line: Line, places: np.ndarray, offset: float) -> None:
    name, style = escape(line.name), line.style
    shared = {"legendgroup": line.name, "hoverinfo": "skip", "showlegend": False, "mode": "lines"}
    if line.chance is not None:
        y, x = with_gaps(line.chance, places)
        dotted = {"color": style.colour, "dash": "dot", "width": 1}
        figure.add_trace(go.Scatter(x=x, y=y, line=dotted, name="chance", **shared))
    y, x = with_gaps(line.value, places)
    figure.add_trace(
        go.Scatter(
            x=x + offset, y=y, line={"color": style.colour, "dash": style.dash, "width": 1.5}, name=name, **shared
        )
    )
    figure.add_trace(legend_line(name, style, line.name))
    error = None
    if line.low is not None and line.high is not None:
        error = {
            "type": "data",
            "symmetric": False,
            "array": np.maximum(line.high - line.value, 0),
            "arrayminus": np.maximum(line.value - line.low, 0),
            "width": 2,
            "thickness": 1,
            "color": style.colour,
        }
    ring = np.zeros(len(places), dtype=bool) if line.ring is None else line.ring
    says = [escape(text) for text in line.says] or [_hover(line, at) for at in range(len(places))]
    figure.add_trace(
        go.Scatter(
            x=places + offset,
            y=line.value,
            mode="markers",
            name=name,
            legendgroup=line.name,
            showlegend=False,
            marker={
                "size": 7,
                "symbol": style.marker,
                "color": np.where(line.few, FEW_COLOUR, style.colour).tolist(),
                "line": {"width": np.where(ring, 2, 0).tolist(), "color": RING},
            },
            error_y=error,
            text=[wrapped(text) for text in says],
            hovertemplate="%{text}<extra></extra>",
        )
    )


def _hover(line: Line, at: int) -> str:
    value = line.value[at]
    said = f"<b>{escape(line.name)}</b><br>" + ("no number" if np.isnan(value) else f"{value:.3f}")
    if line.low is not None and line.high is not None and not np.isnan(line.low[at]):
        said += f" ({line.low[at]:.3f} to {line.high[at]:.3f})"
    if line.chance is not None and not np.isnan(line.chance[at]):
        said += f", chance {line.chance[at]:.3f}"
    return said + ("" if line.n is None else f"<br>n = {int(line.n[at]):,}")


def wrapped(text: str, width: int = 70) -> str:
    """A sentence in lines of about `width` signs, so that a hover stays inside the window."""
    out, length = [], 0
    for word in text.split(" "):
        if length + len(word) > width:
            out.append("<br>")
            length = 0
        out.append(word + " ")
        length += len(word) + 1
    return "".join(out).strip()


def with_gaps(values: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values on every place of the axis, NaN at the empty places between strands, and the places."""
    x = np.arange(int(places.max()) + 1, dtype=np.float64)
    y = np.full(len(x), np.nan)
    y[places] = values
    return y, x
