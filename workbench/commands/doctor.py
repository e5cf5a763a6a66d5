"""`workbench doctor`: what is wrong here, and what to do."""

from __future__ import annotations

from typing import Annotated

import typer

from workbench.commands.output import JsonOption, Output


def doctor(
    port: Annotated[int, typer.Option(help="Port to look at.", min=1, max=65535)] = 8501,
    as_json: JsonOption = False,
) -> None:
    """Look at Python, packages, device, memory, disk, library, embedded model, ready capture, browser and port; say what to do.

    Ends with status 1 if something fails.

    Example:   workbench doctor
    """
    from workbench.doctor import FAIL, examine, summary

    out = Output(as_json)
    findings = examine(port)
    for finding in findings:
        advice = f": {finding.advice}" if finding.advice else ""
        out.say(f"{finding.status:<5} {finding.name:<18} {finding.detail}{advice}")
    found = summary(findings)
    out.result(found)
    if not found["healthy"]:
        failed = [finding.name for finding in findings if finding.status == FAIL]
        out.note(f"{len(failed)} of {len(findings)} checks failed ({', '.join(failed)}): do what stands beside them.")
        raise typer.Exit(1)
