"""The largest deviation of the features, against their covariance."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rebalance.rows import need_rows
from rebalance.solving.spread import largest_deviation


@pytest.mark.parametrize("unlabelled", [0, 30])
def test_it_is_the_root_of_the_largest_eigenvalue(problem: Any, unlabelled: int) -> None:
    labels = problem.labels.clone()
    labels[:unlabelled] = -1
    covariance = torch.cov(problem.features[unlabelled:].double().T, correction=0)
    expected = float(torch.linalg.eigvalsh(covariance).max().sqrt())
    # Power iteration comes from below; with eigenvalues as close as here five turns leave a few percent.
    assert 0.95 * expected < largest_deviation(need_rows(None, problem.features, labels)) < expected * (1 + 1e-5)


def test_it_grows_with_the_features_and_ignores_where_they_are(problem: Any) -> None:
    one = largest_deviation(need_rows(None, problem.features, problem.labels))
    assert largest_deviation(need_rows(None, 8 * problem.features, problem.labels)) == pytest.approx(8 * one, rel=1e-5)
    moved = need_rows(None, problem.features + 100, problem.labels)
    assert largest_deviation(moved) == pytest.approx(one, rel=1e-3)  # 100 leaves float32 five digits


def test_features_that_sum_to_a_constant_have_one() -> None:
    features = torch.tensor([[1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, 1.0]])
    rows = need_rows(None, features, torch.tensor([0, 1, 0, 1]))
    assert largest_deviation(rows) == pytest.approx(2**0.5)


def test_rows_that_are_all_the_same_have_a_unit(problem: Any) -> None:
    assert largest_deviation(need_rows(None, torch.ones(110, 8), problem.labels)) == 1
