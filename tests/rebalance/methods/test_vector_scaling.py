"""Vector scaling: factors and offsets of each class, as a logistic regression would have them."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import cross_entropy

from rebalance.methods import temperature, vector_scaling

DECAY = 1e-2


def test_factors_and_offsets_are_optimal(problem: Any) -> None:
    out = vector_scaling(problem.head, problem.val_features, problem.val_labels, weight_decay=DECAY, tol=1e-4)
    factors = (out.weight / problem.head.weight)[:, 0].double()
    torch.testing.assert_close(out.weight, problem.head.weight * factors.float()[:, None], rtol=1e-5, atol=1e-6)
    offsets = out.bias.double() - factors * problem.head.bias.double()
    free = [factors.requires_grad_(), offsets.requires_grad_()]
    logits = problem.head(problem.val_features).double()
    value = cross_entropy(free[0] * logits + free[1], problem.val_labels)
    value = value + DECAY / 2 * ((free[0] - 1).square().sum() + free[1].square().sum())
    value.backward()
    for each in free:
        assert each.grad is not None
        # 1e-4 of the gradient at zero, which is about 1 here, and what rounding leaves of the offsets read off.
        assert float(each.grad.abs().max()) < 3e-4


def test_it_fits_better_than_one_temperature(problem: Any) -> None:
    one, each = (
        method(problem.head, problem.val_features, problem.val_labels, weight_decay=0.0)
        for method in (temperature, vector_scaling)
    )
    assert each.record["solver"]["objective"] < one.record["solver"]["objective"]


def test_it_corrects_the_training_prior_on_balanced_rows(problem: Any) -> None:
    before = problem.head(problem.val_features).softmax(1).mean(0)
    after = vector_scaling(problem.head, problem.val_features, problem.val_labels, weight_decay=0.0)
    # At the minimum the offsets' gradient is zero: the mean probability of a class is its share.
    torch.testing.assert_close(after(problem.val_features).softmax(1).mean(0), torch.full((5,), 0.2), rtol=0, atol=1e-3)
    assert float((before - 0.2).abs().max()) > 0.05
