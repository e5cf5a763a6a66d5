"""Which arithmetic training takes, asked of the device and not of hope."""

from __future__ import annotations

import platform

import pytest
import torch

from workbench.models.device import arithmetic, autocast


def product() -> torch.dtype:
    """The number format that a matrix product comes out in."""
    return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype


@pytest.mark.parametrize(
    ("machine", "instructions", "unit", "wish", "expected"),
    [
        ("x86_64", True, True, True, torch.bfloat16),
        ("x86_64", True, False, True, torch.float32),
        ("x86_64", False, False, True, torch.float32),
        ("x86_64", True, True, False, torch.float32),
        ("aarch64", True, False, True, torch.bfloat16),
        ("aarch64", False, False, True, torch.float32),
    ],
)
def test_bf16_only_where_the_processor_is_quicker_in_it(
    monkeypatch: pytest.MonkeyPatch, machine: str, instructions: bool, unit: bool, wish: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: instructions)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: unit)
    with autocast("cpu", wish):
        assert product() == expected
    assert arithmetic("cpu", wish) == str(expected).removeprefix("torch.")
    assert product() == torch.float32


def test_gpus_are_asked_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    for answer, expected in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda answer=answer: answer)
        assert arithmetic("cuda:0", True) == expected


def test_the_questions_are_those_that_torch_answers() -> None:
    """The names are torch's own and private: this fails when they go."""
    assert isinstance(torch.ops.mkldnn._is_mkldnn_bf16_supported(), bool)
    assert isinstance(torch.cpu._is_amx_tile_supported(), bool)
