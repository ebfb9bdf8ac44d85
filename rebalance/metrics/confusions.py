"""Which classes are taken for which."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rebalance.metrics.rows import RowResults

Ids = NDArray[np.int64]


def confusions(results: RowResults, num_classes: int) -> tuple[Ids, Ids, Ids]:
    """Labels, predictions and rows (P,) of every wrong pair that occurs, most rows first; ties: lower class ids.

    Only pairs that occur: a matrix of 8,142 classes would hold 66 million counts, nearly all of them 0.
    """
    wrong = ~results.correct
    pairs, rows = np.unique(results.labels[wrong] * num_classes + results.predictions[wrong], return_counts=True)
    order = np.argsort(-rows, kind="stable")
    return pairs[order] // num_classes, pairs[order] % num_classes, rows[order]


def confusion_matrix(results: RowResults, num_classes: int) -> Ids:
    """Rows (K, K) by label and prediction."""
    pairs = np.bincount(results.labels * num_classes + results.predictions, minlength=num_classes**2)
    return pairs.reshape(num_classes, num_classes)
