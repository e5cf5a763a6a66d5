"""The marked text as a component of the page: click a mark, or go to it by Tab and press Enter; select words to mark them.

Offsets in `data` and in what comes back are UTF-16 units, as the browser counts. Texts reach the page as text nodes only. Each line
runs in the direction of its own first letters; a label stands apart from it, so that it turns neither the line nor its neighbours.
"""

from __future__ import annotations

MARKED_CSS = """
.wb-marked { white-space: pre-wrap; unicode-bidi: plaintext; overflow-wrap: anywhere; font-size: 1rem; }
.wb-marked span.on { background-repeat: no-repeat; cursor: pointer; border-radius: 2px; }
.wb-marked span.on:focus-visible { outline: 2px solid var(--st-primary-color, #0b63b5); }
.wb-marked span.picked { background-color: rgba(224,130,20,.28); }
.wb-marked .chip { font-size: .68em; font-weight: 600; border: 1px solid; border-radius: .3em; padding: 0 .3em; margin-right: .2em;
  vertical-align: .25em; white-space: nowrap; unicode-bidi: isolate; user-select: none; cursor: pointer; }
"""

# wbMarked(root, data, on): data.text, data.marks [{start, end, label, score, layer, colour}], data.depth, data.picked (index or -1)
MARKED_JS = """
function wbMarked(root, data, on) {
  const LINE = 3, GAP = 2, marks = data.marks, text = data.text;
  const opening = new Map(), closing = new Map(), borders = new Set([0, text.length]);
  const push = (map, at, n) => { if (!map.has(at)) map.set(at, []); map.get(at).push(n); borders.add(at); };
  marks.forEach((m, n) => { push(opening, m.start, n); push(closing, m.end, n); });
  const at = [...borders].sort((a, b) => a - b), active = new Set(), pieces = [];
  const said = (m) => m.score === null ? m.label : `${m.label} ${m.score.toFixed(2)}`;
  const pick = (covered) => {
    const order = [...covered].sort((a, b) => (marks[a].end - marks[a].start) - (marks[b].end - marks[b].start));
    const place = order.indexOf(data.picked);
    on.pick(order[(place + 1) % order.length]);   // again on the same words: the next longer mark
  };
  for (let i = 0; i + 1 < at.length; i++) {
    (closing.get(at[i]) || []).forEach((n) => active.delete(n));
    const begun = (opening.get(at[i]) || []).slice().sort((a, b) => (marks[b].end - marks[b].start) - (marks[a].end - marks[a].start));
    begun.forEach((n) => active.add(n));
    for (const n of begun) {
      const chip = document.createElement("span");
      chip.className = "chip"; chip.textContent = said(marks[n]);
      chip.style.borderColor = marks[n].colour; chip.style.backgroundColor = `color-mix(in srgb, ${marks[n].colour} 22%, transparent)`;
      chip.addEventListener("click", () => on.pick(n));
      pieces.push(chip);
    }
    const piece = document.createElement("span");
    piece.textContent = text.slice(at[i], at[i + 1]);
    piece.dataset.start = at[i];
    if (active.size) {
      const covered = [...active];
      piece.className = covered.includes(data.picked) ? "on picked" : "on";
      piece.style.backgroundImage = covered.map((n) => `linear-gradient(${marks[n].colour},${marks[n].colour})`).join(",");
      piece.style.backgroundPosition = covered.map((n) => `0 calc(100% - ${(data.depth - 1 - marks[n].layer) * (LINE + GAP)}px)`).join(",");
      piece.style.backgroundSize = `100% ${LINE}px`;
      piece.style.paddingBottom = `${data.depth * (LINE + GAP)}px`;
      piece.title = covered.map((n) => said(marks[n])).join("; ");
      piece.tabIndex = 0; piece.setAttribute("role", "button");
      piece.setAttribute("aria-label", `${piece.textContent}: ${piece.title}`);
      piece.addEventListener("click", () => { if (!chosen()) pick(covered); });
      piece.addEventListener("keydown", (e) => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); pick(covered); } });
    }
    pieces.push(piece);
  }
  root.replaceChildren(...pieces);
  root.style.lineHeight = 2 + 0.32 * data.depth;
  root.style.paddingBottom = `${data.depth * (LINE + GAP)}px`;
  const place = (node, offset) => {
    const piece = node.nodeType === Node.TEXT_NODE ? node.parentElement : node;
    return piece && piece.dataset && piece.dataset.start !== undefined ? Number(piece.dataset.start) + (node.nodeType === Node.TEXT_NODE ? offset : 0) : null;
  };
  function chosen() {
    const tree = root.getRootNode(), selection = (tree.getSelection ? tree : document).getSelection();
    if (!selection || selection.isCollapsed || !selection.rangeCount) return null;
    const range = selection.getRangeAt(0);
    let start = place(range.startContainer, range.startOffset), end = place(range.endContainer, range.endOffset);
    if (start === null || end === null) return null;
    while (start < end && /\\s/.test(text[start])) start++;
    while (end > start && /\\s/.test(text[end - 1])) end--;
    return end > start ? { start, end } : null;
  }
  root.onmouseup = () => { const range = chosen(); if (range) on.select(range); };
}
"""
