"""Mixed precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from featurecache.training.precision import Precision

CPU = torch.device("cpu")


def test_off_changes_nothing() -> None:
    precision, logits = Precision("off", CPU), torch.randn(2, 3, dtype=torch.float64)
    with precision.forward():
        assert nn.Linear(4, 3)(torch.randn(2, 4)).dtype == torch.float32
    assert precision.plain(logits) is logits
    assert precision.state_dict() == {}


def test_bf16_is_of_the_forward_pass_only() -> None:
    precision, layer = Precision("bf16", CPU), nn.Linear(4, 3)
    with precision.forward():
        logits = layer(torch.randn(2, 4))
    assert logits.dtype == torch.bfloat16
    assert precision.plain(logits).dtype == torch.float32
    before = layer.weight.detach().clone()
    precision.step(precision.plain(logits).square().sum(), torch.optim.SGD(layer.parameters(), lr=0.1))
    assert layer.weight.dtype == torch.float32
    assert not torch.equal(layer.weight, before)


def test_other_names_and_fp16_without_cuda_are_refused(refused: Any) -> None:
    with refused("amp is 'half', expected off, bf16 or fp16"):
        Precision("half", CPU)
    with refused("amp fp16 needs a CUDA device, this is cpu; use bf16"):
        Precision("fp16", CPU)


@pytest.mark.cuda
def test_fp16_scales_the_loss_and_remembers_by_how_much() -> None:
    precision, layer = Precision("fp16", torch.device("cuda")), nn.Linear(4, 3).cuda()
    precision.step(layer(torch.randn(2, 4).cuda()).sum() * float("inf"), torch.optim.SGD(layer.parameters(), lr=0.1))
    assert torch.isfinite(layer.weight).all()  # a step that overflows is left out
    other = Precision("fp16", torch.device("cuda"))
    other.load_state_dict(precision.state_dict())
    assert other.state_dict() == precision.state_dict()
    assert other.state_dict()["scale"] < Precision("fp16", torch.device("cuda")).state_dict()["scale"]
