"""The baseline is the head as it was."""

from __future__ import annotations

from typing import Any

import torch

from rebalance import NormalizedHead
from rebalance.methods import joint


def test_the_head_is_unchanged(problem: Any) -> None:
    out = joint(problem.head, problem.features, problem.labels)
    assert torch.equal(out.weight, problem.head.weight)
    assert torch.equal(out.bias, problem.head.bias)


def test_the_record_keeps_where_the_head_is_from(problem: Any) -> None:
    out = joint(problem.head, problem.features, problem.labels)
    assert out.record == {"method": "joint", "hyperparameters": {}, "source": "test"}


def test_a_normalized_head_stays_one() -> None:
    head = NormalizedHead(torch.eye(3), center=torch.ones(3))
    out = joint(head, torch.zeros(1, 3), torch.tensor([0]))
    assert isinstance(out, NormalizedHead)
    assert torch.equal(out.center, head.center)
