"""Parts of the rows that take turns to judge, each with its share of every class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def stratified_folds(labels: NDArray[np.int64], folds: int, *, seed: int = 0) -> NDArray[np.int64]:
    """The fold (N,) of every row, 0..folds-1; -1 for a row without a label.

    labels: (N,). folds: how many. seed: which rows of a class go where.
    Of no class, and not of all rows together, does one fold hold more than one row more than another: the rows are
    dealt out in turn, class after class. A class with fewer rows than folds is missing from some of them.
    ValueError when there are fewer than 2 folds or more folds than labelled rows.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    order = order[labels[order] >= 0]
    if not 2 <= folds <= len(order):
        raise ValueError(f"folds is {folds}; expected 2 or more, and no more than the {len(order)} labelled rows")
    fold = np.full(len(labels), -1)
    fold[order] = np.arange(len(order)) % folds
    return fold
