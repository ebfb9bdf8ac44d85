"""The logit-adjusted loss: its minimum, what tau moves, and the prior's offsets."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from rebalance import LinearHead
from rebalance.methods import balanced_softmax, logit_adjust, logit_adjusted_loss
from rebalance.methods.logit_adjusted_loss import prior_offsets
from rebalance.rows import need_rows

DECAY = 1e-2
TOL = 1e-4


def fit(problem: Any, tau: float, **options: Any) -> LinearHead:
    return logit_adjusted_loss(
        problem.head, problem.features, problem.labels, tau=tau, weight_decay=DECAY, tol=TOL, **options
    )


def gradient(head: LinearHead, problem: Any, tau: float) -> float:
    """The largest entry of the gradient of mean CE(z + tau log p) + decay / 2 |W|^2, in float64."""
    weight, bias = (each.double().requires_grad_() for each in (head.weight, head.bias))
    prior = problem.counts.double() / problem.counts.sum()
    logits = problem.features.double() @ weight.T + bias + tau * prior.log()
    (cross_entropy(logits, problem.labels) + DECAY / 2 * weight.square().sum()).backward()
    assert weight.grad is not None
    assert bias.grad is not None
    return max(float(weight.grad.abs().max()), float(bias.grad.abs().max()))


@pytest.mark.parametrize("tau", [-0.5, 0.0, 0.7, 1.0, 2.0])
def test_the_gradient_of_the_stated_objective_is_zero(tau: float, problem: Any) -> None:
    zero = LinearHead(torch.zeros(5, 8))
    # TOL in the solver's centred coordinates; the features' mean of about 1.5 mixes weight and bias.
    assert gradient(fit(problem, tau), problem, tau) <= 5 * TOL * gradient(zero, problem, tau)


def test_tau_one_is_balanced_softmax(problem: Any) -> None:
    expected = balanced_softmax(None, problem.features, problem.labels, weight_decay=DECAY, tol=TOL)
    head = fit(problem, 1.0)
    assert torch.equal(head.weight, expected.weight)
    assert torch.equal(head.bias, expected.bias)


@pytest.mark.parametrize("tau", [0.5, 1.5])
def test_training_with_the_prior_is_adjusting_afterwards(tau: float, problem: Any) -> None:
    """On fixed features with a free bias."""
    afterwards = logit_adjust(fit(problem, 0.0), problem.features, problem.labels, tau=tau)
    val = problem.val_features
    # Both within a gradient of 1e-4 over a curvature of 1e-2 of one minimum.
    torch.testing.assert_close(fit(problem, tau)(val).softmax(1), afterwards(val).softmax(1), atol=1e-2, rtol=0)


def test_a_larger_tau_predicts_rare_classes_more(problem: Any) -> None:
    heads = [fit(problem, tau) for tau in (0.0, 1.0, 2.0)]
    shares = [float((head(problem.val_features).argmax(1) >= 2).double().mean()) for head in heads]
    assert shares == sorted(shares)
    assert shares[0] < shares[2]


def test_equal_counts_adjust_nothing(problem: Any) -> None:
    plain, flat = fit(problem, 0.0), fit(problem, 3.0, counts=[4, 4, 4, 4, 4])
    assert torch.equal(flat.weight, plain.weight)
    assert torch.equal(flat.bias, plain.bias)


@given(counts=st.lists(st.integers(0, 10**7), min_size=5, max_size=5).filter(any), tau=st.floats(-2, 2))
@settings(max_examples=30)
def test_offsets_are_tau_times_the_log_prior(counts: list[int], tau: float, problem: Any) -> None:
    rows = need_rows(None, problem.features, problem.labels)
    offsets = prior_offsets(counts, rows, tau)
    known = [count or 0.5 for count in counts]
    expected = tau * (torch.tensor(known, dtype=torch.float64).log() - torch.tensor(max(known)).double().log())
    torch.testing.assert_close(offsets, expected, atol=1e-12, rtol=1e-12)  # float64 logarithms


@pytest.mark.parametrize("tau", [float("inf"), float("nan"), 1e9, -1e300])
def test_a_tau_of_no_use_is_refused(tau: float, problem: Any, refuses: Any) -> None:
    with refuses("tau", "expected"):
        fit(problem, tau)
