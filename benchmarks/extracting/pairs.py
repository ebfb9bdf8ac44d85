"""Two ways to do one thing, in interleaved pairs, and the median of their ratios with its interval."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

# The 2nd smallest and 2nd largest of 9 to 11 ratios, the smallest and largest of fewer, hold the median in at least
# 95 % of repetitions (the sign test's interval).
SECOND_FROM = 9


@dataclass(frozen=True)
class Ratio:
    """The ratio of rates ours / bare: its median and an interval of at least 95 %, over so many pairs."""

    median: float
    low: float
    high: float
    pairs: int

    def __str__(self) -> str:
        return f"{self.median:.3f}  ({self.pairs} pairs, 95 % interval {self.low:.3f} .. {self.high:.3f})"


def interleaved(bare: Callable[[], float], ours: Callable[[], float], pairs: int) -> Ratio:
    """The ratio of rates over pairs of runs, whose order alternates; each returns its seconds.

    A pair that is not counted comes before.
    """
    bare()
    ours()
    ratios = []
    for turn in range(pairs):
        if turn % 2:
            own, other = ours(), bare()
        else:
            other, own = bare(), ours()
        ratios.append(other / own)
    ordered = sorted(ratios)
    skip = 1 if pairs >= SECOND_FROM else 0
    return Ratio(statistics.median(ordered), ordered[skip], ordered[-1 - skip], pairs)


def seconds(work: Callable[[], object]) -> float:
    """Wall time."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
