"""Class-balanced loss: its two ends, scikit-learn with the same row weights, and betas near one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from rebalance import LinearHead
from rebalance.methods import class_balanced, crt

DECAY = 1e-2
TOL = 1e-4


def fit(features: Any, labels: Any, beta: float, **options: Any) -> LinearHead:
    given: dict[str, Any] = {"weight_decay": DECAY, "tol": TOL, **options}
    return class_balanced(given.pop("head", None), features, labels, beta=beta, **given)


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.99, 0.9999, 1.0])
def test_scikit_learn_with_these_row_weights_agrees(beta: float, problem: Any) -> None:
    """It minimises C sum_i s_i CE_i + |W|^2 / 2: ours divided by the decay, where the s_i sum to 1 / (C decay)."""
    x, y = problem.features.double().numpy(), problem.labels.numpy()
    n = problem.counts.double().numpy()
    # The effective number as the sum it is: 1 + beta + ... + beta^(n - 1).
    effective = np.array([sum(beta**power for power in range(int(count))) for count in n])
    weights = (1 / effective)[y]
    other = LogisticRegression(C=1 / (DECAY * weights.sum()), tol=1e-10, max_iter=10_000).fit(x, y, weights)
    head = fit(problem.features, problem.labels, beta)
    # A gradient of about 1e-4 over a curvature of 1e-2.
    np.testing.assert_allclose(head.weight.numpy(), other.coef_, atol=2e-2)
    probabilities = head(problem.val_features).double().softmax(1).numpy()
    np.testing.assert_allclose(probabilities, other.predict_proba(problem.val_features.double()), atol=5e-3)


def test_beta_one_is_crt(problem: Any) -> None:
    expected = crt(None, problem.features, problem.labels, weight_decay=DECAY, tol=TOL)
    # 1 - 1e-12 is within 1e-10 of 1 in the weights.
    for beta in (1.0, 1 - 1e-12):
        head = fit(problem.features, problem.labels, beta)
        torch.testing.assert_close(head.weight, expected.weight, atol=1e-4, rtol=0)


def test_beta_near_zero_weighs_every_row_the_same(problem: Any) -> None:
    """Then the free bias makes the mean probabilities the shares of the rows."""
    for beta in (0.0, 1e-300, 1e-6):
        p = fit(problem.features, problem.labels, beta)(problem.features).double().softmax(1).mean(0)
        torch.testing.assert_close(p, problem.counts / problem.counts.sum().double(), atol=1e-4, rtol=0)


def test_more_beta_moves_predictions_to_rare_classes(problem: Any) -> None:
    means = []
    for beta in (0.0, 0.9, 0.99, 1.0):
        p = fit(problem.features, problem.labels, beta)(problem.val_features).softmax(1)
        means.append(float(p[:, 3:].sum(1).mean()))
    assert means == sorted(means)
    assert means[0] + 0.02 < means[-1]


def test_a_class_without_rows_and_one_of_one_row_survive(problem: Any) -> None:
    labels = torch.where(problem.labels == 2, -1, problem.labels)
    labels[(labels == 4).nonzero()[1:, 0]] = -1
    for beta in (0.0, 0.9999, 1.0):
        head = fit(problem.features, labels, beta, head=problem.head, weight_decay=1e-3)
        logits = head(problem.features[labels >= 0])
        assert bool(torch.isfinite(logits).all())
        assert bool((logits.argmax(1) != 2).all())
    (row,) = (labels == 4).nonzero()[:, 0]
    assert int(head(problem.features[row : row + 1]).argmax()) == 4


def test_the_descent_takes_the_same_shares(problem: Any) -> None:
    labels = torch.where(problem.labels == 2, -1, problem.labels)
    near = fit(problem.features, labels, 0.9999, head=problem.head, weight_decay=0.1, tol=None, visits=50_000)
    exact = fit(problem.features, labels, 0.9999, head=problem.head, weight_decay=0.1)
    val = problem.val_features
    # The descent ends with a rate of zero and visits each row some 500 times.
    torch.testing.assert_close(near(val).softmax(1), exact(val).softmax(1), atol=0.03, rtol=0)


@pytest.mark.parametrize("beta", [-0.1, 1.0001, float("nan")])
def test_a_beta_out_of_range_is_refused(beta: float, problem: Any, refuses: Any) -> None:
    with refuses("beta", "0 to 1"):
        fit(problem.features, problem.labels, beta)
