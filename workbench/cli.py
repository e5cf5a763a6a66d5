"""`workbench`: every command, each thin; what they do stands in the library.

Errors are one sentence on standard error and a non-zero exit; torch loads only in the commands that run a model.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

import typer

from workbench.capture.errors import WorkbenchError
from workbench.commands import app as app_command
from workbench.commands import (
    capture,
    causal,
    compare,
    convert,
    doctor,
    elastic,
    extract,
    fewshot,
    figures,
    info,
    models,
    pictures,
    train,
    unified,
)
from workbench.commands.output import fail

HELP = """See which experts of a mixture-of-experts model take which tokens.

Start with the dashboard:   workbench app

Or in three steps:   workbench models;   workbench capture --model omni-mini --input FOLDER --group-by folder --out my.capture;
workbench figures my.capture --out figures

Every command has --help with an example, and --json for other programs."""

cli = typer.Typer(
    name="workbench",
    help=HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
cli.command("app")(app_command.app)
cli.command("models")(models.models)
cli.command("convert")(convert.convert)
cli.command("capture")(capture.capture)
cli.command("info")(info.info)
cli.command("figures")(figures.figures)
cli.command("compare")(compare.compare)
cli.command("pictures")(pictures.pictures)
cli.command("causal")(causal.causal)
cli.command("sweep")(elastic.sweep)
cli.command("carve")(elastic.carve)
cli.command("budget")(elastic.budget)
cli.command("extract")(extract.extract)
cli.command("evaluate")(extract.evaluate)
cli.command("fewshot")(fewshot.fewshot)
cli.command("train")(train.train)
cli.command("doctor")(doctor.doctor)
cli.add_typer(unified.unified, name="unified")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status: 0 done, 1 an error said in one sentence, 2 wrong usage, 130 Ctrl-C."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status."""
    try:
        found = cli(args=list(arguments), prog_name="workbench", standalone_mode=False)
        return found if isinstance(found, int) else 0
    except WorkbenchError as fault:
        return fail(str(fault))
    except (KeyboardInterrupt, typer.Abort):
        fail("Stopped: nothing was written, because the work was not done.")
        return 130
    except typer.Exit as fault:
        return int(fault.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone, for instance `| head`
        return 0
    except OSError as fault:
        return fail(_system_sentence(fault))
    except MemoryError:
        return fail(
            "The memory was not enough for this work: close other programs, or choose a smaller model, batch or length."
        )
    except Exception as fault:
        usage = getattr(fault, "format_message", None)  # click's own errors: a wrong option or argument
        if usage is None:
            return fail(
                f"The command stopped on an error that was not foreseen ({type(fault).__name__}: {str(fault).strip().splitlines()[0][:300] if str(fault).strip() else 'no words'}): "
                "please report it with the command."
            )
        fail(
            f"{usage()} See `workbench {arguments[0] if arguments else ''} --help`.".replace(
                "workbench  ", "workbench "
            )
        )
        return int(getattr(fault, "exit_code", 2))


def _system_sentence(fault: OSError) -> str:
    name = f"'{fault.filename}'" if fault.filename else "a file"
    if fault.errno == errno.ENOSPC:
        return f"The disk is full, so {name} was not written and nothing half-written was left: free some space and try again."
    if fault.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{name} may not be read or written here ({fault.strerror}): choose another place, or change its permissions."
    return f"{name} could not be read or written ({fault.strerror or fault}): check the path and the disk."


if __name__ == "__main__":
    main()
