"""The strip of tokens coloured by expert: one script, drawn by the Live page and by the file that a run is exported to.

Every text goes into the page as text (`textContent`), never as HTML. Tokens that stand already are changed in place, so that
nothing flickers while a model writes. Colour is never alone: the number of the expert can stand at each token, and is in its
title and in the legend.
"""

from __future__ import annotations

import json

from workbench.figures.signs import SIGNS

HUE_STEP = 137.508  # degrees between two experts: the golden angle, which keeps neighbours apart for any number of them


def expert_colour(expert: int, saturation: int = 62, lightness: int = 70) -> str:
    """CSS colour of an expert, the same hue as in the strip; light enough for dark text on it."""
    return f"hsl({round(expert * HUE_STEP % 360, 1)}, {saturation}%, {lightness}%)"


STRIP_CSS = """
.strip { line-height: 2.05; font-size: 0.95rem; overflow-wrap: anywhere; overflow-y: auto; padding: 0.35rem 0.2rem;
  white-space: pre-wrap; outline-offset: 2px; }
.strip .tok { border-radius: 3px; padding: 0.14em 0.05em; cursor: pointer; }
.strip .tok:hover { outline: 1px solid currentColor; }
.strip .tok:focus-visible { outline: 2px solid currentColor; }
.strip .tok.written { border-bottom: 2px solid currentColor; }
.strip .tok.waiting { opacity: 0.6; border-bottom-style: dotted; }
.strip .tok.special { font-style: italic; opacity: 0.75; }
.strip .tok.picked { outline: 2px solid currentColor; margin: 0 3px; font-weight: 700; }
.strip sub { font-size: 0.6em; opacity: 0.8; margin-left: 0.1em; }
.legend { font-size: 0.8rem; line-height: 1.9; opacity: 0.95; }
.legend .chip { border-radius: 3px; padding: 0.1em 0.45em; margin-right: 0.5em; white-space: nowrap; }
.legend .key { margin-right: 0.9em; white-space: nowrap; }
.legend .key i { font-style: normal; border-bottom: 2px solid currentColor; }
"""

# What `data` holds:
#   text[i] string or null; expert[i] first choice or -1; note[i] all its experts in words; written[i], special[i], waiting[i]
#   0 or 1; modality[i] name; probability[i] number or null; first: number of the first token drawn; picked: number of the
#   framed token or -1; only: an expert whose tokens alone are coloured, or -1, and marked[i] how much, 0 to 1; numbers: whether
#   to write expert numbers; where: "layer 3"; legend: [expert, tokens, share] of the most frequent first choices.
_PATCH = "const WB_PATCH = " + json.dumps({modality: sign for modality, (sign, _) in SIGNS.items()}) + ";"
STRIP_JS = (
    f"\n{_PATCH}"
    + """
function wbHue(expert) { return ((expert * 137.508) % 360).toFixed(1); }
function wbTint(expert, alpha) { return `hsl(${wbHue(expert)} 65% 55% / ${alpha})`; }
function wbShown(data, i) {
  const text = data.text[i];
  if (text === null || (data.modality[i] && data.modality[i] !== "text")) return WB_PATCH[data.modality[i]] || "\\u25A1";
  if (text === "") return "";
  return text.replace(/\\r\\n/g, "\\n").replace(/\\n/g, "\\u21B5\\n").replace(/\\t/g, "\\u2192");
}
function wbTitle(data, i) {
  const parts = [`token ${data.first + i}`, data.written[i] ? "written" : "read"];
  if (data.probability[i] !== null) parts.push(`probability ${data.probability[i].toPrecision(2)}`);
  if (data.waiting[i]) parts.push("has not gone through the layers");
  else parts.push(data.expert[i] < 0 ? `no expert at ${data.where}` : `${data.where}: ${data.note[i]}`);
  return parts.join(", ");
}
function wbStrip(strip, data, pick) {
  const near = strip.scrollHeight - strip.scrollTop - strip.clientHeight < 40;
  while (strip.children.length > data.text.length) strip.lastChild.remove();
  for (let i = 0; i < data.text.length; i++) {
    let token = strip.children[i];
    if (!token) { token = document.createElement("span"); strip.appendChild(token); }
    const chosen = data.only < 0 ? data.expert[i] >= 0 : data.marked[i] > 0;
    const tint = !chosen ? "" : wbTint(data.only < 0 ? data.expert[i] : data.only, data.only < 0 ? 0.42 : 0.2 + 0.6 * data.marked[i]);
    const place = data.first + i;
    const names = ["tok"];
    if (data.written[i]) names.push("written");
    if (data.waiting[i]) names.push("waiting");
    if (data.special[i]) names.push("special");
    if (place === data.picked) names.push("picked");
    const number = data.numbers && chosen ? String(data.only < 0 ? data.expert[i] : data.only) : "";
    const shown = wbShown(data, i), title = wbTitle(data, i);
    const seen = [shown, tint, names.join(" "), number, title].join("\\u0001");
    if (token.wbSeen === seen) continue;
    token.wbSeen = seen;
    token.textContent = shown;
    token.className = names.join(" ");
    token.style.backgroundColor = tint;
    token.title = title;
    token.setAttribute("role", "button");
    token.setAttribute("aria-label", `${shown.trim() || "blank"}, ${title}`);
    token.setAttribute("aria-pressed", String(place === data.picked));
    token.tabIndex = place === data.picked || (data.picked < data.first && i === 0) ? 0 : -1;
    if (number) { const sub = document.createElement("sub"); sub.textContent = number; token.appendChild(sub); }
  }
  const places = () => Array.from(strip.children);
  strip.onclick = (event) => {
    const token = event.target.closest(".tok");
    if (token) pick(data.first + places().indexOf(token));
  };
  strip.onkeydown = (event) => {
    const all = places(), at = all.indexOf(event.target.closest(".tok"));
    if (at < 0) return;
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (to !== undefined && all[to]) { all[to].focus(); event.preventDefault(); }
    if (event.key === "Enter" || event.key === " ") { pick(data.first + at); event.preventDefault(); }
  };
  if (near) strip.scrollTop = strip.scrollHeight;
}
function wbLegend(legend, data) {
  const wanted = JSON.stringify([data.legend, data.where, data.only]);
  if (legend.wbSeen === wanted) return;
  legend.wbSeen = wanted;
  legend.textContent = "";
  const add = (text, name, colour) => {
    const part = document.createElement("span");
    part.className = name; part.textContent = text;
    if (colour) part.style.backgroundColor = colour;
    legend.appendChild(part); legend.appendChild(document.createTextNode(" "));
  };
  add(`First choices at ${data.where}:`, "key");
  for (const [expert, tokens, share] of data.legend) add(`expert ${expert} \\u00B7 ${Math.round(share * 100)} %`, "chip", wbTint(expert, 0.42));
  if (!data.legend.length) add("none yet", "key");
  add("underlined: written by the model", "key");
}
"""
)
