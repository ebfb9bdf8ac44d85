"""VS-loss: the minimum of the stated loss, its limits, and what its factors do to the weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from rebalance import LinearHead
from rebalance.methods import logit_adjusted_loss, vs_loss
from rebalance.methods.vs_loss import prior_factors
from rebalance.rows import need_rows

DECAY = 1e-2
TOL = 1e-4


def fit(problem: Any, **options: Any) -> LinearHead:
    given = {"weight_decay": DECAY, "tol": TOL, **options}
    return vs_loss(problem.head, problem.features, problem.labels, **given)


def gradient(head: LinearHead, problem: Any, gamma: float, tau: float) -> float:
    """The largest entry of the gradient of mean CE((n / n_max)^gamma z + tau log p) + decay / 2 |W|^2, in float64."""
    weight, bias = (each.double().requires_grad_() for each in (head.weight, head.bias))
    n = problem.counts.double()
    logits = (n / n.max()) ** gamma * (problem.features.double() @ weight.T + bias) + tau * (n / n.sum()).log()
    (cross_entropy(logits, problem.labels) + DECAY / 2 * weight.square().sum()).backward()
    assert weight.grad is not None
    assert bias.grad is not None
    return max(float(weight.grad.abs().max()), float(bias.grad.abs().max()))


@pytest.mark.parametrize(("gamma", "tau"), [(0.3, 1.0), (0.2, 1.2), (1.0, 0.0), (0.0, 0.0)])
def test_the_gradient_of_the_stated_objective_is_zero(gamma: float, tau: float, problem: Any) -> None:
    zero = LinearHead(torch.zeros(5, 8))
    # TOL in the solver's centred coordinates; the features' mean of about 1.5 mixes weight and bias.
    start = gradient(zero, problem, gamma, tau)
    assert gradient(fit(problem, gamma=gamma, tau=tau), problem, gamma, tau) <= 5 * TOL * start


@pytest.mark.parametrize("tau", [0.0, 1.0])
def test_gamma_zero_is_the_logit_adjusted_loss(tau: float, problem: Any) -> None:
    expected = logit_adjusted_loss(None, problem.features, problem.labels, tau=tau, weight_decay=DECAY, tol=TOL)
    head = fit(problem, gamma=0.0, tau=tau)
    assert torch.equal(head.weight, expected.weight)
    assert torch.equal(head.bias, expected.bias)


def test_tau_moves_only_the_bias(problem: Any) -> None:
    """A factor times a free bias takes the offsets up: b_k falls by tau log p_k over the factor."""
    one, other = (fit(problem, gamma=0.2, tau=tau, weight_decay=0.1, tol=1e-5) for tau in (0.0, 1.0))
    # About where float32 ends the search, 1e-5 to 1e-4, over a curvature of 0.1.
    torch.testing.assert_close(other.weight, one.weight, atol=5e-3, rtol=0)
    logs = (problem.counts / problem.counts.max()).log()
    factors = (problem.counts / problem.counts.max()) ** 0.2
    moved = factors * (other.bias - one.bias) + logs
    torch.testing.assert_close(moved - moved.mean(), torch.zeros(5), atol=2e-2, rtol=0)


@pytest.mark.parametrize(("decay", "grows"), [(1e-5, True), (1.0, False)])
def test_rare_classes_get_larger_weights_unless_the_decay_is_strong(decay: float, grows: bool, problem: Any) -> None:
    """Held down in training by a factor, a class answers with larger logits; its gradient has that factor too."""
    ratio = []
    for gamma in (0.0, 0.2, 0.4):
        norms = torch.linalg.vector_norm(fit(problem, gamma=gamma, weight_decay=decay).weight, dim=1)
        ratio.append(float(norms[3:].mean() / norms[:2].mean()))
    assert ratio == sorted(ratio, reverse=not grows)
    assert ratio[0] != pytest.approx(ratio[2], rel=0.1)


def test_factors_are_powers_of_relative_counts(problem: Any) -> None:
    rows = need_rows(None, problem.features, problem.labels)
    factors = prior_factors([8, 0, 2, 8, 1], rows, gamma=0.5)
    torch.testing.assert_close(factors**2, torch.tensor([8, 0.5, 2, 8, 1], dtype=torch.float64) / 8)


def test_a_class_without_rows_and_one_of_one_row_survive(problem: Any) -> None:
    labels = torch.where(problem.labels == 2, -1, problem.labels)
    labels[(labels == 4).nonzero()[1:, 0]] = -1
    head = vs_loss(problem.head, problem.features, labels, weight_decay=1e-3)
    logits = head(problem.features[labels >= 0])
    assert bool(torch.isfinite(logits).all())
    assert bool((logits.argmax(1) != 2).all())
    (row,) = (labels == 4).nonzero()[:, 0]
    assert int(head(problem.features[row : row + 1]).argmax()) == 4


@pytest.mark.parametrize("option", [{"gamma": -0.1}, {"gamma": float("inf")}, {"tau": float("inf")}, {"tau": 1e9}])
def test_wrong_values_are_refused(option: Any, problem: Any, refuses: Any) -> None:
    with refuses(next(iter(option)), "expected"):
        fit(problem, **option)
