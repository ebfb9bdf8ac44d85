"""Label-aware smoothing: the factors of the paper, the minimum of the stated loss, and its limits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy, one_hot

from rebalance import LinearHead
from rebalance.methods import crt, label_aware_smoothing
from rebalance.methods.label_aware_smoothing import smoothing_factors

DECAY = 1e-2
TOL = 1e-4
SHAPES = ("concave", "linear", "convex")


def fit(problem: Any, **options: Any) -> LinearHead:
    given = {"weight_decay": DECAY, "tol": TOL, **options}
    return label_aware_smoothing(None, problem.features, problem.labels, **given)


def as_published(n: Any, head: float, tail: float, shape: str) -> Any:
    """The three formulas of the authors, on an array of counts."""
    n = np.asarray(n, dtype=float)
    least, most = n.min(), n.max()
    if shape == "concave":
        return tail + (head - tail) * np.sin((n - least) * np.pi / (2 * (most - least)))
    if shape == "linear":
        return tail + (head - tail) * (n - least) / (most - least)
    return head + (head - tail) * np.sin(1.5 * np.pi + (n - least) * np.pi / (2 * (most - least)))


def gradient(head: LinearHead, problem: Any, factors: Any) -> float:
    """The largest entry of the gradient of the mean over classes of CE against smoothed targets, in float64."""
    weight, bias = (each.double().requires_grad_() for each in (head.weight, head.bias))
    e = torch.as_tensor(factors)[problem.labels][:, None]
    targets = (1 - e) * one_hot(problem.labels, 5) + e / 5
    each = cross_entropy(problem.features.double() @ weight.T + bias, targets, reduction="none")
    means = torch.stack([each[problem.labels == k].mean() for k in range(5)])
    (means.mean() + DECAY / 2 * weight.square().sum()).backward()
    assert weight.grad is not None
    assert bias.grad is not None
    return max(float(weight.grad.abs().max()), float(bias.grad.abs().max()))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("head", "tail"), [(0.3, 0.0), (0.4, 0.1), (0.2, 0.2)])
def test_the_gradient_of_the_stated_objective_is_zero(shape: Any, head: float, tail: float, problem: Any) -> None:
    factors = as_published(problem.counts, head, tail, shape)
    fitted = fit(problem, epsilon_head=head, epsilon_tail=tail, shape=shape)
    # TOL in the solver's centred coordinates; the features' mean of about 1.5 mixes weight and bias.
    assert gradient(fitted, problem, factors) <= 5 * TOL * gradient(LinearHead(torch.zeros(5, 8)), problem, factors)


@given(
    counts=st.lists(st.integers(1, 10**6), min_size=2, max_size=8).filter(lambda n: len(set(n)) > 1),
    ends=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    shape=st.sampled_from(SHAPES),
)
def test_factors_are_as_published(counts: list[int], ends: tuple[float, float], shape: str) -> None:
    tail, head = sorted(ends)
    factors = smoothing_factors(torch.tensor(counts), head, tail, shape)
    np.testing.assert_allclose(factors, as_published(counts, head, tail, shape), atol=1e-12)
    # A class without rows changes nothing for the others.
    wider = smoothing_factors(torch.tensor([0, *counts]), head, tail, shape)
    assert torch.equal(wider[1:], factors)
    assert float(wider[0]) == pytest.approx(tail, abs=1e-12)


def test_shapes_are_called_what_they_are() -> None:
    counts = torch.arange(1, 12)
    bent = {shape: smoothing_factors(counts, 0.3, 0.0, shape).diff().diff() for shape in SHAPES}
    assert bool((bent["concave"] < 0).all())
    assert bool((bent["linear"].abs() < 1e-12).all())
    assert bool((bent["convex"] > 0).all())


def test_equal_counts_are_all_the_most_frequent() -> None:
    for shape in SHAPES:
        assert smoothing_factors(torch.tensor([7, 7, 0]), 0.3, 0.1, shape).tolist() == pytest.approx([0.3] * 3)


def test_without_smoothing_it_is_crt(problem: Any) -> None:
    expected = crt(None, problem.features, problem.labels, weight_decay=DECAY, tol=TOL)
    head = fit(problem, epsilon_head=0.0, epsilon_tail=0.0)
    # One minimum, two ways to round the loss: within a gradient of 1e-4 over a curvature of 1e-2.
    torch.testing.assert_close(head.weight, expected.weight, atol=2e-2, rtol=0)


def test_one_factor_for_all_is_label_smoothing(problem: Any) -> None:
    """Of torch, with the class weights of balanced rows."""
    head = fit(problem, epsilon_head=0.2, epsilon_tail=0.2, weight_decay=0.0)
    z = head(problem.features).double()
    losses = cross_entropy(z, problem.labels, label_smoothing=0.2, reduction="none")
    mean = torch.stack([losses[problem.labels == k].mean() for k in range(5)]).mean()
    assert head.record["solver"]["objective"] == pytest.approx(float(mean), rel=1e-5)


def test_all_smoothed_away_asks_for_no_class(problem: Any) -> None:
    head = fit(problem, epsilon_head=1.0, epsilon_tail=1.0)
    torch.testing.assert_close(head(problem.features).softmax(1), torch.full((110, 5), 0.2), atol=1e-3, rtol=0)


def test_frequent_classes_are_made_less_sure(problem: Any) -> None:
    """Between its target and the rest a row may reach log((1 - e + e / K) / (e / K)), and no decay holds it back."""
    far = 20 * torch.eye(8)[problem.labels]
    head = label_aware_smoothing(None, problem.features + far, problem.labels, weight_decay=0.0, tol=1e-4)
    p = head(problem.features + far).softmax(1)
    own = torch.stack([p[problem.labels == k, k].mean() for k in range(5)])
    factors = smoothing_factors(problem.counts, 0.3, 0.0, "concave")
    torch.testing.assert_close(own.double(), 1 - factors + factors / 5, atol=0.02, rtol=0)
    assert float(own[0]) == pytest.approx(1 - 0.3 * 4 / 5, abs=0.02)


def test_a_class_without_rows_and_one_of_one_row_survive(problem: Any) -> None:
    labels = torch.where(problem.labels == 2, -1, problem.labels)
    labels[(labels == 4).nonzero()[1:, 0]] = -1
    head = label_aware_smoothing(problem.head, problem.features, labels, weight_decay=1e-3)
    logits = head(problem.features[labels >= 0])
    assert bool(torch.isfinite(logits).all())
    assert bool((logits.argmax(1) != 2).all())
    (row,) = (labels == 4).nonzero()[:, 0]
    assert int(head(problem.features[row : row + 1]).argmax()) == 4


@pytest.mark.parametrize(
    ("option", "part"),
    [
        ({"epsilon_head": 1.1}, "epsilon_head"),
        ({"epsilon_tail": -0.1}, "epsilon_tail"),
        ({"epsilon_head": 0.1, "epsilon_tail": 0.2}, "epsilon_tail is 0.2.*epsilon_head"),
        ({"epsilon_tail": math.nan}, "epsilon_tail"),
        ({"shape": "exp"}, "shape"),
    ],
)
def test_wrong_values_are_refused(option: Any, part: str, problem: Any, refuses: Any) -> None:
    with refuses(part, "expected"):
        fit(problem, **option)
