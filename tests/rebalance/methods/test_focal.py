"""Focal loss: a stationary point of the stated loss, its limits, and what gamma does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from rebalance import LinearHead
from rebalance.methods import class_balanced, crt, focal

DECAY = 1e-2
TOL = 1e-4


def fit(problem: Any, gamma: float, **options: Any) -> LinearHead:
    given = {"weight_decay": DECAY, "tol": TOL, **options}
    return focal(None, problem.features, problem.labels, gamma=gamma, **given)


def stated(weight: Tensor, bias: Tensor, problem: Any, gamma: float, weights: Tensor) -> Tensor:
    """The loss in float64. weights: (N,), summing to 1."""
    p = (problem.features.double() @ weight.T + bias).softmax(1)[torch.arange(len(problem.labels)), problem.labels]
    return -(weights * (1 - p) ** gamma * p.log()).sum() + DECAY / 2 * weight.square().sum()


def gradient(head: LinearHead, *terms: Any) -> float:
    weight, bias = (each.double().requires_grad_() for each in (head.weight, head.bias))
    stated(weight, bias, *terms).backward()
    assert weight.grad is not None
    assert bias.grad is not None
    return max(float(weight.grad.abs().max()), float(bias.grad.abs().max()))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_the_gradient_of_the_stated_objective_is_zero(gamma: float, beta: float, problem: Any) -> None:
    shares = torch.ones(5) / 5 if beta else problem.counts / 110
    weights = (shares / problem.counts)[problem.labels].double()
    head = fit(problem, gamma, beta=beta)
    # TOL in the solver's centred coordinates; the features' mean of about 1.5 mixes weight and bias.
    start = gradient(LinearHead(torch.zeros(5, 8)), problem, gamma, weights)
    assert gradient(head, problem, gamma, weights) <= 5 * TOL * start
    # The loss is not convex: it should at least be one of the better points. Neither zeros nor the minimum of the
    # cross-entropy, nor places around, are.
    ours = stated(head.weight.double(), head.bias.double(), problem, gamma, weights)
    plain = fit(problem, 0.0, beta=beta)
    assert ours < stated(plain.weight.double(), plain.bias.double(), problem, gamma, weights)
    generator = torch.Generator().manual_seed(0)
    for size in (1e-2, 1e-1, 1.0):
        near = head.weight.double() + size * torch.randn(5, 8, generator=generator)
        assert ours < stated(near, head.bias.double(), problem, gamma, weights)


@pytest.mark.parametrize("beta", [0.0, 0.9, 1.0])
def test_gamma_zero_is_the_class_balanced_loss(beta: float, problem: Any) -> None:
    head = fit(problem, 0.0, beta=beta)
    expected = class_balanced(None, problem.features, problem.labels, beta=beta, weight_decay=DECAY, tol=TOL)
    assert torch.equal(head.weight, expected.weight)
    assert torch.equal(head.bias, expected.bias)


def test_a_small_gamma_is_near_cross_entropy(problem: Any) -> None:
    expected = crt(None, problem.features, problem.labels, weight_decay=DECAY, tol=TOL)
    head = fit(problem, 1e-4, beta=1.0)
    # Both within a gradient of 1e-4 over a curvature of 1e-2 of minima that are closer still.
    torch.testing.assert_close(head.weight, expected.weight, atol=2e-2, rtol=0)


def test_more_gamma_is_less_sure_of_what_is_right(problem: Any) -> None:
    sure = [float(fit(problem, gamma)(problem.features).softmax(1).amax(1).mean()) for gamma in (0.0, 1.0, 2.0, 4.0)]
    assert sure == sorted(sure, reverse=True)


def test_many_classes_leave_the_start(problem: Any) -> None:
    """At zero the loss curves downwards where K is large (a row's own class has 1/K): the search must not stay."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(200).repeat(3)
    features = torch.randn(200, 16, generator=generator)[labels] + 0.1 * torch.randn(600, 16, generator=generator)
    head = focal(None, features, labels, weight_decay=1e-6)
    assert float((head(features).argmax(1) == labels).double().mean()) > 0.99
    assert head.record["solver"]["converged"]


def test_a_class_without_rows_and_one_of_one_row_survive(problem: Any) -> None:
    labels = torch.where(problem.labels == 2, -1, problem.labels)
    labels[(labels == 4).nonzero()[1:, 0]] = -1
    head = focal(problem.head, problem.features, labels, beta=1.0, weight_decay=1e-3)
    logits = head(problem.features[labels >= 0])
    assert bool(torch.isfinite(logits).all())
    assert bool((logits.argmax(1) != 2).all())
    (row,) = (labels == 4).nonzero()[:, 0]
    assert int(head(problem.features[row : row + 1]).argmax()) == 4


@pytest.mark.parametrize(
    ("option", "value"), [("gamma", -1.0), ("gamma", float("inf")), ("beta", 1.5), ("weight_decay", -1.0)]
)
def test_wrong_values_are_refused(option: str, value: float, problem: Any, refuses: Any) -> None:
    with refuses(option, "expected"):
        focal(None, problem.features, problem.labels, **{option: value})
