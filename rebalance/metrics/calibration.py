"""Calibration: how far confidence and accuracy lie apart, over bins of equal width or of equal mass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
ECE_BINS = 15


def bin_of(confidence: ArrayLike, bins: int) -> NDArray[np.int64]:
    """The bin (N,) of each confidence: bin b holds b/bins < confidence <= (b+1)/bins; exactly 0 is in the first."""
    if bins < 1:
        raise ValueError(f"{bins} bins; expected 1 or more, such as {ECE_BINS}")
    return np.searchsorted(np.arange(1, bins) / bins, np.asarray(confidence, dtype=np.float64), side="left")


def expected_calibration_error(
    confidence: ArrayLike, correct: ArrayLike, bins: int = ECE_BINS, *, weights: ArrayLike | None = None
) -> float:
    """Mean distance of confidence and accuracy over bins of equal width, weighted by their rows.

    confidence: (N,) in [0, 1]. correct: (N,) bool. bins: closed on the right. weights: (N,), None: all rows alike.
    Source: Guo et al. (ICML 2017), section 2.
    """
    conf, hit = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    mass = np.ones(len(conf)) if weights is None else np.asarray(weights, dtype=np.float64)
    gap = np.bincount(bin_of(conf, bins), mass * (conf - hit), bins)
    return float(np.abs(gap).sum() / mass.sum())


def equal_mass_error(
    confidence: ArrayLike, correct: ArrayLike, bins: int = ECE_BINS, *, weights: ArrayLike | None = None
) -> float:
    """The same over bins that hold equally many rows (equal weight, where rows are weighted).

    A bin's edge may cut a row, of which each side gets its part; rows of equal confidence count as one whose
    correctness is their mean. So neither the order of rows nor splitting a row in two changes anything.
    Source: Nguyen & O'Connor (EMNLP 2015), section 4, "adaptive binning".
    """
    conf = np.asarray(confidence, dtype=np.float64)
    mass = np.ones(len(conf)) if weights is None else np.asarray(weights, dtype=np.float64)
    return float(EqualMass.of(conf, np.asarray(correct, dtype=np.float64)).error(mass, bins))


@dataclass(frozen=True)
class EqualMass:
    """Rows sorted by confidence once, for any weighting of them.

    order: (N,), ascending confidence. gap: (N,), confidence less correctness in that order. last: (G,), the last row
    of every run of equal confidences.
    """

    order: NDArray[np.int64]
    gap: Floats
    last: NDArray[np.int64]

    @classmethod
    def of(cls, confidence: Floats, correct: Floats) -> EqualMass:
        """The rows of confidence (N,) and correctness (N,)."""
        order = np.argsort(confidence, kind="stable")
        sorted_ = confidence[order]
        last = np.flatnonzero(np.diff(sorted_, append=np.inf) > 0)
        return cls(order, (confidence - correct)[order], last)

    def error(self, weights: Floats, bins: int) -> float:
        """The calibration error under row weights (N,); NaN where they are all zero."""
        mass = weights[self.order]
        # The gap up to a share of the mass is a polygon: its rise over a bin is what the bin adds.
        reached, gap = np.cumsum(mass), np.cumsum(mass * self.gap)
        reached, gap = reached[self.last], gap[self.last]
        total = reached[-1]
        if total <= 0:
            return float("nan")
        edges = np.arange(bins + 1) * (total / bins)
        at = np.interp(edges, np.concatenate([[0.0], reached]), np.concatenate([[0.0], gap]))
        return float(np.abs(np.diff(at)).sum() / total)


@dataclass(frozen=True)
class Reliability:
    """Bins of equal width: what a reliability diagram shows.

    low, high: (B,), the bin's edges. confidence, accuracy: (B,), their means over its rows, NaN in an empty bin.
    share: (B,) of the rows that are in it.
    """

    low: Floats
    high: Floats
    confidence: Floats
    accuracy: Floats
    share: Floats


def reliability(
    confidence: ArrayLike, correct: ArrayLike, weights: ArrayLike | None = None, bins: int = ECE_BINS
) -> Reliability:
    """The reliability diagram of rows; the parameters are those of `expected_calibration_error`."""
    conf, hit = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    mass = np.ones(len(conf)) if weights is None else np.asarray(weights, dtype=np.float64)
    place = bin_of(conf, bins)
    within, sure, right = (np.bincount(place, mass * each, bins) for each in (np.ones(len(conf)), conf, hit))
    edges = np.arange(bins + 1) / bins
    with np.errstate(invalid="ignore", divide="ignore"):
        return Reliability(edges[:-1], edges[1:], sure / within, right / within, within / max(mass.sum(), 1e-300))
