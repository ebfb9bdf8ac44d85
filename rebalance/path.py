"""Exact search of a one-parameter family of heads: no grid.

Take a family whose class scores are affine in one parameter, ``score_k(t) = a_k + t b_k``. A row is classified
correctly where its true class is on the upper envelope of K lines, and that is ONE interval of t. One pass over the
logits gives every row's interval; the 2N sorted ends cut the real line into open stretches on which every decision,
and so every class-weighted accuracy, is constant. Their exact maximum is read off.

The curve is the value on the stretches. A breakpoint itself is not one: two classes tie there, and which of them wins
depends on rounding. Identical lines are decided by the lowest class id, as argmax does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats: TypeAlias = NDArray[np.float64]
Interval: TypeAlias = tuple[float, float]

EDGE = 1e-3
SAME = 1e-12  # values closer than this are one value: sums of up to 1e6 weights err by less, real steps are larger


def correct_intervals(intercepts: Tensor, slopes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Where each row is classified correctly: the open interval (lo, hi) of t; empty where lo >= hi.

    intercepts: (B, K), a_k; -inf takes a class out of the race, +inf lets it win everywhere. The true class's own
    must be finite.
    slopes: (K,), b_k. labels: (B,), the true classes, 0..K-1.
    """
    own = labels[:, None]
    rise = slopes[None, :] - slopes[labels][:, None]  # how much faster class k grows than the true one
    lead = intercepts.gather(1, own) - intercepts  # how far the true class is ahead at t = 0
    cross = lead / rise
    hi = torch.where(rise > 0, cross, math.inf).amin(dim=1)
    lo = torch.where(rise < 0, cross, -math.inf).amax(dim=1)
    classes = torch.arange(len(slopes), device=labels.device)[None, :]
    lost = (rise == 0) & ((lead < 0) | ((lead == 0) & (classes < own)))
    never = lost.any(dim=1)
    return torch.where(never, math.inf, lo), torch.where(never, -math.inf, hi)


@dataclass(frozen=True)
class StepCurve:
    """A step function of t over the whole real line.

    breakpoints: (M,), ascending. values: (M + 1,), one a stretch: below the first breakpoint, between, above the last.
    """

    breakpoints: Floats
    values: Floats

    def __call__(self, t: float | Floats) -> Floats:
        """The value on the stretch that holds t (at a breakpoint: the stretch above it)."""
        return np.asarray(self.values[np.searchsorted(self.breakpoints, t, side="right")])

    def stretches(self, chosen: NDArray[np.bool_]) -> list[Interval]:
        """The chosen stretches (M + 1,) as intervals, neighbours joined."""
        ends = np.concatenate([[-math.inf], self.breakpoints, [math.inf]])
        edges = np.flatnonzero(np.diff(np.concatenate([[0], chosen.astype(np.int8), [0]])))
        return [(float(ends[a]), float(ends[b])) for a, b in zip(edges[::2], edges[1::2], strict=True)]

    def best(self, limits: Interval = (-math.inf, math.inf)) -> list[Interval]:
        """Every interval of t on which the curve has its maximum, ascending.

        limits: only stretches that reach into this range count; the intervals are not cut at it.
        """
        ends = np.concatenate([[-math.inf], self.breakpoints, [math.inf]])
        inside = (ends[:-1] < limits[1]) & (ends[1:] > limits[0])
        return self.stretches(inside & (self.values >= self.values[inside].max() - SAME))


@dataclass(frozen=True)
class Sweep:
    """The rows' intervals cut into common stretches; any weighting of the rows then costs one pass over 2N numbers.

    breakpoints: (M,). first, last: (N,), row i is correct on the stretches first[i] <= s < last[i].
    """

    breakpoints: Floats
    first: NDArray[np.int64]
    last: NDArray[np.int64]

    @classmethod
    def of(cls, lo: Floats, hi: Floats) -> Sweep:
        """The sweep of intervals (N,) and (N,); a row with lo >= hi is never correct."""
        empty = ~(lo < hi)
        ends = np.concatenate([lo[~empty], hi[~empty]])
        breakpoints = np.unique(ends[np.isfinite(ends)])
        # Stretch s lies between breakpoint s - 1 and breakpoint s, so an interval begins right of its lower end.
        first = np.where(np.isneginf(lo), 0, np.searchsorted(breakpoints, lo, side="left") + 1)
        last = np.where(np.isposinf(hi), len(breakpoints) + 1, np.searchsorted(breakpoints, hi, side="left") + 1)
        last[empty] = first[empty] = 0
        return cls(breakpoints, first, last)

    def values(self, weights: Floats) -> Floats:
        """The summed weight of the correct rows on every stretch (M + 1,); weights: (N,)."""
        size = len(self.breakpoints) + 2
        change = np.bincount(self.first, weights, size) - np.bincount(self.last, weights, size)
        return np.cumsum(change[:-1])

    def standard_errors(self, weights: Floats, top: int) -> Floats:
        """McNemar's standard error of every stretch's difference to the stretch `top` (M + 1,).

        weights: (N,). If the two were equally good, a row that is correct on just one of them would be so on either
        with the same chance; so the difference has the variance of the summed squared weights of those rows. A class
        with a single row counts with its full weight here, where resampling within classes would give it no variance.
        Source: McNemar (Psychometrika 1947), with row weights.
        """
        squared = weights**2
        at_top = (self.first <= top) & (top < self.last)
        # Rows correct at `top` differ where they are not correct, the others where they are.
        differing = squared[at_top].sum() - self.values(squared * at_top) + self.values(squared * ~at_top)
        return np.asarray(np.sqrt(np.maximum(differing, 0.0)))

    def curve(self, weights: Floats) -> StepCurve:
        """The weighted accuracy as a function of t."""
        return StepCurve(self.breakpoints, self.values(weights))


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
