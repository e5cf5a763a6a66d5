"""One self-contained HTML file about a capture: what was recorded, every figure with its sentence, and the key numbers.

Choices made here:
- Pictures are static SVG inside the file. Interactive ones would put plotly.js (4.5 MB) and about 1 MB a heat map into it; a single
  interactive figure is `workbench.export.plotly_html`.
- Each SVG is an image by data URI, so that ids of two figures cannot clash and nothing inside it can run. The page's own policy
  forbids every script and every request, so the file reads the same offline.
- Every text that comes from a capture is escaped.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from workbench.capture import Capture

if TYPE_CHECKING:
    from workbench.analysis.significance import NullName
    from workbench.export import Part

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.7rem } h2 { font-size: 1.25rem; margin-top: 2.5rem }
figure { margin: 1rem 0 } figure img { max-width: 100%; background: white; padding: .5rem; box-sizing: border-box }
figcaption { margin-top: .5rem } .missing { opacity: .75 }
table { border-collapse: collapse; font-size: .9rem } th, td { padding: .15rem .7rem; text-align: right; border-bottom: 1px solid #8884 }
th:first-child, td:first-child { text-align: left } .scroll { overflow-x: auto }
dl { display: grid; grid-template-columns: max-content auto; gap: .2rem 1rem } dt { opacity: .75 } dd { margin: 0 }
"""


def report_html(
    capture: Capture,
    *,
    sites: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    null: NullName | None = None,
) -> str:
    """The report as one HTML text that needs no network, no script and no other file.

    Args:
        capture: what to report on.
        sites, groups: as in workbench.export.parts. null: also the figures of workbench.export_nulls, with this null.

    Raises:
        CaptureError: for an unknown site or group.
    """
    from workbench.export import figure_bytes, parts

    made = parts(capture, sites=sites, groups=groups)
    if null is not None:
        from workbench.export_nulls import null_parts

        made += null_parts(capture, sites, groups, null)
    pictures = {part.name: figure_bytes(part.draw(), "svg") for part in made if part.draw is not None}
    return render_report(capture, made, pictures)


def render_report(capture: Capture, made: Sequence[Part], pictures: Mapping[str, bytes]) -> str:
    """The report of figures that are drawn already.

    Args:
        made: from workbench.export.parts.
        pictures: SVG by the part's name.
    """
    body = [_facts(capture), _groups(capture), _warnings(capture)]
    return _page(
        f"Routing of {capture.manifest.model.id}", body + [_section(part, pictures.get(part.name)) for part in made]
    )


def render_comparison(
    captures: Sequence[Capture],
    names: Sequence[str],
    made: Sequence[Part],
    pictures: Mapping[str, bytes],
    sentences: Sequence[str],
) -> str:
    """The report of a comparison of captures, the first of which is the one compared with.

    Args:
        sentences: what the differences support, said first.
    """
    body = [f"<p>{escape(sentence)}</p>" for sentence in sentences]
    for capture, name in zip(captures, names, strict=True):
        body += [f"<h2>{escape(name)}</h2>", _facts(capture), _warnings(capture)]
    return _page(
        f"{' and '.join(names[1:])} against {names[0]}",
        body + [_section(part, pictures.get(part.name)) for part in made],
    )


def _page(title: str, body: Sequence[str]) -> str:
    title = escape(title)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _facts(capture: Capture) -> str:
    manifest, model = capture.manifest, capture.manifest.model
    experts = sorted({site.experts for site in capture.sites})
    chosen = sorted({site.top_k for site in capture.sites})
    facts = {
        "Capture": capture.name,
        "Recorded": manifest.created,
        "Model": f"{model.id} ({model.family}, {model.dtype} on {model.device})",
        "Revision": model.revision or "",
        "Sites": f"{len(capture.sites)}, with {_range(experts)} experts, {_range(chosen)} chosen for a token",
        "Gate weights": " · ".join(part for part in (model.score_function, model.weight_normalisation) if part),
        "Shared experts": "" if model.shared_experts is None else str(model.shared_experts),
        "Documents": f"{manifest.documents:,}",
        "Grouped by": manifest.grouped_by,
        "Software": ", ".join(f"{name} {version}" for name, version in sorted(manifest.software.items())),
        "Licence of the data": manifest.licence,
        "Notes": manifest.notes,
    }
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items() if value)
    return f"<dl>{rows}</dl>"


def _range(numbers: Sequence[int]) -> str:
    if not numbers:
        return "no"
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


def _groups(capture: Capture) -> str:
    """Tokens by stack and group, and what was not counted."""
    stacks = capture.stacks
    head = "".join(f"<th>{escape(stack)}</th>" for stack in stacks)
    rows = [
        f"<tr><td>{escape(group)}</td>" + "".join(f"<td>{tokens:,}</td>" for tokens in row) + "</tr>"
        for group, row in zip(capture.groups, _tokens(capture), strict=True)
    ]
    reasons = sorted({reason for excluded in capture.manifest.excluded.values() for reason in excluded})
    for reason in reasons:
        numbers = (capture.manifest.excluded.get(stack, {}).get(reason, 0) for stack in stacks)
        rows.append(
            f"<tr><td>not counted: {escape(reason)}</td>"
            + "".join(f"<td>{number:,}</td>" for number in numbers)
            + "</tr>"
        )
    return (
        f'<h2>Tokens</h2><div class="scroll"><table><thead><tr><th>group</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _tokens(capture: Capture) -> list[list[int]]:
    """Tokens [G][stack]: the most that any site of the stack saw."""
    by_site = capture.token_count
    table = np.zeros((len(capture.groups), len(capture.stacks)), dtype=np.int64)
    for column, stack in enumerate(capture.stacks):
        of_stack = [index for index, site in enumerate(capture.sites) if site.stack == stack]
        table[:, column] = by_site[of_stack].max(axis=0)
    return table.tolist()


def _warnings(capture: Capture) -> str:
    """Failed checks and flags; nothing if there are none."""
    lines = [f"{check.name}{_at(check.site)}: {check.detail}" for check in capture.manifest.checks if not check.passed]
    lines += [f"{flag.kind}{_at(flag.site)}: {flag.detail}" for flag in capture.manifest.flags]
    if not lines:
        return ""
    return "<h2>To know before reading</h2><ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _at(site: str | None) -> str:
    return f" at {site}" if site else ""


def _section(part: Part, picture: bytes | None) -> str:
    heading = f"<h2>{escape(part.title)}</h2>"
    caption = escape(part.caption)
    if picture is None:
        return f'{heading}<p class="missing">Not shown: {caption}</p>'
    data = b64encode(picture).decode("ascii")
    return (
        f'{heading}<figure><img alt="{escape(part.title)}" src="data:image/svg+xml;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>{_numbers(part)}"
    )


def _numbers(part: Part) -> str:
    """The few numbers that a reader wants as text: overlap pairs, and balance averaged over sites."""
    if part.frame is None or part.name not in ("overlap", "balance"):
        return ""
    rows: list[tuple[str, ...]]
    head: tuple[str, ...]
    if part.name == "overlap":
        rows = [
            (
                f"{row.group_a} - {row.group_b}",
                str(row.site),
                _figure(row.iou),
                _figure(row.chance),
                "few tokens" if row.few_tokens else "",
            )
            for row in part.frame.itertuples()
        ]
        head = ("groups", "site", "IoU", "chance", "")
    else:
        mean = part.frame.groupby(["group", "measure"], observed=True, sort=False)["value"].agg(["mean", "min", "max"])
        rows = [
            (str(group), str(measure), *(_figure(value) for value in line))
            for (group, measure), line in zip(mean.index, mean.to_numpy(), strict=True)
        ]
        head = ("group", "measure", "mean over sites", "lowest", "highest")
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<details><summary>Numbers</summary><div class="scroll"><table><thead><tr>{top}</tr></thead>'
        f"<tbody>{lines}</tbody></table></div></details>"
    )


def _figure(value: float) -> str:
    return f"{value:.3f}" if value == value else "-"
