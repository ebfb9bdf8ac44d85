"""The cosine head: its start, what its minimum satisfies, and what it does not see."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy
from torch.nn.functional import normalize as unit

from rebalance import NormalizedHead
from rebalance.methods import cosine, ncm


def anchors(problem: Any) -> torch.Tensor:
    return ncm(None, problem.features, problem.labels, transform="l2n", distance="cosine").weight


def stated(
    problem: Any, directions: torch.Tensor, factor: Any, *, adjustment: float, decay: float, start: float
) -> torch.Tensor:
    """The loss in float64 with autograd's gradient."""
    prior = torch.log(problem.counts / problem.counts.sum())
    logits = factor * unit(problem.features.double(), dim=1) @ unit(directions, dim=1).T
    pull = (unit(directions, dim=1) - anchors(problem)).square().sum() + torch.log(torch.as_tensor(factor) / start) ** 2
    return cross_entropy(logits + adjustment * prior, problem.labels) + decay / 2 * pull


def test_logits_are_scaled_cosines(problem: Any) -> None:
    head = cosine(None, problem.features, problem.labels, scale=7.0)
    assert isinstance(head, NormalizedHead)
    torch.testing.assert_close(torch.linalg.vector_norm(head.weight, dim=1), torch.full((5,), 7.0))
    assert not bool(head.bias.any())
    assert not bool(head.center.any())
    assert head.record["scale"] == 7
    assert float(head(problem.features).abs().max()) <= 7 + 1e-5


def test_at_the_minimum_the_gradient_is_along_the_directions(problem: Any) -> None:
    """On a sphere that is the condition: nothing is gained by turning."""
    options: dict[str, Any] = {"adjustment": 1.0}
    head = cosine(None, problem.features, problem.labels, weight_decay=0.01, tol=1e-3, **options)
    directions = (head.weight / 25).double().requires_grad_()
    stated(problem, directions, 25.0, decay=0.01, start=25, **options).backward()
    start = anchors(problem).double().requires_grad_()
    stated(problem, start, 25.0, decay=0.01, start=25, **options).backward()
    assert directions.grad is not None
    assert start.grad is not None
    # `stated` normalises, so its gradient is across already. The solver's is smaller by |m + v|.
    assert float(directions.grad.abs().max()) < 2e-3 * float(start.grad.abs().max())
    assert head.record["solver"]["converged"]


@given(st.floats(0.1, 3), st.floats(0, 0.1))
@settings(max_examples=10)
def test_training_lowers_the_loss(problem: Any, adjustment: float, decay: float) -> None:
    head = cosine(None, problem.features, problem.labels, adjustment=adjustment, weight_decay=decay)
    options: dict[str, Any] = {"adjustment": adjustment, "decay": decay, "start": 25}
    before = stated(problem, anchors(problem).double(), 25.0, **options)
    after = stated(problem, head.weight.double(), 25.0, **options)
    assert float(after) < float(before)
    assert head.record["solver"]["objective"] == pytest.approx(float(after), rel=1e-4)


def test_a_strong_pull_leaves_the_class_means(problem: Any) -> None:
    head = cosine(None, problem.features, problem.labels, scale=1.0, weight_decay=1e4)
    torch.testing.assert_close(head.weight, anchors(problem), atol=1e-4, rtol=0)
    free = cosine(None, problem.features, problem.labels, scale=1.0, weight_decay=0.0)
    assert float((free.weight - anchors(problem)).abs().max()) > 0.1


def test_a_learned_scale_fits_better_and_is_kept(problem: Any) -> None:
    fixed = cosine(None, problem.features, problem.labels, scale=5.0)
    learned = cosine(None, problem.features, problem.labels, scale=5.0, learn_scale=True)
    assert learned.record["solver"]["objective"] < fixed.record["solver"]["objective"]
    assert learned.record["scale"] > 6
    torch.testing.assert_close(
        torch.linalg.vector_norm(learned.weight, dim=1), torch.full((5,), learned.record["scale"])
    )


def test_adjustment_moves_predictions_to_the_rare_classes(problem: Any) -> None:
    shares = []
    for adjustment in (0.0, 1.0, 2.0):
        head = cosine(None, problem.features, problem.labels, adjustment=adjustment)
        shares.append(float((head(problem.val_features).argmax(1) >= 2).float().mean()))
    assert shares == sorted(shares)
    assert shares[0] < shares[2]


def test_counts_are_the_prior(problem: Any) -> None:
    own = cosine(None, problem.features, problem.labels)
    assert torch.equal(cosine(None, problem.features, problem.labels, counts=problem.counts).weight, own.weight)
    # Any uniform counts are no adjustment at all: the same number is added to every logit.
    flat = cosine(None, problem.features, problem.labels, counts=np.full(5, 9))
    plain = cosine(None, problem.features, problem.labels, adjustment=0.0)
    torch.testing.assert_close(flat.weight, plain.weight, rtol=1e-2, atol=2e-2)  # of 25, and tol is 1e-3
    assert "counts" not in own.record["hyperparameters"]


@pytest.mark.parametrize("scale", [1e-20, 1e-3, 1e20])
def test_the_length_of_the_features_is_not_seen(scale: float, problem: Any) -> None:
    lengths = scale * torch.linspace(0.5, 2, 110)[:, None]
    one = cosine(None, problem.features, problem.labels, weight_decay=0.1, tol=1e-4)
    other = cosine(None, lengths * problem.features, problem.labels, weight_decay=0.1, tol=1e-4)
    # A gradient of 1e-4 times that at the start (about 1) over a curvature of 0.1, times the scale of 25.
    torch.testing.assert_close(other.weight, one.weight, rtol=0, atol=5e-2)


@pytest.mark.parametrize("learn_scale", [False, True])
def test_a_class_without_rows_is_never_predicted(learn_scale: bool, problem: Any) -> None:
    labels = torch.where(problem.labels == 2, -1, problem.labels)
    head = cosine(problem.head, problem.features, labels, learn_scale=learn_scale)
    assert head.record["absent_classes"] == 1
    assert not bool(head.weight[2].any())
    logits = head(torch.cat([problem.features, -problem.features]))
    assert bool(torch.isfinite(logits).all())
    assert bool((logits.softmax(1)[:, 2] == 0).all())


def test_rows_and_classes_of_zeros_have_a_cosine_of_zero(problem: Any) -> None:
    features = torch.cat([problem.features, torch.zeros(3, 8)])
    labels = torch.cat([problem.labels, torch.tensor([5, 5, 0])])
    head = cosine(None, features, labels)
    assert not bool(head.weight[5].any())
    assert bool(torch.isfinite(head.weight).all())
    assert not bool(head(torch.zeros(1, 8)).any())


@pytest.mark.parametrize(
    ("option", "value", "part"),
    [
        ("scale", 0.0, "above 0"),
        ("scale", float("inf"), "above 0"),
        ("learn_scale", "yes", "True or False"),
        ("adjustment", float("inf"), "finite"),
        ("weight_decay", -1.0, "0 or more"),
        ("tol", 0.0, "above 0"),
        ("counts", [1, 2], r"\(5,\)"),
    ],
)
def test_wrong_values_are_refused(option: str, value: Any, part: str, problem: Any, refuses: Any) -> None:
    with refuses(option, part):
        cosine(None, problem.features, problem.labels, **{option: value})
