"""Options that several commands share, with one help text each, and the bar that they show while they work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.commands.output import Output, stop_on_interrupt

if TYPE_CHECKING:
    from workbench.inputs import Inputs

MoreInputs = Annotated[
    list[Path] | None, typer.Argument(help="Further inputs, so that --input *.txt works.", show_default=False)
]
TextColumn = Annotated[
    str | None, typer.Option(help="Column (key) of the text in csv, parquet and jsonl. Default: text.")
]
Lines = Annotated[bool, typer.Option(help="Text files hold a document a line.")]
MaxLength = Annotated[
    int | None,
    typer.Option(help="Tokens of a row; longer texts are cut into windows. Default: the model's, at most 2048."),
]
BatchSize = Annotated[int, typer.Option(help="Rows run at once.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub model.")]
Force = Annotated[bool, typer.Option("--force", help="Load although the memory estimate says that it will not fit.")]


def read_files(
    output: Output,
    paths: Sequence[Path],
    group_by: str = "modality",
    text_column: str | None = None,
    lines: bool = False,
    prompts: Sequence[str] = (),
) -> Inputs:
    """Read the inputs that a command names, and note how many there were.

    Raises:
        InputError: naming the file that cannot be read.
    """
    from workbench.inputs import InputOptions, read_inputs

    wish = InputOptions(group_by=group_by, text_column=text_column, lines=lines, prompts=tuple(prompts))
    found = read_inputs(paths, wish)
    passed = f", {found.skipped} files of unknown kinds passed over" if found.skipped else ""
    output.note(f"{len(found.documents):,} documents from {found.files:,} files{passed}")
    return found


@contextmanager
def working(
    output: Output, what: str, stopping: str, *, total: int | None = None, unit: str = ""
) -> Iterator[tuple[Callable[[int, int, str], None], Callable[[], bool]]]:
    """A bar, and Ctrl-C or SIGTERM that asks the work to stop: (progress to call with done, total and words; whether to stop).

    Args:
        what: name of the bar. stopping: said at the first Ctrl-C.
        total: if it is known. unit: "B" for bytes.
    """
    from tqdm import tqdm

    with (
        tqdm(total=total, desc=what, unit=unit, unit_scale=unit == "B", leave=False, disable=None) as bar,
        stop_on_interrupt(lambda: output.note(stopping), terminate=True) as stopped,
    ):

        def progress(done: int, of: int, words: str) -> None:
            bar.total, bar.n = of, done
            bar.set_postfix_str(words, refresh=False)
            bar.update(0)

        yield progress, stopped
