"""Intervals of a data set: the logits they are made of, and the rows that have none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rebalance import LinearHead, NormalizedHead
from rebalance.search.intervals import exact_logits, row_intervals


def together(head: LinearHead, features: Any) -> np.ndarray[Any, Any]:
    return torch.cat([z for _, z in exact_logits(head, features)]).numpy()


def test_few_logits_are_those_of_float64(problem: Any) -> None:
    head = problem.head
    expected = problem.features.double() @ head.weight.double().T + head.bias.double()
    # 8 terms of size 10 in float64.
    np.testing.assert_allclose(together(head, problem.features), expected.numpy(), rtol=0, atol=1e-13)


def test_many_logits_and_those_of_other_heads_are_the_heads_own(problem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cosine = NormalizedHead(problem.head.weight, problem.head.bias, center=problem.features.mean(0))
    assert np.array_equal(together(cosine, problem.features), cosine(problem.features).double().numpy())
    monkeypatch.setattr("rebalance.search.intervals.EXACT", 0)
    assert np.array_equal(together(problem.head, problem.features), problem.head(problem.features).double().numpy())


def test_float16_is_upcast_first(problem: Any, float16_map: Any) -> None:
    assert np.array_equal(together(problem.head, float16_map), together(problem.head, problem.features))


def test_a_row_that_is_not_finite_is_named(problem: Any, refuses: Any) -> None:
    features = problem.features.clone()
    features[9, 2] = math.nan
    with refuses("row 9 of 110", "NaN"):
        together(problem.head, features)


@pytest.mark.parametrize("rows", [1, 7, 110])
def test_intervals_come_in_the_order_of_rows_and_unlabelled_ones_are_empty(rows: int) -> None:
    logits = torch.arange(110.0, dtype=torch.float64)[:, None].repeat(1, 3)
    labels = torch.arange(110) % 4 - 1

    def rule(z: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        assert int(own.min()) >= 0
        return z[:, 0], z[:, 0] + own

    parts = [slice(start, min(start + rows, 110)) for start in range(0, 110, rows)]
    lo, hi = row_intervals(((part, logits[part]) for part in parts), labels, rule)
    known = labels.numpy() >= 0
    np.testing.assert_array_equal(lo[known], np.arange(110.0)[known])
    np.testing.assert_array_equal((hi - lo)[known], labels.numpy()[known])
    assert (lo[~known] == math.inf).all()
    assert (hi[~known] == -math.inf).all()
