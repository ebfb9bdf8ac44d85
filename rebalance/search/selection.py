"""Which parameter of an exactly searched family is taken: the best stretch, or all that is no worse than by chance.

A stretch is no worse than by chance when it lies within one standard error of the best. The error is McNemar's, of the
rows that change sides, or is resampled within the classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from rebalance.search.bootstrap import bootstrap_errors
from rebalance.search.path import SAME, Floats, Interval, StepCurve, Sweep

Select = Literal["1se", "1se-bootstrap", "best"]
SELECTS: tuple[Select, ...] = get_args(Select)

EDGE = 1e-3
EVERYWHERE: Interval = (-math.inf, math.inf)


@dataclass(frozen=True)
class Choice:
    """One parameter of a family, and what it was chosen from.

    value: the parameter, finite. interval: the stretch it was taken from; for "best" the optimal one with most room in
    the search range, otherwise all around it within one standard error. intervals: every optimal stretch, ascending.
    curve: the weighted accuracy as a function of the parameter.
    """

    value: float
    interval: Interval
    intervals: list[Interval]
    curve: StepCurve


def choose(
    sweep: Sweep,
    weights: Floats,
    *,
    select: Select = "1se",
    search: Interval = (0.0, 3.0),
    limits: Interval = EVERYWHERE,
    labels: NDArray[np.int64] | None = None,
    seed: int = 0,
) -> Choice:
    """The parameter of a swept family.

    sweep: the rows' intervals. weights: (N,), the share of the metric that each row holds.
    select: "best" is the middle of the best stretch; "1se" that of the connected stretch around it within one of
    McNemar's standard errors; "1se-bootstrap" the same with an error resampled within classes.
    search: the range that is preferred among equally good stretches and that the middle is taken in.
    limits: where the head can be computed; only stretches that reach into it are best.
    labels, seed: (N,), -1 where there is none; what "1se-bootstrap" resamples by.
    ValueError when select is none of these, or labels are missing where they are needed.
    """
    if select not in SELECTS:
        raise ValueError(f"select is {select!r}; expected {', '.join(SELECTS[:-1])} or {SELECTS[-1]}")
    curve = sweep.curve(weights)
    interval = _preferred(curve.best(limits), search)
    if select != "best":
        top = int(np.searchsorted(curve.breakpoints, interval[0], side="right")) if interval[0] > -math.inf else 0
        if select == "1se":
            error = sweep.standard_errors(weights, top)
        elif labels is None:
            raise ValueError("select is 1se-bootstrap and no labels were given; expected the rows' labels (N,)")
        else:
            error = bootstrap_errors(sweep.values, weights, labels, top, seed=seed)
        first, last = within_error(curve.values, error, top)
        pieces = np.arange(len(curve.values))
        (interval,) = curve.stretches((first <= pieces) & (pieces <= last))
    value = representative((max(interval[0], limits[0]), min(interval[1], limits[1])), search)
    return Choice(value, interval, curve.best(), curve)


def _preferred(best: list[Interval], search: Interval) -> Interval:
    """Of the best intervals the one with most room in the search range; if none reaches it, the nearest."""

    def room(interval: Interval) -> float:
        return min(interval[1], search[1]) - max(interval[0], search[0])  # negative: how far away it is

    return max(best, key=room)


def representative(interval: Interval, search: Interval) -> float:
    """One finite t for an interval: its middle inside the search range.

    interval: may be unbounded. search: the range that is sensible for the family, (0, 3) for tau. An interval that
    lies outside gives its point nearest zero, up to EDGE inside it: its end is a tie, which float32 may break wrongly.
    """
    low, high = max(interval[0], search[0]), min(interval[1], search[1])
    if low < high:
        return (low + high) / 2
    step = min(EDGE, (interval[1] - interval[0]) / 2)
    return interval[0] + step if interval[0] >= search[1] else interval[1] - step


def within_error(values: Floats, error: Floats, top: int) -> tuple[int, int]:
    """The stretch around the best within one standard error: indices of its first and last piece.

    values: (M + 1,). error: (M + 1,) standard error of each value's difference to values[top]. top: the best.

    It reaches to the farthest piece t with no fall on the way, t included, of more than t's own standard error.
    Judging each piece by its own error alone would stop at the second row in turn that the best got right: the error
    grows with the square root of the rows that changed sides, and so only catches up farther out.
    """
    fall = values[top] - values

    def reach(falls: Floats, errors: Floats) -> int:
        return int(np.flatnonzero(np.maximum.accumulate(falls) <= errors + SAME)[-1])

    return top - reach(fall[top::-1], error[top::-1]), top + reach(fall[top:], error[top:])
