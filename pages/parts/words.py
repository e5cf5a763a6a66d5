"""How pages say numbers, and how they show words that are not theirs."""

from __future__ import annotations

import re
from collections.abc import Iterable

from workbench.capture import Manifest, Site

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:])")


def plain(text: str, limit: int = 120) -> str:
    """Text of a user or a model, safe inside Markdown: every sign that Markdown reads is escaped, line breaks go."""
    flat = " ".join(text.split())
    if len(flat) > limit:
        flat = flat[: limit - 1] + "…"
    return _MARKDOWN.sub(r"\\\1", flat)


def count(number: int, one: str, many: str | None = None) -> str:
    """ "1 token", "1,234 tokens"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def size(number: float) -> str:
    """Bytes in the largest unit that leaves a number of at least 1."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= factor:
            return f"{number / factor:.1f} {unit}"
    return f"{number:.0f} B"


def seconds(number: float) -> str:
    """A duration as a person says it."""
    if number < 90:
        return f"{number:.0f} s"
    if number < 5400:
        return f"{number / 60:.0f} min"
    return f"{number / 3600:.1f} h"


def span(numbers: Iterable[int]) -> str:
    """ "8" or "8 to 64"."""
    found = sorted(set(numbers))
    if not found:
        return "0"
    return f"{found[0]:,}" if len(found) == 1 else f"{found[0]:,} to {found[-1]:,}"


def shape(sites: tuple[Site, ...]) -> str:
    """ "6 layers of 16 experts, 2 chosen"; "sites" where a layer has more than one set of experts or stacks differ."""
    what = "layer" if len({(site.stack, site.layer) for site in sites}) == len(sites) else "site"
    experts = span(site.experts for site in sites)
    return f"{count(len(sites), what)} of {experts} experts, {span(site.top_k for site in sites)} chosen"


def tokens(manifest: Manifest) -> int:
    """Tokens counted, over all stacks and groups."""
    return sum(sum(groups.values()) for groups in manifest.tokens.values())


def identity(manifest: Manifest) -> str:
    """The line that names what is shown: model, device, experts, grouping and n."""
    model = manifest.model
    run_as = " ".join(plain(word) for word in (model.device, model.dtype) if word != "unknown")
    return (
        f"{plain(model.id)}{' · ' if run_as else ''}{run_as} · {shape(manifest.sites)} · "
        f"{count(len(manifest.groups), 'group')} by {plain(manifest.grouped_by)} · n = {count(tokens(manifest), 'token')}"
    )
