"""cRT is the minimum of the stated objective, whatever the way there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from rebalance import LinearHead
from rebalance.methods import crt

DECAY = 1e-2
TOL = 1e-4  # about where float32 logits end the line search


def gradient(head: LinearHead, features: Any, labels: Any, decay: float) -> tuple[np.ndarray, np.ndarray]:
    """Of the mean over classes of the class's mean cross-entropy plus decay / 2 |W|^2, in float64; b is free."""
    x, y = np.asarray(features, dtype=np.float64), np.asarray(labels)
    x, y = x[y >= 0], y[y >= 0]
    w, b = head.weight.double().numpy(), head.bias.double().numpy()
    z = x @ w.T + b
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(y)), y] -= 1
    present, rows = np.unique(y, return_counts=True)
    share = np.zeros(len(w))
    share[present] = 1 / (len(present) * rows)
    p *= share[y][:, None]
    return p.T @ x + decay * w, p.sum(axis=0)


def start_gradient(features: Any, labels: Any, classes: int) -> float:
    """The scale of the tolerance: the largest entry at zero."""
    zero = LinearHead(torch.zeros(classes, np.shape(features)[1]))
    return max(float(np.abs(part).max()) for part in gradient(zero, features, labels, 0.0))


def assert_optimal(head: LinearHead, features: Any, labels: Any, decay: float) -> None:
    scale = start_gradient(features, labels, head.num_classes)
    for part in gradient(head, features, labels, decay):
        # TOL in the solver's centred coordinates; the features' mean of about 1.5 mixes weight and bias.
        assert np.abs(part).max() <= 5 * TOL * scale


def fit(features: Any, labels: Any, head: LinearHead | None = None, decay: float = DECAY) -> LinearHead:
    return crt(head, features, labels, weight_decay=decay, tol=TOL)


@pytest.mark.parametrize("decay", [1e-3, 1e-2, 1.0])
def test_the_gradient_of_the_stated_objective_is_zero(problem: Any, decay: float) -> None:
    head = fit(problem.features, problem.labels, decay=decay)
    assert head.record["solver"]["converged"]
    assert_optimal(head, problem.features, problem.labels, decay)


def test_the_default_tolerance_is_near_the_minimum(problem: Any) -> None:
    """The decisions of the default head are those of the minimum on all but a few rows near a border."""
    near = crt(None, problem.features, problem.labels)
    exact = crt(None, problem.features, problem.labels, tol=TOL)
    same = near(problem.val_features).argmax(1) == exact(problem.val_features).argmax(1)
    assert float(same.double().mean()) >= 0.95
    assert near.record["solver"]["objective"] <= exact.record["solver"]["objective"] + 5e-3


def weight_error(features: Any, labels: Any, decay: float) -> float:
    """How far weights may be from the minimum: |gradient| over the least curvature, for a gradient at the tolerance."""
    return 2 * TOL * start_gradient(features, labels, 5) * (5 * 9) ** 0.5 / decay


@pytest.mark.parametrize("decay", [1e-2, 1e-1])
def test_scikit_learn_agrees(problem: Any, decay: float) -> None:
    """It minimises C sum_i s_i CE_i + |W|^2 / 2, s_i = N / (K n_y): ours divided by the decay, at C = 1 / (decay N)."""
    x, y = problem.features.double().numpy(), problem.labels.numpy()
    other = LogisticRegression(C=1 / (decay * len(y)), class_weight="balanced", tol=1e-10, max_iter=10_000).fit(x, y)
    head = fit(problem.features, problem.labels, decay=decay)
    error = weight_error(x, y, decay)
    np.testing.assert_allclose(head.weight.numpy(), other.coef_, atol=error)
    # A bias moves with its weights times the features' mean, eight numbers of about 1.5.
    ours, theirs = head.bias.double().numpy(), other.intercept_
    np.testing.assert_allclose(ours - ours.mean(), theirs - theirs.mean(), atol=5 * error)
    val = problem.val_features
    assert (head(val).argmax(1).numpy() == other.predict(val.double().numpy())).all()


def test_scikit_learn_agrees_on_two_classes(problem: Any) -> None:
    """Its one vector v is ours as W = (-v/2, v/2): the penalty is decay / 4 |v|^2, so C = 2 / (decay N)."""
    rows = problem.labels < 2
    x, y = problem.features[rows], problem.labels[rows]
    other = LogisticRegression(C=2 / (DECAY * len(y)), class_weight="balanced", tol=1e-10, max_iter=10_000)
    other.fit(x.double().numpy(), y.numpy())
    head = fit(x, y)
    error = weight_error(x, y, DECAY)
    np.testing.assert_allclose((head.weight[1] - head.weight[0]).numpy(), other.coef_[0], atol=error)
    np.testing.assert_allclose(head.weight[0], -head.weight[1], atol=1e-4)
    assert float(head.bias[1] - head.bias[0]) == pytest.approx(other.intercept_[0], abs=5 * error)


def test_every_class_weighs_the_same(problem: Any) -> None:
    """The free bias makes the predicted shares equal: the mean over classes of p_k is 1/K."""
    head = fit(problem.features, problem.labels)
    p = torch.softmax(head(problem.features).double(), dim=1)
    means = torch.stack([p[problem.labels == k].mean(0) for k in range(5)]).mean(0)
    torch.testing.assert_close(means, torch.full_like(means, 0.2), atol=1e-4, rtol=0)


def test_rows_repeated_within_their_class_change_nothing(problem: Any) -> None:
    tail = problem.labels == 3
    features = torch.cat([problem.features, problem.features[tail], problem.features[tail]])
    labels = torch.cat([problem.labels, problem.labels[tail], problem.labels[tail]])
    one, other = fit(features, labels), fit(problem.features, problem.labels)
    error = weight_error(problem.features, problem.labels, DECAY)
    torch.testing.assert_close(one.weight, other.weight, atol=error, rtol=0)


def test_more_decay_makes_smaller_weights_and_less_fit(problem: Any) -> None:
    heads = [fit(problem.features, problem.labels, decay=decay) for decay in (1e-3, 1e-2, 1e-1, 1.0)]
    norms = [float(head.weight.norm()) for head in heads]
    assert norms == sorted(norms, reverse=True)


def test_huge_decay_leaves_no_weights(problem: Any) -> None:
    head = fit(problem.features, problem.labels, decay=1e4)
    assert head.weight.abs().max() < 1e-3


def test_the_joint_weights_are_not_used(problem: Any) -> None:
    other = LinearHead(-3 * problem.head.weight, problem.head.bias + 1)
    heads = [fit(problem.features, problem.labels, head=head) for head in (problem.head, other, None)]
    assert torch.equal(heads[0].weight, heads[1].weight)
    assert torch.equal(heads[0].weight, heads[2].weight)


def test_features_of_a_large_mean_are_no_harder(problem: Any) -> None:
    """Centring: a shift of the features moves the bias alone, and costs no passes."""
    plain, shifted = (
        crt(None, problem.features + shift, problem.labels, weight_decay=DECAY, tol=1e-3) for shift in (0.0, 30.0)
    )
    # Features of size 30 lose five bits; |W - W*| <= |gradient| / decay for both.
    torch.testing.assert_close(shifted.weight, plain.weight, atol=3e-3, rtol=0)
    assert shifted.record["solver"]["passes"] <= 1.2 * plain.record["solver"]["passes"]


def test_a_class_without_rows_is_never_predicted(problem: Any) -> None:
    labels = torch.where(problem.labels == 2, -1, problem.labels)
    head = fit(problem.features, labels, head=problem.head)
    assert head.num_classes == 5
    logits = head(problem.features[labels >= 0])
    assert bool((logits.argmax(1) != 2).all())
    assert bool(torch.isfinite(head.weight).all())
    # The others are those of the problem without it: its probability is driven to zero.
    known = labels[labels >= 0]
    without = fit(problem.features[labels >= 0], torch.where(known > 2, known - 1, known))
    torch.testing.assert_close(
        logits[:, [0, 1, 3, 4]].softmax(1), without(problem.features[labels >= 0]).softmax(1), atol=2e-2, rtol=0
    )


def test_a_class_of_one_row_is_learned(problem: Any) -> None:
    keep = torch.ones(len(problem.labels), dtype=torch.bool)
    keep[(problem.labels == 4).nonzero()[1:, 0]] = False
    head = fit(problem.features[keep], problem.labels[keep], decay=1e-3)
    assert_optimal(head, problem.features[keep], problem.labels[keep], 1e-3)
    (row,) = (problem.labels[keep] == 4).nonzero()[:, 0]
    assert int(head(problem.features[keep][row : row + 1]).argmax()) == 4


def test_one_class_alone_is_a_head() -> None:
    head = fit(torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(4, dtype=torch.int64))
    assert not head.weight.any()
    assert head.record["solver"]["converged"]


def test_constant_features_are_a_head(problem: Any) -> None:
    head = fit(torch.ones_like(problem.features), problem.labels)
    torch.testing.assert_close(head(problem.features[:1]).softmax(1), torch.full((1, 5), 0.2), atol=1e-5, rtol=0)


def test_without_decay_it_stops_and_is_finite(problem: Any) -> None:
    """Separable rows without a penalty have no minimum; the tolerance still ends the search."""
    features = problem.features + 10 * torch.eye(8)[problem.labels]
    head = crt(None, features, problem.labels, weight_decay=0.0)
    assert bool((head(features).argmax(1) == problem.labels).all())


@pytest.mark.parametrize("decay", [-1e-3, float("nan")])
def test_a_negative_decay_is_refused(problem: Any, decay: float, refuses: Any) -> None:
    with refuses("weight_decay", "0 or more"):
        fit(problem.features, problem.labels, decay=decay)


def test_the_record_says_how_far_the_solver_came(problem: Any) -> None:
    solver = fit(problem.features, problem.labels).record["solver"]
    assert solver.keys() >= {"recipe", "objective", "gradient", "passes", "converged"}
    assert solver["recipe"] == "optimum"
    assert solver["gradient"] <= TOL
    assert 1 < solver["passes"] < 500
    assert not crt(None, problem.features, problem.labels, tol=1e-30).record["solver"]["converged"]


@pytest.mark.parametrize("decay", [1e-2, 1e-1])
def test_scikit_learn_finds_the_same_objective(problem: Any, decay: float) -> None:
    """To the tolerance: |f - f*| <= |gradient|^2 / (2 decay)."""
    x, y = problem.features.double().numpy(), problem.labels.numpy()
    other = LogisticRegression(C=1 / (decay * len(y)), class_weight="balanced", tol=1e-10, max_iter=10_000).fit(x, y)
    head = fit(problem.features, problem.labels, decay=decay)
    error = 45 * (TOL * start_gradient(x, y, 5)) ** 2 / (2 * decay) + 1e-6  # float32 logits
    ours = objective(head.weight.double().numpy(), head.bias.double().numpy(), x, y, decay)
    assert abs(ours - objective(other.coef_, other.intercept_, x, y, decay)) <= error
    assert head.record["solver"]["objective"] == pytest.approx(ours, abs=1e-6)


def objective(weight: np.ndarray, bias: np.ndarray, x: np.ndarray, y: np.ndarray, decay: float) -> float:
    """In float64: the mean over classes of the class's mean cross-entropy, plus decay / 2 |W|^2."""
    z = x @ weight.T + bias
    own = z[np.arange(len(y)), y] - z.max(axis=1)
    each = np.log(np.exp(z - z.max(axis=1, keepdims=True)).sum(axis=1)) - own
    mean = np.mean([each[y == k].mean() for k in np.unique(y)])
    return float(mean + decay / 2 * (weight**2).sum())


@pytest.mark.parametrize("features", [1e15, 1e20, 1e30])
def test_huge_features_are_a_head_or_one_line(problem: Any, features: float, refuses: Any) -> None:
    try:
        head = crt(None, features * problem.features, problem.labels, tol=1e-2)
    except ValueError as error:
        assert str(error).isprintable()  # noqa: PT017  # both are right: what is wrong is any other error
    else:
        assert bool(torch.isfinite(head(features * problem.features)).all())
