"""Weight balancing: the bounded minimum in float64, its limits, and the reference's loss."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import binary_cross_entropy, one_hot

from rebalance import LinearHead
from rebalance.methods import crt, weight_balance
from rebalance.methods.weight_balance import SoftmaxBce

TOL = 1e-4


def fit(problem: Any, **options: Any) -> LinearHead:
    return weight_balance(problem.head, problem.features, problem.labels, tol=TOL, **options)


def norms(head: LinearHead) -> torch.Tensor:
    return torch.linalg.vector_norm(head.weight.double(), dim=1)


@pytest.mark.parametrize("beta", [0.0, 0.99, 1.0])
@pytest.mark.parametrize("decay", [0.0, 1e-2])
def test_the_conditions_of_the_bounded_minimum(problem: Any, beta: float, decay: float) -> None:
    """Where a weight touches the ball the loss falls straight outwards; elsewhere it is flat."""
    radius = 0.7
    head = fit(problem, radius=radius, beta=beta, weight_decay=decay)
    n = problem.counts.double()
    each = 1 / n if beta == 1 else (1 - beta) / (1 - beta**n)
    rows = each[problem.labels] / each[problem.labels].sum()
    weight, bias = head.weight.double().requires_grad_(), head.bias.double().requires_grad_()
    logits = problem.features.double() @ weight.T + bias
    own = logits.log_softmax(1).gather(1, problem.labels[:, None])[:, 0]
    loss = -(rows * own).sum() + decay / 2 * weight.square().sum()
    loss.backward()
    assert float(loss.detach()) == pytest.approx(head.record["solver"]["objective"], rel=1e-5)
    assert weight.grad is not None
    assert bias.grad is not None
    touching = norms(head) > radius * (1 - 1e-5)
    assert int(touching.sum()) == head.record["bounded_classes"] > 0
    held = torch.where(touching, -(weight.grad * weight.detach()).sum(1) / radius**2, 0.0)
    assert bool((held >= 0).all())
    # The tolerance is of the gradient of centred features, some 1 at zero; uncentring adds the mean times the bias's.
    left = weight.grad + held[:, None] * weight.detach() - bias.grad[:, None] * problem.features.mean(0).double()
    assert float(left.abs().max()) < 2 * TOL
    assert float(bias.grad.abs().max()) < 2 * TOL


def test_the_radius_is_a_tenth_of_the_way_from_the_shortest_to_the_longest(problem: Any) -> None:
    own = norms(problem.head)
    radius = float(own.min() + 0.1 * (own.max() - own.min()))
    head = fit(problem)
    assert head.record["radius"] == pytest.approx(radius)
    assert float(norms(head).max()) <= radius * (1 + 1e-6)
    given_it = fit(problem, radius=radius)
    assert torch.equal(given_it.weight, head.weight)


def test_without_bound_and_with_beta_one_it_is_crt(problem: Any) -> None:
    ours = fit(problem, radius=1e3, beta=1.0, weight_decay=0.05)
    other = crt(None, problem.features, problem.labels, weight_decay=0.05, tol=TOL)
    assert ours.record["bounded_classes"] == 0
    # A gradient of 1e-4 over a curvature of 0.05.
    torch.testing.assert_close(ours.weight, other.weight, rtol=0, atol=5e-3)
    # The biases may differ by one number, at which no probability looks.
    probabilities = [head(problem.val_features).softmax(1) for head in (ours, other)]
    torch.testing.assert_close(probabilities[0], probabilities[1], rtol=0, atol=5e-3)


def test_a_small_radius_balances_the_norms(problem: Any) -> None:
    wide, narrow = norms(fit(problem, radius=100.0)), norms(fit(problem, radius=0.1))
    assert float(wide.max() / wide.min()) > 1.1
    torch.testing.assert_close(narrow, torch.full((5,), 0.1).double())


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.floats(0.1, 60))
def test_bce_is_the_binary_cross_entropy_of_softmax(seed: int, size: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = (size * torch.randn(7, 4, generator=generator)).requires_grad_()
    labels, weights = torch.tensor([0, 1, 2, 3, 0, 1, -1]), torch.rand(7, generator=generator)
    weights[6] = 0.0
    value, gradient = SoftmaxBce()(logits.detach(), labels, weights)
    assert bool(torch.isfinite(value) & torch.isfinite(gradient).all())
    # Even float64 loses 1 - p from about 36 nats on; there torch cuts the logarithm at -100, and we do not.
    if float((logits.max(1).values - logits.min(1).values).detach().max()) < 25:
        target = one_hot(labels.clamp_min(0), 4).double()
        probabilities = logits.double().softmax(1)
        expected = binary_cross_entropy(probabilities, target, weights.double()[:, None], reduction="sum")
        expected.backward()
        assert logits.grad is not None
        torch.testing.assert_close(value, expected.detach(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(gradient, logits.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradient.sum(1), torch.zeros(7), rtol=0, atol=1e-5)  # a shift of all logits is nothing


def test_bce_is_at_a_stationary_point_too(problem: Any) -> None:
    head = fit(problem, loss="bce", weight_decay=1e-2, radius=1.0)
    assert head.record["solver"]["converged"]
    assert float((head.weight - fit(problem, weight_decay=1e-2, radius=1.0).weight).abs().max()) > 1e-2


def test_a_class_without_rows_loses(problem: Any) -> None:
    labels = torch.where(problem.labels == 2, -1, problem.labels)
    for loss in ("softmax", "bce"):
        head = weight_balance(problem.head, problem.features, labels, loss=loss)  # type: ignore[arg-type]
        assert not bool((head(problem.val_features).argmax(1) == 2).any())


def test_features_that_are_all_the_same_teach_nothing_but_survive(problem: Any) -> None:
    head = weight_balance(problem.head, torch.ones(110, 8), problem.labels, beta=1.0)
    torch.testing.assert_close(head(torch.ones(1, 8)).softmax(1), torch.full((1, 5), 0.2), rtol=0, atol=5e-3)


def test_a_start_does_not_matter(problem: Any) -> None:
    one = fit(problem, weight_decay=0.05)
    other = fit(problem, weight_decay=0.05, start=LinearHead(torch.ones(5, 8), torch.ones(5)))
    torch.testing.assert_close(other.weight, one.weight, rtol=0, atol=5e-3)  # as above
    assert fit(problem, weight_decay=0.05, start=one).record["solver"]["passes"] <= 3


@pytest.mark.parametrize(
    ("option", "value", "part"),
    [
        ("radius", 0.0, "above 0"),
        ("beta", -1.0, "from 0 to 1"),
        ("weight_decay", -1.0, "0 or more"),
        ("loss", "hinge", "softmax or bce"),
        ("tol", 0.0, "above 0"),
    ],
)
def test_wrong_values_are_refused(option: str, value: Any, part: str, problem: Any, refuses: Any) -> None:
    with refuses(option, part):
        weight_balance(problem.head, problem.features, problem.labels, **{option: value})


def test_a_head_of_zeros_gives_no_radius(problem: Any, refuses: Any) -> None:
    nothing = LinearHead(torch.zeros(5, 8))
    with refuses("all weights of the head are 0", "radius"):
        weight_balance(nothing, problem.features, problem.labels)
    assert weight_balance(nothing, problem.features, problem.labels, radius=1.0).record["radius"] == 1
