"""Tokens in context as HTML: every text escaped, colour by gate weight, the same in a light and a dark theme.

A token that is a part of a picture, clip or sound stands as a sign (▦ ▤ ♪), many in a row as one sign with their number.
"""

from __future__ import annotations

from html import escape

from workbench.analysis.examples import Context, Examples, Piece
from workbench.figures.signs import sign_of

# The accent of the heat map's upper end; alpha carries the weight, so that the page's own text colour stays readable.
TINT = "224,130,20"
FAINT, FULL = 0.15, 0.80  # alpha at the smallest and the largest weight
SHORT = 3  # so many parts of a picture, clip or sound in a row stand singly; more become one sign with their number


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
    first = context.position - context.centre
    pieces = "".join(
        _piece(context.pieces[run[0]], examples.strongest, run[0] == context.centre, first + run[0], picked)
        if len(run) == 1
        else _parts([context.pieces[index] for index in run], examples.strongest, first + run[0], picked)
        for run in _runs(context)
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


def _runs(context: Context) -> list[list[int]]:
    """Places of the pieces, those together that become one sign: parts of one thing, coloured alike, without the centre."""
    found: list[list[int]] = []
    before: tuple[object, ...] | None = None
    for index, piece in enumerate(context.pieces):
        sign = sign_of(piece.text, piece.modality)
        now = None if sign is None or index == context.centre else (sign, piece.chosen)
        if now is not None and now == before:
            found[-1].append(index)
        else:
            found.append([index])
        before = now
    return [one for run in found for one in ([run] if len(run) > SHORT else [[index] for index in run])]


def _parts(pieces: list[Piece], strongest: float, position: int, picked: bool) -> str:
    """Several parts of a picture, clip or sound in a row, by their sign and number."""
    sign = sign_of(pieces[0].text, pieces[0].modality)
    chosen = pieces[0].chosen
    mean = sum(piece.weight for piece in pieces) / len(pieces)
    if picked:
        said = "picked" if chosen else "not picked"
    else:
        said = f"mean gate weight {mean:.2f}" if chosen else "this expert was not chosen"
    style = _tint(mean, strongest) if chosen else ""
    return f'<span style="{style}border-radius:2px" title="tokens {position} to {position + len(pieces) - 1}: {said}"> {sign}×{len(pieces)} </span>'


def _piece(piece: Piece, strongest: float, centre: bool, position: int, picked: bool) -> str:
    text = piece.text
    sign = sign_of(text, piece.modality)
    if text is None or sign is not None:
        shown = sign or "□"
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
