"""Standard errors by resampling the rows within their classes.

A replicate draws from every class as many rows as it has, with replacement. It only re-weights the rows: which of them
are right is known already, so nothing is computed from the features or the logits again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from rebalance.search.path import Floats

REPLICATES = 200


def bootstrap_errors(
    values: Callable[[Floats], Floats], weights: Floats, labels: NDArray[np.int64], top: int, *, seed: int = 0
) -> Floats:
    """The deviation (S,), over 200 replicates, of every value's difference to the value `top`.

    values: from row weights (N,) to the metric of each of S choices (S,). weights: (N,), the share of the metric that
    each row holds. labels: (N,); a row labelled -1 is never drawn. top: the best choice.
    A class with a single row is drawn as it is every time and has no deviation: what hangs on that row looks certain.
    Replicates are taken one after the other, so memory is that of one.
    Source: Efron and Tibshirani (1993), chapter 6, with the classes as strata.
    """
    mean = squares = np.zeros(len(values(weights)))
    for number, drawn in enumerate(replicates(weights, labels, seed), start=1):
        difference = values(drawn)
        difference = difference - difference[top]
        step = difference - mean  # Welford's update: a difference of large sums would lose the small deviations
        mean = mean + step / number
        squares = squares + step * (difference - mean)
    return np.asarray(np.sqrt(squares / (REPLICATES - 1)))


def replicates(weights: Floats, labels: NDArray[np.int64], seed: int) -> Iterator[Floats]:
    """The row weights (N,) of each replicate: how often a row was drawn, times its weight.

    weights, labels: (N,). seed: the draws follow from it, whatever the other generators do.
    """
    rng = np.random.default_rng(seed)
    order = np.argsort(labels, kind="stable")
    order = order[labels[order] >= 0]
    _, start, rows = np.unique(labels[order], return_index=True, return_counts=True)
    start, rows = np.repeat(start, rows), np.repeat(rows, rows)
    for _ in range(REPLICATES):
        times = np.bincount(order[start + rng.integers(0, rows)], minlength=len(labels))
        yield weights * times


def single_rows(labels: NDArray[np.int64]) -> tuple[int, int]:
    """How many classes have a single row, and how many have any."""
    _, rows = np.unique(labels[labels >= 0], return_counts=True)
    return int((rows == 1).sum()), len(rows)
