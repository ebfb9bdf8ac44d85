"""The objective of directions: its value and gradient are autograd's, and its start is what it is pulled to."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy
from torch.nn.functional import normalize as unit

from rebalance.solving.angles import CosineObjective
from rebalance.solving.loss import SoftmaxLoss

SCALE = 10.0


def anchors(problem: Any) -> torch.Tensor:
    rows = unit(problem.features, dim=1)
    return unit(torch.stack([rows[problem.labels == k].mean(0) for k in range(5)]), dim=1)


def objective(problem: Any, *, learn_scale: bool, decay: float, **loss: Any) -> CosineObjective:
    weights = torch.full((len(problem.labels),), 1 / len(problem.labels))
    return CosineObjective(
        problem.features,
        problem.labels,
        weights,
        anchors(problem),
        SoftmaxLoss(**loss),
        scale=SCALE,
        learn_scale=learn_scale,
        decay=decay,
    )


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.booleans(), st.floats(0, 1))
def test_value_and_gradient_are_autograds(problem: Any, seed: int, learn_scale: bool, decay: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    offsets, margins = torch.randn(5, generator=generator), 3 * torch.rand(5, generator=generator)
    ours = objective(problem, learn_scale=learn_scale, decay=decay, offsets=offsets, margins=margins)
    at = 0.3 * torch.randn(ours.zeros().shape, generator=generator)
    value, gradient = ours(at)
    free = at.double().requires_grad_()
    factor = SCALE * free[-1].exp() if learn_scale else torch.tensor(SCALE)
    directions = unit(anchors(problem) + free[:40].view(5, 8), dim=1)
    logits = factor * unit(problem.features.double(), dim=1) @ directions.T + offsets
    own = torch.nn.functional.one_hot(problem.labels, 5) * margins
    pull = (directions - anchors(problem)).square().sum() + torch.log(factor / SCALE) ** 2
    expected = cross_entropy(logits - own, problem.labels) + decay / 2 * pull
    expected.backward()
    assert free.grad is not None
    # Logits of up to 20 in float32: errors of 1e-6 each, of which a gradient adds up a hundred.
    torch.testing.assert_close(value, expected.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient.double(), free.grad, rtol=1e-3, atol=2e-5)


def test_zeros_are_the_anchors_and_the_scale(problem: Any) -> None:
    ours = objective(problem, learn_scale=True, decay=1.0)
    directions, factor = ours.split(ours.zeros())
    torch.testing.assert_close(directions, anchors(problem))
    assert float(factor) == SCALE
    value, _ = ours(ours.zeros())
    free, _ = objective(problem, learn_scale=True, decay=0.0)(ours.zeros())
    torch.testing.assert_close(value, free)  # nothing to pull at
