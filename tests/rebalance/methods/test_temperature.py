"""Temperature scaling: the decisions stay, and the temperature is the one that was there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch.nn.functional import cross_entropy

from rebalance.methods import temperature
from rebalance.methods.calibration import rescaled


def test_no_decision_changes(problem: Any) -> None:
    out = temperature(problem.head, problem.val_features, problem.val_labels)
    assert torch.equal(out(problem.features).argmax(1), problem.head(problem.features).argmax(1))
    torch.testing.assert_close(out.weight * out.record["temperature"], problem.head.weight)
    torch.testing.assert_close(out.bias * out.record["temperature"], problem.head.bias)


@pytest.mark.parametrize("decay", [0.0, 1e-2])
def test_a_search_along_the_line_finds_the_same(decay: float, problem: Any) -> None:
    out = temperature(problem.head, problem.val_features, problem.val_labels, weight_decay=decay, tol=1e-5)
    logits = problem.head(problem.val_features).double()

    def loss(inverse: float) -> float:
        return float(cross_entropy(inverse * logits, problem.val_labels)) + decay / 2 * (inverse - 1) ** 2

    best = minimize_scalar(loss, bounds=(1e-3, 10), method="bounded", options={"xatol": 1e-8}).x
    assert 1 / out.record["temperature"] == pytest.approx(best, rel=1e-3)


@pytest.mark.parametrize("scale", [0.01, 1.0, 50.0])
def test_it_undoes_a_scale(scale: float, problem: Any) -> None:
    one = temperature(problem.head, problem.val_features, problem.val_labels, weight_decay=0.0)
    sharp = rescaled(problem.head, torch.full((5,), scale))
    other = temperature(sharp, problem.val_features, problem.val_labels, weight_decay=0.0)
    torch.testing.assert_close(other.weight, one.weight, rtol=1e-3, atol=1e-5)
    assert other.record["temperature"] == pytest.approx(scale * one.record["temperature"], rel=1e-3)


def test_labels_drawn_from_the_probabilities_give_the_temperature_back(problem: Any) -> None:
    rng = np.random.default_rng(0)
    features = torch.from_numpy(rng.normal(size=(20_000, 8))).float()
    p = (problem.head(features) / 2.5).softmax(1).double().numpy()
    labels = torch.from_numpy((p.cumsum(1) < rng.random((len(p), 1)) * p.sum(1, keepdims=True)).sum(1))
    out = temperature(problem.head, features, labels)
    assert out.record["temperature"] == pytest.approx(2.5, rel=0.03)  # some three standard errors of 20,000 rows
