"""Bias-corrected temperature: one factor, offsets that match the classes' shares, and nothing else."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import cross_entropy

from rebalance import LinearHead
from rebalance.methods import bias_corrected_temperature, logit_adjust, temperature, vector_scaling
from rebalance.methods.calibration import FLATTEST


def fit(head: LinearHead, problem: Any, **options: Any) -> LinearHead:
    return bias_corrected_temperature(head, problem.val_features, problem.val_labels, **options)


def test_factor_and_offsets_are_optimal(problem: Any) -> None:
    out = fit(problem.head, problem, weight_decay=1e-2, tol=1e-4)
    inverse = torch.tensor(1 / out.record["temperature"], dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(out.weight, problem.head.weight / out.record["temperature"])
    offsets = (out.bias.double() - inverse.detach() * problem.head.bias.double()).requires_grad_()
    logits = problem.head(problem.val_features).double()
    value = cross_entropy(inverse * logits + offsets, problem.val_labels)
    value = value + 1e-2 / 2 * ((inverse - 1) ** 2 + offsets.square().sum())
    value.backward()
    for each in (inverse, offsets):
        assert each.grad is not None
        # 1e-4 of the gradient at zero, which is about 1 here, and what rounding leaves of the offsets read off.
        assert float(each.grad.abs().max()) < 3e-4


def test_it_lies_between_one_temperature_and_vector_scaling(problem: Any) -> None:
    values = [
        method(problem.head, problem.val_features, problem.val_labels, weight_decay=0.0).record["solver"]["objective"]
        for method in (temperature, bias_corrected_temperature, vector_scaling)
    ]
    assert values[0] > values[1] > values[2]


def test_the_mean_probability_of_a_class_is_its_share(problem: Any) -> None:
    out = fit(problem.head, problem, weight_decay=0.0)
    torch.testing.assert_close(out(problem.val_features).softmax(1).mean(0), torch.full((5,), 0.2), rtol=0, atol=1e-3)


def test_a_shift_of_the_bias_is_undone(problem: Any) -> None:
    plain = fit(problem.head, problem, weight_decay=0.0)
    shifted = fit(logit_adjust(problem.head, problem.features, problem.labels), problem, weight_decay=0.0)
    torch.testing.assert_close(
        shifted(problem.features).softmax(1), plain(problem.features).softmax(1), rtol=0, atol=5e-3
    )


def test_offsets_are_fitted_to_the_flattest_logits_too(problem: Any) -> None:
    """A head worse than chance: its factor is at its end, and the offsets are the best for that one."""
    labels = problem.val_labels[problem.val_labels < 2]
    features = problem.val_features[problem.val_labels < 2]
    out = bias_corrected_temperature(LinearHead(-problem.head.weight), features, labels, weight_decay=1e-4)
    assert abs(out.record["temperature"] * FLATTEST - 1) < 1e-6
    shares = out(features).softmax(1).mean(0)
    torch.testing.assert_close(shares[:2], torch.full((2,), 0.5), rtol=0, atol=5e-3)
