"""Balanced softmax: the minimum of the stated loss, and the plain regression it is a shift of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import cross_entropy

from rebalance import LinearHead
from rebalance.methods import balanced_softmax, crt, logit_adjust

DECAY = 1e-2
TOL = 1e-4


def fit(features: Any, labels: Any, **options: Any) -> LinearHead:
    return balanced_softmax(options.pop("head", None), features, labels, weight_decay=DECAY, tol=TOL, **options)


def gradient(head: LinearHead, features: Any, labels: Any, counts: Any) -> float:
    """The largest entry of the gradient of mean CE(z + log n) + decay / 2 |W|^2, in float64."""
    weight, bias = (each.double().requires_grad_() for each in (head.weight, head.bias))
    logits = features.double() @ weight.T + bias + torch.as_tensor(counts).double().log()
    (cross_entropy(logits, labels) + DECAY / 2 * weight.square().sum()).backward()
    assert weight.grad is not None
    assert bias.grad is not None
    return max(float(weight.grad.abs().max()), float(bias.grad.abs().max()))


@pytest.mark.parametrize("counts", [None, [9, 1, 40, 2, 300]])
def test_the_gradient_of_the_stated_objective_is_zero(counts: Any, problem: Any) -> None:
    head = fit(problem.features, problem.labels, counts=counts)
    known = problem.counts if counts is None else counts
    zero = LinearHead(torch.zeros(5, 8))
    # TOL in the solver's centred coordinates; the features' mean of about 1.5 mixes weight and bias.
    assert gradient(head, problem.features, problem.labels, known) <= 5 * TOL * gradient(
        zero, problem.features, problem.labels, known
    )
    assert head.record["solver"]["converged"]


def test_on_balanced_data_it_is_crt(problem: Any) -> None:
    head = fit(problem.val_features, problem.val_labels)
    expected = crt(None, problem.val_features, problem.val_labels, weight_decay=DECAY, tol=TOL)
    torch.testing.assert_close(head.weight, expected.weight, atol=1e-6, rtol=0)
    torch.testing.assert_close(head.bias, expected.bias, atol=1e-6, rtol=0)


def test_it_is_plain_regression_less_the_log_counts(problem: Any) -> None:
    """The free bias takes the offsets up: W is scikit-learn's, and b its intercept - log n."""
    x, y = problem.features.double().numpy(), problem.labels.numpy()
    plain = LogisticRegression(C=1 / (DECAY * len(y)), tol=1e-10, max_iter=10_000).fit(x, y)
    head = fit(problem.features, problem.labels)
    # A gradient of about 1e-4 over a curvature of 1e-2.
    np.testing.assert_allclose(head.weight.numpy(), plain.coef_, atol=2e-2)
    shifted = LinearHead(torch.tensor(plain.coef_), torch.tensor(plain.intercept_))
    adjusted = logit_adjust(shifted, problem.features, problem.labels)
    val = problem.val_features
    torch.testing.assert_close(head(val).softmax(1), adjusted(val).softmax(1), atol=5e-3, rtol=0)


def test_the_training_logits_reproduce_the_counts(problem: Any) -> None:
    """Optimality in b: with the offsets, the mean probabilities are the classes' shares; without them the rare gain."""
    head = fit(problem.features, problem.labels)
    z = head(problem.features).double()
    shares = problem.counts / problem.counts.sum()
    torch.testing.assert_close((z + problem.counts.log()).softmax(1).mean(0), shares.double(), atol=1e-4, rtol=0)
    assert bool((z.softmax(1).mean(0)[2:] > shares[2:]).all())


def test_only_ratios_of_counts_matter(problem: Any) -> None:
    head = fit(problem.features, problem.labels)
    other = fit(problem.features, problem.labels, counts=7.0 * problem.counts)
    torch.testing.assert_close(other.weight, head.weight, atol=1e-6, rtol=0)
    torch.testing.assert_close(other.bias, head.bias, atol=1e-5, rtol=0)


def test_a_class_without_rows_is_not_predicted(problem: Any) -> None:
    labels = torch.where(problem.labels == 2, -1, problem.labels)
    head = fit(problem.features, labels, head=problem.head)
    assert bool(torch.isfinite(head.weight).all())
    assert bool((head(problem.features[labels >= 0]).argmax(1) != 2).all())


def test_a_class_of_one_row_is_learned(problem: Any) -> None:
    keep = torch.ones(len(problem.labels), dtype=torch.bool)
    keep[(problem.labels == 4).nonzero()[1:, 0]] = False
    head = fit(problem.features[keep], problem.labels[keep])
    (row,) = (problem.labels[keep] == 4).nonzero()[:, 0]
    assert int(head(problem.features[keep][row : row + 1]).argmax()) == 4


def test_one_pass_of_descent_comes_near(problem: Any) -> None:
    near = balanced_softmax(None, problem.features, problem.labels, weight_decay=0.1, visits=50_000)
    exact = balanced_softmax(None, problem.features, problem.labels, weight_decay=0.1, tol=TOL)
    val = problem.val_features
    # The descent ends with a rate of zero and visits each row 450 times.
    torch.testing.assert_close(near(val).softmax(1), exact(val).softmax(1), atol=0.03, rtol=0)
    assert near.record["solver"]["visits"] == 50_000


def test_a_start_does_not_move_the_minimum(problem: Any) -> None:
    expected = fit(problem.features, problem.labels)
    head = fit(problem.features, problem.labels, start=problem.head)
    # A gradient of 1e-4 of the start's over a curvature of 1e-2.
    torch.testing.assert_close(head.weight, expected.weight, atol=3e-2, rtol=0)
    again = fit(problem.features, problem.labels, start=expected)
    assert again.record["solver"]["passes"] < expected.record["solver"]["passes"]
    assert "start" not in again.record["hyperparameters"]
