"""Standard errors by resampling the judging rows within their classes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rebalance.resampling import draws
from rebalance.search.path import Floats

REPLICATES = 200


def bootstrap_errors(
    values: Callable[[Floats], Floats], weights: Floats, labels: NDArray[np.int64], top: int, *, seed: int = 0
) -> Floats:
    """The deviation (S,), over 200 replicates, of every value's difference to the value `top`.

    values: from row weights (N,) to the metric of each of S choices (S,). weights: (N,), the share of the metric that
    each row holds. labels: (N,); a row labelled -1 is never drawn. top: the best choice.
    A class with a single row has no deviation. Replicates are taken one after the other, so memory is that of one.
    Source: Efron and Tibshirani (1993), chapter 6, with the classes as strata.
    """
    mean = squares = np.zeros(len(values(weights)))
    for number, times in enumerate(draws(labels, REPLICATES, seed), start=1):
        difference = values(weights * times)
        difference = difference - difference[top]
        step = difference - mean  # Welford's update: a difference of large sums would lose the small deviations
        mean = mean + step / number
        squares = squares + step * (difference - mean)
    return np.asarray(np.sqrt(squares / (REPLICATES - 1)))
