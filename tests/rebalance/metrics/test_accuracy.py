"""Accuracies from class sums against scikit-learn and loops; what is not there is NaN."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, gmean, hmean
from sklearn.metrics import precision_recall_fscore_support

from rebalance.metrics import accuracy, balanced_row_weights

CASES = st.tuples(st.integers(1, 50), st.integers(2, 7), st.integers(0, 2**32 - 1))
RECALLS = st.lists(st.just(0.0) | st.floats(1e-6, 1), min_size=1, max_size=20)


def sums(labels: Any, guess: Any, classes: int, weights: Any = None) -> tuple[Any, Any, Any]:
    """What is right, there, and predicted (K,) of each class."""
    weights = np.ones(len(labels)) if weights is None else weights
    right = labels == guess
    return (
        np.bincount(labels[right], weights[right], classes),
        np.bincount(labels, weights, classes),
        np.bincount(guess, weights, classes),
    )


@given(CASES)
def test_recall_precision_and_f1_are_those_of_scikit_learn(shape: tuple[int, int, int]) -> None:
    rows, classes, seed = shape
    rng = np.random.default_rng(seed)
    labels, guess, weights = rng.integers(0, classes, rows), rng.integers(0, classes, rows), rng.uniform(0.1, 2, rows)
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, guess, labels=range(classes), sample_weight=weights, zero_division=np.nan
    )
    right, size, predicted = sums(labels, guess, classes, weights)
    np.testing.assert_allclose(accuracy.recall(right, size), recall, rtol=1e-12)
    np.testing.assert_allclose(accuracy.precision(right, predicted), precision, rtol=1e-12)
    np.testing.assert_allclose(accuracy.f1(right, size, predicted), f1, rtol=1e-12)


def test_replicates_are_carried_along() -> None:
    rng = np.random.default_rng(0)
    rows = np.array([4.0, 0.0, 3.0])
    predicted = rng.integers(0, 5, (3, 6)).astype(float)
    right = np.minimum(rng.integers(0, 4, (3, 6)), np.minimum(rows[:, None], predicted))
    for function, arrays in {
        accuracy.recall: (right, rows),
        accuracy.precision: (right, predicted),
        accuracy.f1: (right, rows, predicted),
        accuracy.macro_f1: (right, rows, predicted),
        accuracy.weighted_f1: (right, rows, predicted),
        accuracy.macro_precision: (right, rows, predicted),
    }.items():
        together = function(*arrays)
        for replicate in range(6):
            alone = function(*(each if each.ndim == 1 else each[:, replicate] for each in arrays))
            np.testing.assert_allclose(together[..., replicate], alone, rtol=1e-12)


@given(RECALLS)
def test_means_are_those_of_scipy_and_in_their_order(recalls: list[float]) -> None:
    values = np.array(recalls)
    harmonic, geometric = accuracy.harmonic_mean(values), accuracy.geometric_mean(values)
    with np.errstate(divide="ignore"):  # scipy's logarithm of 0
        assert harmonic == pytest.approx(hmean(values))
        assert geometric == pytest.approx(gmean(values))
    close = 1 + 1e-12
    assert values.min() <= harmonic * close
    assert harmonic <= geometric * close
    assert geometric <= values.mean() * close


def test_one_recall_of_0_makes_both_means_0() -> None:
    assert accuracy.harmonic_mean(np.array([0.0, 1.0])) == 0
    assert accuracy.geometric_mean(np.array([0.0, 1.0])) == 0


def test_a_mean_over_no_class_is_nan() -> None:
    assert math.isnan(accuracy.mean_over(np.ones(2), np.zeros(2, dtype=bool)))
    assert np.isnan(accuracy.mean_over(np.ones((2, 3)), np.zeros(2, dtype=bool))).tolist() == [True] * 3


@pytest.mark.parametrize(("right", "rows"), [(0, 1), (1, 1), (0, 7), (7, 7), (3, 8), (480, 500)])
def test_wilson_is_that_of_scipy(right: int, rows: int) -> None:
    expected = binomtest(right, rows).proportion_ci(0.95, method="wilson")
    found = accuracy.wilson(np.array([right, 0.0]), np.array([rows, 0.0]))
    np.testing.assert_allclose(found[0], (expected.low, expected.high), atol=1e-12)
    assert found[0, 0] <= right / rows <= found[0, 1]
    assert np.isnan(found[1]).all()


@given(st.lists(st.integers(0, 6), min_size=1, max_size=40), st.integers(0, 99))
def test_balanced_row_weights_sum_to_balanced_accuracy(labels: list[int], seed: int) -> None:
    truth = np.array(labels)
    right = np.random.default_rng(seed).random(len(truth)) < 0.5
    expected = np.mean([right[truth == k].mean() for k in np.unique(truth)])
    assert balanced_row_weights(truth) @ right == pytest.approx(expected)
