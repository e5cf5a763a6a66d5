"""`workbench info`: what a capture holds."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from workbench.commands.output import JsonOption, Output


def info(
    capture: Annotated[
        Path, typer.Argument(help="A capture: a folder, or one file NAME.capture.zip.", show_default=False)
    ],
    as_json: JsonOption = False,
) -> None:
    """Say what a capture holds: model, sites, groups, tokens, streams, checks, sampling, flags. Reads no model, needs no GPU.

    Example:   workbench info my.capture
    """
    from workbench.capture import Capture

    out = Output(as_json)
    found = Capture.load(capture)
    found.validate()
    manifest = found.manifest
    model = manifest.model
    out.say(f"Capture   {capture.name}, format {manifest.schema_version}, made {manifest.created}")
    size = f", {model.parameters:,} weights" if model.parameters else ""
    out.say(
        f"Model     {model.id} ({model.family}, {model.architecture or 'class unknown'}), {model.dtype} on {model.device}{size}"
    )
    if model.score_function:
        out.say(f"Router    {model.score_function}; weights: {model.weight_normalisation or 'not stated'}")
    for stack in manifest.stacks:
        sites = [site for site in manifest.sites if site.stack == stack]
        experts = _span(site.experts for site in sites)
        chosen = _span(site.top_k for site in sites)
        out.say(f"Sites     {stack}: {len(sites)} sites of {experts} experts, {chosen} chosen for each token")
    out.say(f"Groups    by {manifest.grouped_by}; {manifest.documents:,} documents")
    for stack, counts in manifest.tokens.items():
        for group, tokens in counts.items():
            out.say(f"          {stack} {group}: {tokens:,} tokens")
        for why, tokens in manifest.excluded.get(stack, {}).items():
            out.say(f"          {stack} in no group ({why}): {tokens:,} tokens")
    out.say(f"Streams   {', '.join(manifest.streams)}")
    for stack, sampling in manifest.sampling.items():
        out.say(f"Rows      {stack}: {sampling.kept:,} of {sampling.seen:,} token rows kept (seed {sampling.seed})")
    failed = [check for check in manifest.checks if not check.passed]
    out.say(f"Checks    {len(manifest.checks) - len(failed)} passed, {len(failed)} failed")
    for check in failed:
        out.say(f"          failed: {check.name} {check.site or ''} {check.detail}")
    for flag in manifest.flags:
        out.say(f"Flag      {flag.kind} {flag.site or ''}: {flag.detail}")
    for name, words in (("Licence", manifest.licence), ("Notes", manifest.notes)):
        if words:
            out.say(f"{name:<10}{words}")
    out.result({"name": capture.name, **manifest.model_dump(mode="json")})


def _span(numbers: Iterable[int]) -> str:
    values = sorted(set(numbers))
    return str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"
