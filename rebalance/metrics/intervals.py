"""How sure a figure is: bootstrap intervals, of differences too, and McNemar's test."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rebalance.metrics.sums import Figures
from rebalance.resampling import draws

Floats = NDArray[np.float64]
Interval = tuple[float, float]
LEVEL = (2.5, 97.5)  # percentiles
TOGETHER = 2**22  # row weights at a time: 32 MiB of float64


@dataclass(frozen=True)
class Difference:
    """One head's figure less another's on the same rows; low, high: its 95 % interval, None without replicates."""

    value: float
    low: float | None = None
    high: float | None = None

    def to_dict(self) -> dict[str, float | None]:
        """As plain JSON values."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class McNemar:
    """Rows that just one of two heads has right, and how likely so uneven a split is by chance.

    only_self, only_other: rows. p: exact and two-sided, 1 where the two are right on the same rows.
    """

    only_self: int
    only_other: int
    p: float


def drawn_times(labels: NDArray[np.int64], replicates: int, seed: int) -> NDArray[np.uint8]:
    """How often each row is drawn in each replicate (R, N); labels: (N,), -1 for a row that is never drawn.

    ValueError when the number of replicates is negative. A byte is enough: a row is drawn once on average, and more
    than 255 times with a chance below 1e-500.
    """
    if replicates < 0:
        raise ValueError(f"replicates is {replicates}; expected 0 (no intervals) or more, such as 1000")
    times = np.empty((replicates, len(labels)), dtype=np.uint8)
    for row, each in zip(times, draws(labels, replicates, seed), strict=True):
        row[:] = each
    return times


def replicate_figures(figures: Figures, times: NDArray[np.uint8]) -> dict[str, Floats]:
    """Every figure in every replicate (R,); times: (R, N), for all N rows of the split."""
    step = max(1, min(64, TOGETHER // max(1, figures.matrix.shape[0] + len(figures.results.rows))))
    parts = [slice(start, min(start + step, len(times))) for start in range(0, len(times), step)]
    figures.under(*_one(figures))  # what is sorted and built on first use is built here, and not by every thread

    def under(part: slice) -> dict[str, Floats]:
        drawn = times[part][:, figures.results.rows].T * figures.results.weights[:, None]
        return figures.under(drawn, figures.results.likely.drawn[:, part])

    with ThreadPoolExecutor(_threads()) as pool:
        found = list(pool.map(under, parts))
    return {name: np.concatenate([each[name] for each in found]) for name in (found[0] if found else {})}


def _one(figures: Figures) -> tuple[Floats, Floats]:
    return figures.results.weights[:, None], figures.results.likely.small[:, None]


def estimates(figures: Figures) -> dict[str, float]:
    """Every figure of the rows as they are, NaN where it is undefined."""
    return {name: float(value[0]) for name, value in figures.under(*_one(figures)).items()}


def interval(
    estimate: float, replicates: Floats, bounds: Interval = (-np.inf, np.inf), *, inflated: bool = False
) -> Interval:
    """The 95 % interval of a figure; it holds the figure itself.

    estimate: the figure of the rows themselves. replicates: (R,). bounds: what the figure cannot leave.
    The middle 95 % of the replicates, and also where it lies when their mean is moved to the estimate: a figure that
    comes out lower in every replicate (the worst of many classes) has its truth above.
    inflated: whether chance only ever adds to the figure, as to a mean of absolute gaps: then the sample lies above the
    truth as the replicates lie above the sample, and they are reflected at the estimate instead.
    Source: Davison & Hinkley (1997), section 5.2, the basic interval. What the intervals hold is measured by
    benchmarks/intervals.py.
    """
    low, high = np.percentile(replicates, LEVEL)
    if inflated:
        low, high = 2 * estimate - high, 2 * estimate - low
    else:
        moved = estimate - float(replicates.mean())
        # Of both the wider: one row that two heads differ in is in a third of the draws not there at all, and a move by
        # the noise of the mean alone would make the difference look certain.
        low, high = low + min(moved, 0.0), high + max(moved, 0.0)
    return (
        max(bounds[0], min(float(low), estimate)),
        min(bounds[1], max(float(high), estimate)),
    )


def is_inflated(name: str) -> bool:
    """Whether chance only ever adds to the figure of this name: calibration errors."""
    return name.startswith("ece")


def differences(
    own: Mapping[str, float], other: Mapping[str, float], drawn: Mapping[str, Floats], others: Mapping[str, Floats]
) -> dict[str, Difference]:
    """Every figure's difference; the replicates of both heads are of the same draws, so the rows are paired."""
    found = {}
    for name in (each for each in own if each in other):
        value = own[name] - other[name]
        if name in drawn:
            both = interval(value, drawn[name] - others[name], inflated=is_inflated(name))
            found[name] = Difference(value, *both)
        else:
            found[name] = Difference(value)
    return found


def mcnemar(correct: ArrayLike, other: ArrayLike) -> McNemar:
    """McNemar's exact test of two heads; correct, other: (N,) bool, which rows each has right.

    Source: McNemar (Psychometrika 1947), the exact binomial form.
    """
    from scipy.stats import binomtest  # half a second to import

    a, b = np.asarray(correct, dtype=bool), np.asarray(other, dtype=bool)
    only, only_other = int((a & ~b).sum()), int((b & ~a).sum())
    p = float(binomtest(only, only + only_other).pvalue) if only + only_other else 1.0
    return McNemar(only, only_other, p)


def _threads() -> int:
    import torch

    return max(1, min(torch.get_num_threads(), os.cpu_count() or 1))
