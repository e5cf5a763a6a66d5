"""Options and endings that the commands of single modules share."""

from __future__ import annotations

import argparse

import pytest

from workbench.capture.errors import WorkbenchError
from workbench.module_command import LAST_SEED, count, count_or_none, positive, report, seed, share

READERS = {"count": count, "count_or_none": count_or_none, "seed": seed, "share": share, "positive": positive}


def parsed(reader: str, given: str) -> object:
    parser = argparse.ArgumentParser(prog="command")
    parser.add_argument("--option", type=READERS[reader])
    return parser.parse_args([f"--option={given}"]).option


@pytest.mark.parametrize(
    ("reader", "given", "value"),
    [("count", "1", 1), ("count_or_none", "0", 0), ("seed", "0", 0), ("seed", str(LAST_SEED), LAST_SEED), ("share", "0", 0.0), ("share", ".99", 0.99), ("positive", "1e-9", 1e-9)],
)  # fmt: skip
def test_options_take_their_least(reader: str, given: str, value: float) -> None:
    assert parsed(reader, given) == value


@pytest.mark.parametrize(
    ("reader", "given"),
    [
        ("count", "0"), ("count", "1.5"), ("count_or_none", "-1"), ("seed", "-1"), ("seed", str(LAST_SEED + 1)), ("share", "1"), ("share", "-0.1"), ("share", "nan"),
        ("positive", "0"), ("positive", "inf"), ("positive", "nan"), ("positive", "much"),
    ],
)  # fmt: skip
def test_options_refuse_the_rest_in_one_line(reader: str, given: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parsed(reader, given)
    assert stopped.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("command: error: argument --option:") and given in said[-1]


def test_a_fault_ends_in_its_sentence_and_a_status(capsys: pytest.CaptureFixture[str]) -> None:
    with report() as status:
        raise WorkbenchError("Expected a folder, but a file came: give a folder.")
    assert status.code == 1
    assert capsys.readouterr().err == "Expected a folder, but a file came: give a folder.\n"


def test_a_failed_write_names_the_file(capsys: pytest.CaptureFixture[str], tmp_path: object) -> None:
    with report() as status, open(f"{tmp_path}/none/file", "w"):
        pass
    assert status.code == 1
    said = capsys.readouterr().err
    assert f"{tmp_path}/none/file" in said and said.count("\n") == 1


def test_an_interrupt_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    with report("Stopped: the same command goes on.") as status:
        raise KeyboardInterrupt
    assert status.code == 130
    assert capsys.readouterr().err == "Stopped: the same command goes on.\n"


def test_a_fault_of_the_programme_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), report():
        raise ZeroDivisionError
