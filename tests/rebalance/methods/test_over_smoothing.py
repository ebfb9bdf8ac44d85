"""Label over-smoothing: the minimum of the stated objective, its two limits, and the descent it stands for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy

from rebalance import LinearHead
from rebalance.methods import over_smoothing

TOL = 1e-3  # the joint head is near some minima: little gradient to lose before float32 ends the search, at 3e-4


def fit(problem: Any, **options: Any) -> LinearHead:
    return over_smoothing(problem.head, problem.features, problem.labels, **{"tol": TOL, **options})


def slopes(head: LinearHead, problem: Any, smoothing: float) -> Tensor:
    """The gradient (K, D + 1) of torch's label-smoothed cross-entropy in weight and bias, in float64."""
    both = torch.cat([head.weight, head.bias[:, None]], dim=1).double().requires_grad_()
    logits = problem.features.double() @ both[:, :-1].T + both[:, -1]
    cross_entropy(logits, problem.labels, label_smoothing=smoothing).backward()
    assert both.grad is not None
    return both.grad


def way(head: LinearHead, problem: Any) -> Tensor:
    """How far weight and bias (K, D + 1) are from the joint head's, in float64."""
    one, other = (torch.cat([each.weight, each.bias[:, None]], dim=1).double() for each in (head, problem.head))
    return one - other


@pytest.mark.parametrize("smoothing", [0.0, 0.5, 0.98, 1.0])
@pytest.mark.parametrize("decay", [1e-3, 1e-1, 10.0])
def test_the_gradient_of_the_stated_objective_is_zero(smoothing: float, decay: float, problem: Any) -> None:
    head = fit(problem, smoothing=smoothing, weight_decay=decay)
    left = slopes(head, problem, smoothing) + decay * way(head, problem)
    # Float32 holds a bias of 10 to 1e-6, and the curvature makes up to 5e-5 of that: less than the tolerance again.
    assert float(left.abs().max()) <= 1.5 * TOL * float(slopes(problem.head, problem, smoothing).abs().max())
    assert head.record["solver"]["converged"]


def test_a_strong_pull_is_one_step_of_gradient_descent(problem: Any) -> None:
    """To first order in 1 / decay: the joint head less gradient / decay."""
    step = way(fit(problem, weight_decay=1e3), problem)
    # The second order is the curvature, at most about 10, over the decay.
    torch.testing.assert_close(-1e3 * step, slopes(problem.head, problem, 0.98), atol=5e-3, rtol=2e-2)


def test_without_a_pull_the_joint_head_is_forgotten(problem: Any) -> None:
    other = LinearHead(0.5 * problem.head.weight, problem.head.bias - 1)
    heads = [
        over_smoothing(each, problem.features, problem.labels, weight_decay=0.0, smoothing=0.5, tol=TOL / 3)
        for each in (problem.head, other)
    ]
    p, q = (head(problem.val_features).softmax(1) for head in heads)
    torch.testing.assert_close(p, q, atol=5e-3, rtol=0)
    # Every row weighs the same, so the mean probabilities are the smoothed shares of the rows.
    shares = 0.5 * problem.counts / 110 + 0.5 / 5
    torch.testing.assert_close(heads[0](problem.features).softmax(1).mean(0), shares, atol=1e-3, rtol=0)


@pytest.mark.parametrize("time", [2.0, 10.0])
def test_it_is_nearly_where_gradient_descent_stops(time: float, problem: Any) -> None:
    """After the time 1 / decay from the joint head, in small steps."""
    step = time / 200
    walked = problem.head
    for _ in range(200):
        slope = step * slopes(walked, problem, 0.98).float()
        walked = LinearHead(walked.weight - slope[:, :-1], walked.bias - slope[:, -1])
    head = fit(problem, weight_decay=1 / time)
    a, b = way(head, problem).flatten(), way(walked, problem).flatten()
    # Early stopping keeps 1 - exp(-time * curvature) of a direction, the pull 1 / (1 + decay / curvature).
    assert float(cosine_similarity(a, b, dim=0)) > 0.98
    assert 0.6 < float(a.norm() / b.norm()) < 1.1


def test_rare_classes_gain(problem: Any) -> None:
    def rare(head: LinearHead) -> float:
        return float((head(problem.val_features).argmax(1) >= 2).double().mean())

    assert rare(fit(problem)) > rare(problem.head)


def test_a_class_without_rows_and_one_of_one_row_survive(problem: Any) -> None:
    labels = torch.where(problem.labels == 2, -1, problem.labels)
    labels[(labels == 4).nonzero()[1:, 0]] = -1
    head = over_smoothing(problem.head, problem.features, labels)
    assert bool(torch.isfinite(head.weight).all())
    # Every row asks for the same share of the class that has none.
    given = [float(each(problem.features[labels >= 0]).softmax(1)[:, 2].mean()) for each in (problem.head, head)]
    assert abs(given[1] - 0.98 / 5) < 0.3 * abs(given[0] - 0.98 / 5)


def test_the_head_remembers_the_joint_one(problem: Any) -> None:
    head = fit(problem)
    assert head.record["source"] == problem.head.record["source"]
    assert head.record["method"] == "over_smoothing"


@pytest.mark.parametrize(
    ("option", "value"), [("smoothing", 1.01), ("smoothing", -0.1), ("weight_decay", -1.0), ("tol", 0.0)]
)
def test_wrong_values_are_refused(option: str, value: float, problem: Any, refuses: Any) -> None:
    with refuses(option, "expected"):
        fit(problem, **{option: value})
