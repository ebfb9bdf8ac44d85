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

# Numbers that stand for infinity where sums are to stay finite in float32: a lead that no slope makes up for, a
# distance that sets a crossing apart from all others, and how far away a crossing counts as never.
BEYOND, APART, FARTHEST = 1e18, 1e36, 1e12
SAME = 1e-12  # values closer than this are one value: sums of up to 1e6 weights err by less, real steps are larger


def correct_intervals(intercepts: Tensor, slopes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Where each row is classified correctly: the open interval (lo, hi) of t, float64; empty where lo >= hi.

    intercepts: (B, K), a_k; -inf takes a class out of the race, +inf lets it win everywhere. The true class's own
    must be finite.
    slopes: (K,), b_k; or (B, K), where rows differ. labels: (B,), the true classes, 0..K-1.
    """
    column = labels[:, None]
    rise = slopes - (slopes[labels][:, None] if slopes.ndim == 1 else slopes.gather(1, column))
    lead = (intercepts.gather(1, column) - intercepts).clamp_(-BEYOND, BEYOND)
    return _ends(lead, rise, labels)


def power_intervals(logits: Tensor, log_bases: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Where each row is classified correctly by the scores ``z_k base_k^-t``: the open interval (lo, hi) of t.

    logits: (B, K), z. log_bases: (K,), of positive bases. labels: (B,), the true classes, 0..K-1.

    Among positive logits the order is that of log|z_k| - t log base_k, among negative ones the reverse; a positive
    beats zero beats a negative for every t. So only classes of the true one's sign are in its race, which a row of
    negative sign runs backwards; the others lie infinitely far behind, or ahead.
    """
    column = labels[:, None]
    sign = logits.gather(1, column).sign()
    same = logits * sign
    # log|z_k|, and far below all of them where the sign is another. Written as sums, because a masked copy or the
    # logarithm of a zero costs ten times as much as all of this together.
    size = same.clamp_min(torch.finfo(same.dtype).tiny).log_()
    size.add_(same.sign_().clamp_(0, 1).sub_(1), alpha=2 * BEYOND)
    lead = (size.gather(1, column) - size).clamp_(-BEYOND, BEYOND)
    lo, hi = _ends(lead, log_bases[labels][:, None] - log_bases, labels, sign)
    return _with_zeros(logits, labels, sign[:, 0], lo, hi)


def _with_zeros(logits: Tensor, labels: Tensor, sign: Tensor, lo: Tensor, hi: Tensor) -> tuple[Tensor, Tensor]:
    """The intervals with those rows mended whose true logit is zero, which it stays for every t.

    Such a row is right everywhere if nothing is positive and no zero stands at a lower class id, else nowhere.
    """
    zero = sign == 0
    if not bool(zero.any()):
        return lo, hi
    right = zero & (logits.argmax(dim=1) == labels)
    lo, hi = torch.where(zero, math.inf, lo), torch.where(zero, -math.inf, hi)
    return torch.where(right, -math.inf, lo), torch.where(right, math.inf, hi)


def _ends(lead: Tensor, rise: Tensor, labels: Tensor, sign: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The ends (B,) of the intervals in which no class has overtaken the true one.

    lead: (B, K), how far the true class is ahead at t = 0, within BEYOND; overwritten. rise: (B, K), how much faster
    class k grows than it. sign: (B, 1), -1 for a row whose lead and rise are both to be taken negatively, which leaves
    the crossings where they are and swaps who overtakes whom.
    """
    rise = rise.to(lead.dtype)
    side = rise.sign()
    # A class that grows like the true one (itself, at least) never crosses it; 1 keeps its quotient a number.
    alone = int(torch.count_nonzero(side)) == side.numel() - len(labels)
    rise = rise.scatter_(1, labels[:, None], 1.0) if alone else torch.where(side == 0, 1.0, rise)
    cross = lead / rise
    if sign is not None:
        side.mul_(sign)
    # Only who grows faster ends the interval above, only who grows slower ends it below; the others are set apart.
    hi = torch.add(cross, 1 - side, alpha=APART).amin(dim=1).double()
    lo = cross.sub_(side.add_(1), alpha=APART).amax(dim=1).double()
    hi = torch.where(hi > FARTHEST, math.inf, torch.where(hi < -FARTHEST, -math.inf, hi))
    lo = torch.where(lo < -FARTHEST, -math.inf, torch.where(lo > FARTHEST, math.inf, lo))
    if not alone:  # side is 1 by now where it was 0
        ahead = lead if sign is None else lead * sign
        lower = torch.arange(lead.shape[1], device=labels.device) < labels[:, None]
        never = ((side == 1) & ((ahead < 0) | ((ahead == 0) & lower))).any(dim=1)
        lo, hi = torch.where(never, math.inf, lo), torch.where(never, -math.inf, hi)
    return lo, hi


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
