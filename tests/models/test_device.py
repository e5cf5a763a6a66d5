"""Which arithmetic training takes, asked of the device and not of hope."""

from __future__ import annotations

import pytest
import torch

from workbench.models.device import arithmetic, autocast


def product() -> torch.dtype:
    """The number format that a matrix product comes out in."""
    return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype


@pytest.mark.parametrize(
    ("quick", "wish", "expected"),
    [(True, True, torch.bfloat16), (False, True, torch.float32), (True, False, torch.float32)],
)
def test_bf16_only_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch, quick: bool, wish: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: quick)
    with autocast("cpu", wish):
        assert product() == expected
    assert arithmetic("cpu", wish) == str(expected).removeprefix("torch.")
    assert product() == torch.float32


def test_gpus_are_asked_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    for answer, expected in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda answer=answer: answer)
        assert arithmetic("cuda:0", True) == expected


def test_the_question_is_one_that_torch_answers() -> None:
    """The name is torch's own and private: this fails when it goes."""
    assert isinstance(torch.ops.mkldnn._is_mkldnn_bf16_supported(), bool)
