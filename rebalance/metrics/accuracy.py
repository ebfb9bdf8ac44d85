"""Accuracies from class sums: pure functions of how much of each class is right, there, and predicted.

Every function takes arrays with the classes first; what follows (replicates of the bootstrap) is carried along. A class
without rows is left out of every mean, and its own figures are NaN: it is not 0, nobody has looked.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = NDArray[np.int64] | NDArray[np.float64]  # of each class: counted, or weighed


def recall(right: Rows, rows: Rows) -> Floats:
    """Right rows of each class over its rows (K, …), NaN for a class without rows; right: (K, …), rows: (K,)."""
    return _over(right, _wide(rows, right))


def precision(right: Rows, predicted: Rows) -> Floats:
    """Right rows of each class over those predicted as it (K, …), NaN where none is; right, predicted: (K, …)."""
    return _over(right, predicted)


def f1(right: Rows, rows: Rows, predicted: Rows) -> Floats:
    """The harmonic mean of recall and precision (K, …), NaN for a class that has neither rows nor predictions."""
    return _over(2 * right, _wide(rows, right) + predicted)


def mean_over(values: Floats, classes: NDArray[np.bool_]) -> Floats:
    """The mean (…) of values (K, …) over some classes (K,), NaN where there is none."""
    if not classes.any():
        return np.full(values.shape[1:], np.nan)
    return np.asarray(values[classes].mean(axis=0))


def harmonic_mean(recalls: Floats) -> Floats:
    """The harmonic mean (…) of recalls (C, …); 0 where one of them is."""
    with np.errstate(divide="ignore"):
        return np.asarray(len(recalls) / (1 / recalls).sum(axis=0))


def geometric_mean(recalls: Floats) -> Floats:
    """The geometric mean (…) of recalls (C, …); 0 where one of them is. Also called G-mean."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.exp(np.log(recalls).mean(axis=0)))


def macro_f1(right: Floats, rows: Floats, predicted: Floats) -> Floats:
    """The mean F1 (…) over the classes that have rows.

    scikit-learn's also counts a class without rows, as 0, where one row is wrongly predicted as it.
    """
    return np.asarray(f1(right, rows, predicted)[rows > 0].mean(axis=0))


def weighted_f1(right: Floats, rows: Floats, predicted: Floats) -> Floats:
    """The mean F1 (…), every class weighing its rows."""
    values = f1(right, rows, predicted)[rows > 0]
    return np.asarray(np.tensordot(rows[rows > 0] / rows.sum(), values, axes=1))


def macro_precision(right: Floats, rows: Floats, predicted: Floats) -> Floats:
    """The mean precision (…) over the classes that have rows; 0 for one that is never predicted."""
    return np.asarray(np.nan_to_num(precision(right, predicted))[rows > 0].mean(axis=0))


def balanced_row_weights(labels: NDArray[np.int64]) -> Floats:
    """Weights (N,) under which the correct rows sum to balanced accuracy: 1 / (classes present * rows of the class)."""
    _, place, rows = np.unique(labels, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / (len(rows) * rows[place]))


def wilson(right: Rows, rows: Rows) -> Floats:
    """Wilson's 95 % interval (K, 2) of each class's recall, NaN for a class without rows.

    right, rows: (K,). Unlike resampling it is not certain of a class whose few rows are all right, or all wrong.
    Source: Wilson (JASA 1927).
    """
    z = 1.959963984540054
    with np.errstate(invalid="ignore", divide="ignore"):
        share = right / rows
        middle = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
        half = z / (1 + z**2 / rows) * np.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2))
    # Rounding would leave a recall of just 0 or 1 outside.
    ends = np.minimum(middle - half, share), np.maximum(middle + half, share)
    return np.asarray(np.clip(np.stack(ends, axis=1), 0.0, 1.0))


def _wide(rows: Rows, like: Rows) -> Rows:
    return rows.reshape(-1, *[1] * (like.ndim - 1))


def _over(numerator: Rows, denominator: Rows) -> Floats:
    full = np.broadcast_to(denominator, numerator.shape)
    return np.asarray(np.divide(numerator, full, out=np.full(numerator.shape, np.nan), where=full > 0))
