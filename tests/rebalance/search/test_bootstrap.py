"""The bootstrap's standard error: that of the same replicates drawn row by row, and of infinitely many."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rebalance.resampling import draws
from rebalance.search.bootstrap import REPLICATES, bootstrap_errors
from rebalance.search.path import Sweep

SEEDS = st.integers(0, 2**32 - 1)


def problem(seed: int, rows: int = 40) -> tuple[Any, Any, Any]:
    """Labels with unlabelled rows and a class of one row, weights, and intervals of which some are open or empty."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([rng.integers(0, 3, rows - 1), [3]])
    labels[: rows // 8] = -1
    weights = np.where(labels < 0, 0.0, rng.uniform(0.5, 1.5, rows) / rows)
    lo, hi = np.sort(rng.normal(size=(2, rows)).round(1), axis=0)
    lo[::7], hi[::5] = -math.inf, math.inf
    return labels, weights, Sweep.of(lo, hi)


@given(SEEDS)
def test_the_error_is_the_deviation_of_the_replicates_recomputed(seed: int) -> None:
    """Each replicate as rows that are really there so often, in a sweep of its own."""
    labels, weights, sweep = problem(seed)
    stretches = np.arange(len(sweep.breakpoints) + 1)
    right = (sweep.first <= stretches[:, None]) & (stretches[:, None] < sweep.last)
    top = int((right @ weights).argmax())
    differences = []
    for times in draws(labels, REPLICATES, seed):
        rows = np.repeat(np.arange(len(labels)), times)
        values = right[:, rows] @ weights[rows]
        differences.append(values - values[top])
    expected = np.std(differences, axis=0, ddof=1)
    found = bootstrap_errors(sweep.values, weights, labels, top, seed=seed)
    # Sums of 40 numbers below one, in another order.
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert found[top] == 0


@pytest.mark.parametrize("seed", range(3))
def test_the_error_is_near_that_of_infinitely_many_replicates(seed: int) -> None:
    """A class of n rows with differences d of equal weight w adds n w^2 (mean d^2 - (mean d)^2) to the variance."""
    labels, _, sweep = problem(seed, rows=200)
    weights = np.where(labels < 0, 0.0, 1 / (4 * np.bincount(labels[labels >= 0])[labels]))
    stretches = np.arange(len(sweep.breakpoints) + 1)
    right = ((sweep.first <= stretches[:, None]) & (stretches[:, None] < sweep.last)).astype(float)
    top = int((right @ weights).argmax())
    variance = np.zeros(len(right))
    for k in range(4):
        d = (right - right[top])[:, labels == k]
        variance += d.shape[1] * weights[labels == k][0] ** 2 * d.var(axis=1)
    found = bootstrap_errors(sweep.values, weights, labels, top, seed=seed)
    # A deviation of 200 draws is itself uncertain by 1/sqrt(400) = 5 %: four times that.
    np.testing.assert_allclose(found, np.sqrt(variance), rtol=0.2)


def test_a_class_with_one_row_has_no_deviation() -> None:
    labels = np.array([0, 1])
    right = np.array([[1.0, 0.0], [1.0, 1.0]])
    assert bootstrap_errors(lambda weights: weights @ right, np.array([0.5, 0.5]), labels, 0).tolist() == [0, 0]


def test_the_seed_decides_and_no_generator_is_touched() -> None:
    labels, weights, sweep = problem(1)
    state = np.random.get_state()[1].copy()  # noqa: NPY002 (it must not be touched)
    first, again, other = (bootstrap_errors(sweep.values, weights, labels, 2, seed=seed) for seed in (5, 5, 6))
    assert (first == again).all()
    assert (first != other).any()
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002
