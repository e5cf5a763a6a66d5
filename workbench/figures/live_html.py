"""A live run as one HTML file that replays it: no server, no network, no other file.

Choices made here:
- All data stands in one JSON block in which "<", ">" and "&" are written as escapes, and every text reaches the page as text; a
  content policy forbids requests of any kind.
- Experts and weights are packed as numbers of two bytes in base64: 2,000 tokens of 60 layers and 8 choices take 5 MB.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from workbench.analysis.trace import NO_EXPERT, Trace
from workbench.analysis.words import site_title
from workbench.capture import CaptureError
from workbench.figures.live_script import STRIP_CSS, STRIP_JS
from workbench.figures.style import DIVERGING, site_labels

MAX_CHOICES = 8_000_000  # token x site x choice over all sequences: about 45 MB of file
NO_CODE = 0xFFFF  # stands for NO_EXPERT in the file
LIMIT = 2  # half range of the heat map in log2 of load over even load, as on the page


def live_html(traces: Sequence[Trace], about: Mapping[str, str], title: str = "Live run") -> str:
    """The file.

    Args:
        traces: one sequence, or two of the same model side by side.
        about: what is said of the run in its head: name -> value, in order (model, device, sampling, ...).
        title: of the file.

    Raises:
        CaptureError: if there is no token, or more than a browser would hold.
    """
    traces = [trace for trace in traces if len(trace)]
    if not traces:
        raise CaptureError(
            "A run that has read at least its prompt was expected, but it holds no token: let it read first."
        )
    size = sum(trace.experts.size for trace in traces)
    if size > MAX_CHOICES:
        raise CaptureError(
            f"A run of at most {MAX_CHOICES:,} choices fits into one file, but this one has {size:,}: keep it as a capture instead."
        )
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in about.items())
    data = {
        "sites": _sites(traces[0]),
        "colours": list(DIVERGING),
        "limit": LIMIT,
        "runs": [_packed(one) for one in traces],
    }
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        "script-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>{_CSS}{STRIP_CSS}</style>\n</head>\n<body>\n<main>\n"
        f'<h1>{escape(title)}</h1>\n<dl>{rows}</dl>\n{_CONTROLS}\n<div id="runs"></div>\n'
        f'<p class="note">{escape(_NOTE)}</p>\n</main>\n'
        f'<script type="application/json" id="data">{_json(data)}</script>\n<script>{STRIP_JS}{_JS}</script>\n</body>\n</html>\n'
    )


def _sites(trace: Trace) -> list[dict[str, Any]]:
    labels = site_labels(trace.sites)
    return [
        {
            "title": site_title(site),
            "label": label,
            "experts": site.experts,
            "real": site.experts - site.identity_experts,
        }
        for site, label in zip(trace.sites, labels, strict=True)
    ]


def _packed(trace: Trace) -> dict[str, Any]:
    top = float(trace.weights.max(initial=0.0)) or 1.0
    codes = np.where(trace.experts == NO_EXPERT, NO_CODE, trace.experts).astype("<u2")
    weights = np.round(np.clip(trace.weights, 0, top) / top * 65535).astype("<u2")
    return {
        "name": trace.name,
        "text": list(trace.pieces),
        "written": trace.written.astype(int).tolist(),
        "special": trace.special.astype(int).tolist(),
        "modality": list(trace.modality),
        "probability": [None if value != value else round(value, 6) for value in trace.probability.tolist()],
        "choices": int(trace.experts.shape[2]),
        "top": top,
        "experts": base64.b64encode(codes.tobytes()).decode("ascii"),
        "weights": base64.b64encode(weights.tobytes()).decode("ascii"),
    }


def _json(data: Any) -> str:
    """JSON that cannot end the script it stands in, whatever the texts say."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


_NOTE = (
    "The heat map shows the load of each expert over an even load, for the tokens up to the one at the slider; dark purple: a "
    "quarter of an even load or less, dark orange: four times or more. How often an expert is chosen does not prove what it computes."
)

_CONTROLS = """<div class="controls">
<button id="play" type="button">Play</button>
<label>Token <input id="at" type="range" min="0" value="0"> <output id="shown"></output></label>
<label>Colours from <select id="site"></select></label>
<label><input id="numbers" type="checkbox"> expert numbers</label>
</div>"""

_CSS = """
:root { color-scheme: light dark; font-family: system-ui, sans-serif; }
body { margin: 0; } main { max-width: 76rem; margin: 0 auto; padding: 1rem 1.2rem 3rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.05rem; margin: 0.6rem 0 0.3rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.1rem 0.9rem; font-size: 0.9rem; }
dt { opacity: 0.7; } dd { margin: 0; overflow-wrap: anywhere; }
.controls { display: flex; flex-wrap: wrap; gap: 0.6rem 1.2rem; align-items: center; position: sticky; top: 0; padding: 0.5rem 0;
  background: Canvas; z-index: 1; border-bottom: 1px solid #8886; }
#at { width: min(24rem, 50vw); vertical-align: middle; }
#runs { display: flex; flex-wrap: wrap; gap: 1.5rem; } .run { flex: 1 1 24rem; min-width: 0; }
.strip { max-height: 22rem; border: 1px solid #8886; border-radius: 6px; }
canvas { width: 100%; image-rendering: pixelated; border: 1px solid #8886; display: block; }
.route { border-collapse: collapse; width: 100%; font-size: 0.85rem; } .route td { width: 100%; } .route th { text-align: right; padding-right: 0.6rem;
  font-weight: 400; white-space: nowrap; } .bars { display: flex; } .bars span { color: #1d2530; text-align: center;
  overflow: hidden; border-right: 1px solid white; white-space: nowrap; }
.note, .axis { font-size: 0.85rem; opacity: 0.8; }
"""

_JS = """
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const unpack = (text) => {
    const raw = atob(text), bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    return new Uint16Array(bytes.buffer);
  };
  const most = Math.max(...data.runs.map((run) => run.text.length));
  const sites = data.sites.length, widest = Math.max(...data.sites.map((site) => site.experts));
  const $ = (id) => document.getElementById(id);
  const make = (tag, name, parent) => { const made = document.createElement(tag); made.className = name; parent.appendChild(made); return made; };
  const colours = data.colours.map((text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16)));
  let at = most, site = 0, playing = null;
  data.sites.forEach((one, number) => { const option = make("option", "", $("site")); option.value = number; option.textContent = one.title; });
  const views = data.runs.map((run) => {
    run.ids = unpack(run.experts); run.values = unpack(run.weights);
    const box = make("section", "run", $("runs"));
    make("h2", "", box).textContent = run.name;
    const view = { run, picked: -1, strip: make("div", "strip", box), legend: make("div", "legend", box) };
    view.strip.setAttribute("role", "group"); view.strip.setAttribute("aria-label", `Tokens of ${run.name}`);
    make("h2", "", box).textContent = "Experts of all layers";
    view.map = make("canvas", "", box); view.map.width = widest; view.map.height = sites;
    view.map.style.height = `${Math.min(Math.max(sites * 14, 90), 480)}px`;
    make("p", "axis", box).textContent = `layers down (${sites}), experts across (${widest})`;
    view.head = make("h2", "", box);
    view.table = make("table", "route", box);
    return view;
  });
  const choice = (run, layer, token, rank) => {
    const place = (layer * run.text.length + token) * run.choices + rank, id = run.ids[place];
    return id === 65535 ? null : [id, run.values[place] / 65535 * run.top];
  };
  const choices = (run, layer, token) => {
    const found = [];
    for (let rank = 0; rank < run.choices; rank++) { const one = choice(run, layer, token, rank); if (one) found.push(one); }
    return found;
  };
  const routed = (run, token) => data.sites.some((_, layer) => choice(run, layer, token, 0));
  function strip(view, stop) {
    const run = view.run, counts = new Map();
    let all = 0;
    const shown = { text: run.text.slice(0, stop), expert: [], note: [], marked: [], waiting: [], written: run.written, special: run.special,
      modality: run.modality, probability: run.probability, first: 0, picked: view.picked, only: -1, numbers: $("numbers").checked,
      where: data.sites[site].title };
    for (let token = 0; token < stop; token++) {
      const found = choices(run, site, token);
      shown.expert.push(found.length ? found[0][0] : -1);
      shown.note.push(found.map(([id, weight]) => `expert ${id} (${weight.toFixed(2)})`).join(", "));
      shown.waiting.push(routed(run, token) ? 0 : 1);
      if (found.length) { counts.set(found[0][0], (counts.get(found[0][0]) || 0) + 1); all++; }
    }
    shown.legend = [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, 8).map(([id, n]) => [id, n, n / all]);
    wbStrip(view.strip, shown, (token) => { view.picked = token; draw(); });
    wbLegend(view.legend, shown);
  }
  function heat(view, stop) {
    const pen = view.map.getContext("2d"), image = pen.createImageData(widest, sites);
    for (let layer = 0; layer < sites; layer++) {
      const load = new Float64Array(widest), real = data.sites[layer].real;
      for (let token = 0; token < stop; token++) for (const [id] of choices(view.run, layer, token)) load[id]++;
      const even = load.subarray(0, real).reduce((a, b) => a + b, 0) / Math.max(real, 1);
      for (let expert = 0; expert < widest; expert++) {
        const pixel = (layer * widest + expert) * 4, there = expert < data.sites[layer].experts && even > 0;
        const level = Math.min(Math.max(Math.log2(load[expert] / (even || 1)), -data.limit), data.limit);
        const place = (level + data.limit) / (2 * data.limit) * (colours.length - 1);
        const low = Math.floor(place), part = place - low, high = Math.min(low + 1, colours.length - 1);
        for (let c = 0; c < 3; c++) image.data[pixel + c] = there ? colours[low][c] * (1 - part) + colours[high][c] * part : 128;
        image.data[pixel + 3] = there ? 255 : 40;
      }
    }
    pen.putImageData(image, 0, 0);
  }
  function route(view, stop) {
    let token = view.picked;
    if (token < 0 || token >= stop) { token = stop - 1; while (token > 0 && !routed(view.run, token)) token--; }
    view.table.textContent = "";
    if (token < 0) { view.head.textContent = ""; return; }
    view.head.textContent = `Route of token ${token} \\u201C${(view.run.text[token] || "").replace(/\\n/g, "\\u21B5")}\\u201D`;
    data.sites.forEach((one, layer) => {
      const found = choices(view.run, layer, token);
      if (!found.length) return;
      const row = make("tr", "", view.table);
      make("th", "", row).textContent = one.title;
      const bars = make("div", "bars", make("td", "", row)), sum = found.reduce((all, [, weight]) => all + weight, 0) || 1;
      for (const [id, weight] of found) {
        const bar = make("span", "", bars);
        bar.style.width = `${weight / sum * 100}%`;
        bar.style.backgroundColor = `hsl(${wbHue(id)} 62% 70%)`;
        bar.textContent = `${id}`; bar.title = `expert ${id}, gate weight ${weight.toFixed(3)}`;
      }
    });
  }
  function draw() {
    $("at").value = at;
    $("shown").textContent = `${at} of ${most}`;
    for (const view of views) {
      const stop = Math.min(at, view.run.text.length);
      strip(view, stop); heat(view, stop); route(view, stop);
    }
  }
  function stopPlaying() { clearInterval(playing); playing = null; $("play").textContent = "Play"; }
  $("at").max = most;
  $("at").oninput = () => { stopPlaying(); at = Number($("at").value); draw(); };
  $("site").onchange = () => { site = Number($("site").value); draw(); };
  $("numbers").onchange = draw;
  $("play").onclick = () => {
    if (playing) { stopPlaying(); return; }
    if (at >= most) at = 0;
    $("play").textContent = "Pause";
    playing = setInterval(() => { at = Math.min(at + 1, most); draw(); if (at >= most) stopPlaying(); }, 120);
  };
  draw();
})();
"""
