"""MARC: its factors and margins are optimal, and with neither it is other methods."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from rebalance import LinearHead
from rebalance.methods import marc

DECAY, TOL = 1e-2, 1e-4


def parts(out: LinearHead, head: LinearHead) -> tuple[torch.Tensor, torch.Tensor]:
    """Factors and margins (K,) in float64, read off the head."""
    ratio = out.weight.double() / head.weight.double()
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio), rtol=1e-5, atol=0)
    norms = torch.linalg.vector_norm(head.weight.double(), dim=1)
    return ratio[:, 0], (out.bias.double() - ratio[:, 0] * head.bias.double()) / norms


def stated(problem: Any, factors: torch.Tensor, margins: torch.Tensor, rho: float, decay: float) -> torch.Tensor:
    head = problem.head
    z = problem.features.double() @ head.weight.double().T + head.bias.double()
    u = factors * z + margins * torch.linalg.vector_norm(head.weight.double(), dim=1)
    loss = cross_entropy(u, problem.labels, weight=problem.counts.double() ** -rho)  # a weighted mean
    return loss + decay / 2 * (factors.square().sum() + margins.square().sum())


@pytest.mark.parametrize("rho", [0.0, 1.0, 1.2])
@pytest.mark.parametrize("decay", [1e-3, 1e-1])
def test_factors_and_margins_are_optimal(problem: Any, rho: float, decay: float) -> None:
    out = marc(problem.head, problem.features, problem.labels, rho=rho, weight_decay=decay, tol=TOL)
    factors, margins = (each.requires_grad_() for each in parts(out, problem.head))
    value = stated(problem, factors, margins, rho, decay)
    value.backward()
    assert float(value.detach()) == pytest.approx(out.record["solver"]["objective"], rel=1e-5)
    zero = [torch.zeros(5).double().requires_grad_() for _ in range(2)]
    stated(problem, zero[0], zero[1], rho, decay).backward()
    size = max(float(each.grad.abs().max()) for each in zero if each.grad is not None)
    for each in (factors, margins):
        assert each.grad is not None
        # The tolerance, and the rounding of what is read off float32 weights.
        assert float(each.grad.abs().max()) < 3 * TOL * size + 1e-6


def test_it_is_no_worse_than_the_joint_head_it_starts_at(problem: Any) -> None:
    out = marc(problem.head, problem.features, problem.labels, weight_decay=DECAY)
    before = stated(problem, torch.ones(5).double(), torch.zeros(5).double(), 1.2, DECAY)
    assert out.record["solver"]["objective"] < float(before)
    lazy = marc(problem.head, problem.features, problem.labels, tol=1e9)
    assert torch.equal(lazy.weight, problem.head.weight)
    assert torch.equal(lazy.bias, problem.head.bias)


def test_more_rho_favours_the_rare_classes(problem: Any) -> None:
    shares = [
        float(
            marc(problem.head, problem.features, problem.labels, rho=rho)(problem.val_features).softmax(1)[:, 4].mean()
        )
        for rho in (0.0, 1.0, 2.0)
    ]
    assert shares == sorted(shares)
    assert shares[0] < shares[2]


def test_a_class_without_rows_loses(problem: Any) -> None:
    labels = torch.where(problem.labels == 1, -1, problem.labels)
    out = marc(problem.head, problem.features, labels)
    assert bool(torch.isfinite(out.weight).all())
    assert not bool((out(problem.val_features).argmax(1) == 1).any())


def test_wrong_values_are_refused(problem: Any, refuses: Any) -> None:
    for option, value in (("rho", -1.0), ("weight_decay", -1.0), ("tol", 0.0)):
        with refuses(option):
            marc(problem.head, problem.features, problem.labels, **{option: value})
    with refuses("all weights of the head are 0"):
        marc(LinearHead(torch.zeros(5, 8)), problem.features, problem.labels)
