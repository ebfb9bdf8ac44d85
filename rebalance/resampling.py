"""Rows drawn with replacement within their classes: the stratified bootstrap.

A replicate draws from every class as many rows as it has. It only re-weights the rows: what a head makes of each of
them is known already, so nothing is computed from the features or the logits again.
Source: Efron and Tibshirani (1993), chapters 6 and 8, with the classes as strata.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def draws(labels: NDArray[np.int64], replicates: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """How often each row (N,) is drawn, one replicate after the other.

    labels: (N,); a row labelled -1 is never drawn. replicates: how many. seed: the draws follow from it, whatever the
    other generators do, and the first ones are the same however many are asked for.
    A class with a single row is drawn as it is every time: what hangs on that row looks certain.
    """
    rng = np.random.default_rng(seed)
    order = np.argsort(labels, kind="stable")
    order = order[labels[order] >= 0]
    _, start, rows = np.unique(labels[order], return_index=True, return_counts=True)
    start, rows = np.repeat(start, rows), np.repeat(rows, rows)
    for _ in range(replicates):
        times = np.zeros(len(labels), dtype=np.int64)
        times[order] = np.bincount(start + rng.integers(0, rows), minlength=len(order))
        yield times


def single_rows(labels: NDArray[np.int64]) -> tuple[int, int]:
    """How many classes have a single row, and how many have any; labels: (N,), -1 where there is none."""
    _, rows = np.unique(labels[labels >= 0], return_counts=True)
    return int((rows == 1).sum()), len(rows)
