"""Exact coordinate ascent over one additive offset a class.

One class after the other is given the offset at which the metric is best while the others stay. Every row keeps its two
best classes at hand, so the best class but one is known without a look at the others: a coordinate costs a sort of N
thresholds, not N x K scores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from rebalance.search.confusion import CountMetric, Ids
from rebalance.search.path import SAME, Floats, Interval, StepCurve

Logits: TypeAlias = NDArray[np.float32]
"""Logits (K, N), one row a class: the ascent reads them class by class."""

MARGIN = 0.5  # how far into a wide stretch an offset is put, in the unit of the logits
RESOLUTION = 1e-6  # stretches narrower than this, relative to the largest logit, do not survive float32
COLUMNS = 2**22  # scores looked at together: 32 MiB of float64


def predict(logits: Logits, offsets: Floats) -> Ids:
    """The class (N,) with the largest logit plus offset; ties go to the lower class id. logits: (K, N)."""
    step = max(1, COLUMNS // len(offsets))
    parts = [
        (logits[:, start : start + step] + offsets[:, None]).argmax(axis=0) for start in range(0, logits.shape[1], step)
    ]
    return np.concatenate(parts)


class BestTwo:
    """The best and the second best class of every row under logits plus offsets; ties go to the lower class id.

    logits: (K, N); of a single class the second best means nothing. offsets: (K,).
    """

    def __init__(self, logits: Logits, offsets: Floats) -> None:
        rows = logits.shape[1]
        self.logits, self.offsets = logits, offsets.copy()
        self.best, self._second = np.empty(rows, np.int64), np.empty(rows, np.int64)
        self._high, self._next = np.empty(rows), np.empty(rows)
        self._rank(np.arange(rows))

    def _rank(self, rows: Ids) -> None:
        """Look at all classes of these rows."""
        step = max(1, COLUMNS // len(self.offsets))
        for start in range(0, len(rows), step):
            some = rows[start : start + step]
            scores = self.logits[:, some] + self.offsets[:, None]
            place = np.arange(len(some))
            self.best[some] = scores.argmax(axis=0)
            self._high[some] = scores[self.best[some], place]
            scores[self.best[some], place] = -math.inf
            self._second[some] = scores.argmax(axis=0)
            self._next[some] = scores[self._second[some], place]

    def others(self, raised: int) -> tuple[Ids, Floats]:
        """The best class of every row without the class `raised` (N,), and its score (N,)."""
        own = self.best == raised
        return np.where(own, self._second, self.best), np.where(own, self._next, self._high)

    def move(self, moved: int, offset: float) -> None:
        """Give one class another offset."""
        self.offsets[moved] = offset
        score = self.logits[moved] + self.offsets[moved]  # a NumPy float64: a plain one would leave the sum in float32
        was_best, was_second = self.best == moved, self._second == moved
        other, high = self.others(moved)
        first = (score > high) | ((score == high) & (moved < other))
        # Only a class that has fallen out of its place lets a third one in.
        unknown = (was_best & ~first) | (was_second & (score < self._next))
        second = ~was_best & ~first & ((score > self._next) | ((score == self._next) & (moved < self._second)))
        entered = first & ~was_best
        self._second, self._next = np.where(entered, self.best, self._second), np.where(entered, self._high, self._next)
        self.best, self._high = np.where(first, moved, self.best), np.where(first, score, self._high)
        stayed = second | (was_second & ~first)
        self._second, self._next = np.where(stayed, moved, self._second), np.where(stayed, score, self._next)
        self._rank(np.flatnonzero(unknown))


@dataclass(frozen=True)
class Ascent:
    """Where the ascent stopped.

    offsets: (K,). values: the metric at the start and after every move, rising. passes: how often all classes were
    visited. converged: whether no class could be moved any more.
    """

    offsets: Floats
    values: list[float]
    passes: int
    converged: bool


def ascend(logits: Logits, rows: Ids, metric: CountMetric, start: Floats, order: Ids, *, passes: int) -> Ascent:
    """The offsets from which no single class's offset can be changed for the better.

    logits: (K, N). rows: which columns of it count. metric: on those rows. start: (K,), where to begin, and what an
    offset stays near where the metric leaves a choice. order: the classes that are visited, in this order; the others
    keep their offset. passes: give up after so many visits of all.
    """
    every_row = len(rows) == logits.shape[1]
    state = BestTwo(logits if every_row else np.ascontiguousarray(logits[:, rows]), start)
    resolution = RESOLUTION * max(1.0, float(np.abs(logits).max()))
    values = [metric.value(state.best)]
    visits, moved = 0, True
    while moved and visits < passes:
        moved = False
        for raised in order.tolist():
            offset, value = best_offset(state, metric, raised, float(start[raised]), resolution)
            if value > values[-1] + SAME:
                state.move(raised, offset)
                values.append(value)
                moved = True
        visits += 1
    return Ascent(state.offsets, values, visits, not moved)


def best_offset(
    state: BestTwo, metric: CountMetric, raised: int, target: float, resolution: float
) -> tuple[float, float]:
    """The best offset of one class while the others stay, and the metric there.

    state: the rows. raised: the class. target: of equally good stretches the nearest to it is taken, and in a wide one
    a point near it. resolution: narrower stretches are passed over.
    """
    others, high = state.others(raised)
    curve = metric.curve(high - state.logits[raised], others, raised)
    edges = np.concatenate([[-math.inf], curve.breakpoints, [math.inf]])
    values = np.where(np.diff(edges) > resolution, curve.values, -math.inf)
    top = float(values.max())
    return _point(StepCurve(curve.breakpoints, values).best(), target), top


def _point(stretches: list[Interval], target: float) -> float:
    """The middle of the stretch nearest to the target; of one wider than twice MARGIN the point nearest to it that is
    so far from its ends."""
    low, high = min(stretches, key=lambda each: max(each[0] - target, target - each[1]))
    step = min(MARGIN, (high - low) / 2)
    return min(max(target, low + step), high - step)
