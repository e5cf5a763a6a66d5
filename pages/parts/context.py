"""Tokens in context as HTML: every text escaped, colour by gate weight, the same in a light and a dark theme."""

from __future__ import annotations

from html import escape

from workbench.analysis.examples import Context, Examples, Piece

# The accent of the heat map's upper end; alpha carries the weight, so that the page's own text colour stays readable.
TINT = "224,130,20"
FAINT, FULL = 0.15, 0.80  # alpha at the smallest and the largest weight
_PATCH = {"image": "▦", "video": "▤", "audio": "♪"}


def contexts_html(examples: Examples, colours: dict[str, str]) -> str:
    """All contexts, one below the other.

    Args:
        examples: from analysis.examples.tokens_behind.
        colours: group name -> CSS colour of its mark.
    """
    return "".join(_context(context, examples, colours) for context in examples.contexts)


def legend_html(strongest: float) -> str:
    """The colour scale: not chosen, weak, strong."""
    steps = "".join(
        f'<span style="{_tint(step / 4 * strongest, strongest)}padding:0 0.7em">&nbsp;</span>' for step in range(1, 5)
    )
    return (
        '<div style="font-size:0.8rem;opacity:0.85">gate weight of this expert: not chosen '
        f'<span style="border:1px solid rgba(128,128,128,.4);padding:0 .6em">&nbsp;</span> · up to {strongest:.2f} {steps}</div>'
    )


def _context(context: Context, examples: Examples, colours: dict[str, str]) -> str:
    picked = examples.expert < 0  # tokens picked otherwise than by an expert have no gate weight to show
    group = context.group or "no group"
    mark = colours.get(group, "#7A7F87")
    pieces = "".join(
        _piece(piece, examples.strongest, index == context.centre, context.position - context.centre + index, picked)
        for index, piece in enumerate(context.pieces)
    )
    before, after = ("… " if context.cut_before else ""), (" …" if context.cut_after else "")
    where = f"{escape(_short(context.document))}, token {context.position:,}"
    phase = "" if context.phase != "decode" else " · written"
    return (
        f'<div style="border-left:4px solid {mark};padding:0.15rem 0 0.15rem 0.6rem;margin:0 0 0.8rem 0">'
        f'<div style="font-size:0.78rem;opacity:0.75;margin-bottom:0.15rem">{escape(_short(group))} · {where}{phase}'
        f"{'' if picked else f' · weight <b>{context.weight:.2f}</b>'}</div>"
        f'<div style="line-height:1.65;white-space:pre-wrap;overflow-wrap:anywhere;font-size:0.92rem">{before}{pieces}{after}</div></div>'
    )


def _piece(piece: Piece, strongest: float, centre: bool, position: int, picked: bool) -> str:
    text = piece.text
    if text is None:
        shown = _PATCH.get(piece.modality or "", "□")
    else:
        shown = escape(text.replace("\r\n", "\n").replace("\n", "↵\n").replace("\t", "→"))
    style = _tint(piece.weight, strongest) if piece.chosen else ""
    if centre:
        style += "outline:2px solid rgba(128,128,128,0.9);font-weight:700;"
    if picked:
        said = "picked" if piece.chosen else "not picked"
    else:
        said = f"gate weight {piece.weight:.2f}" if piece.chosen else "this expert was not chosen"
    return f'<span style="{style}border-radius:2px" title="token {position}: {said}">{shown}</span>'


def _tint(weight: float, strongest: float) -> str:
    alpha = FAINT + (FULL - FAINT) * min(weight / strongest, 1.0) if strongest > 0 else FAINT
    return f"background-color:rgba({TINT},{alpha:.2f});"


def _short(text: str, limit: int = 48) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
