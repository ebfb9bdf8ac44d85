"""Metrics that follow from how many rows of each class are predicted as which, as functions of one class's offset.

While one class k is raised and the others stay, each row leaves its best other class for k at its own threshold, and
never comes back. So the metric is a step function of the offset, and all its steps are known once the thresholds are
sorted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rebalance.metrics import balanced_row_weights
from rebalance.search.path import Floats, StepCurve

Ids = NDArray[np.int64]
NAMES = ("balanced", "top1", "macro_f1")


class CountMetric(Protocol):
    """A metric on labelled rows; more is better."""

    def value(self, predictions: Ids) -> float:
        """The metric of predicted classes (N,)."""
        ...

    def gains(self, predictions: Ids) -> Floats:
        """What each row adds to the metric (N,), to first order; the difference of two predictions is judged by it."""
        ...

    def curve(self, thresholds: Floats, others: Ids, raised: int) -> StepCurve:
        """The metric as a function of the offset of class `raised`.

        thresholds: (N,), finite; above it a row is predicted as that class. others: (N,), what it is predicted below.
        """
        ...


def count_metric(metric: str | ArrayLike, labels: Ids, num_classes: int) -> CountMetric:
    """The metric on rows of these labels.

    metric: "balanced" (mean recall of the classes present), "top1", "macro_f1" (mean F1 of the classes that have rows
    or predictions), or costs (K, K) by label and prediction, whose mean over the rows, negated, is the metric.
    labels: (N,), 0..K-1. ValueError for another name, or costs of another shape or that are not finite.
    """
    if isinstance(metric, str):
        if metric not in NAMES:
            raise ValueError(f"no metric {metric!r}; there are {', '.join(NAMES)}, or a cost matrix (K, K)")
        if metric == "macro_f1":
            return MacroF1(labels, num_classes)
        weights = balanced_row_weights(labels) if metric == "balanced" else np.full(len(labels), 1.0 / len(labels))
        return Accuracy(labels, weights)
    costs = np.asarray(metric, dtype=np.float64)
    if costs.shape != (num_classes, num_classes) or not np.isfinite(costs).all():
        raise ValueError(
            f"the cost matrix has shape {costs.shape}; expected ({num_classes}, {num_classes}) finite numbers, "
            "one row a label, one column a prediction"
        )
    return Cost(labels, costs)


@dataclass(frozen=True)
class Accuracy:
    """The weight of the rows that are right; labels, weights: (N,)."""

    labels: Ids
    weights: Floats

    def gains(self, predictions: Ids) -> Floats:
        return np.asarray(self.weights * (predictions == self.labels))

    def value(self, predictions: Ids) -> float:
        return float(self.gains(predictions).sum())

    def curve(self, thresholds: Floats, others: Ids, raised: int) -> StepCurve:
        change = self.weights * ((self.labels == raised).astype(np.float64) - (others == self.labels))
        return _sum_curve(thresholds, change, self.value(others))


@dataclass(frozen=True)
class Cost:
    """Minus the mean cost; labels: (N,), costs: (K, K) by label and prediction."""

    labels: Ids
    costs: Floats

    def gains(self, predictions: Ids) -> Floats:
        return np.asarray(-self.costs[self.labels, predictions] / len(self.labels))

    def value(self, predictions: Ids) -> float:
        return float(self.gains(predictions).sum())

    def curve(self, thresholds: Floats, others: Ids, raised: int) -> StepCurve:
        before = self.gains(others)
        change = -self.costs[self.labels, raised] / len(self.labels) - before
        return _sum_curve(thresholds, change, float(before.sum()))


@dataclass(frozen=True)
class MacroF1:
    """The mean of 2 TP / (rows + predictions) over the classes that have rows; labels: (N,)."""

    labels: Ids
    num_classes: int

    @cached_property
    def _present(self) -> int:
        """How many classes have rows: the others have an F1 of 0, which no mean counts."""
        return len(np.unique(self.labels))

    def _counts(self, predictions: Ids) -> tuple[Floats, Floats]:
        """True positives and rows plus predictions, (K,) each."""
        right = np.bincount(self.labels[predictions == self.labels], minlength=self.num_classes)
        size = np.bincount(self.labels, minlength=self.num_classes) + np.bincount(
            predictions, minlength=self.num_classes
        )
        return right.astype(np.float64), size.astype(np.float64)

    def value(self, predictions: Ids) -> float:
        right, size = self._counts(predictions)
        return float(_f1(right, size).sum() / self._present)

    def gains(self, predictions: Ids) -> Floats:
        # A prediction p adds 1 to the size of class p, and 1 to its true positives where it is right.
        right, size = self._counts(predictions)
        hit = predictions == self.labels
        return np.asarray((2 * hit - _f1(right, size)[predictions]) / size[predictions] / self._present)

    def curve(self, thresholds: Floats, others: Ids, raised: int) -> StepCurve:
        order = np.argsort(thresholds)
        label, left = self.labels[order], others[order]
        right, size = self._counts(others)
        # Of each class the rows that leave it, in turn: its true positives and its size after every one.
        # (Of narrow integers a stable sort is a radix sort, thirty times as fast.)
        groups = np.argsort(left.astype(np.min_scalar_type(self.num_classes)), kind="stable")
        first = np.searchsorted(left[groups], np.arange(self.num_classes))[left[groups]]
        gone = np.arange(len(groups)) - first + 1
        hits = np.concatenate([[0], np.cumsum((label == left)[groups])])
        hits_gone = hits[1:] - hits[first]
        of = left[groups]
        new_right, new_size = right[of] - hits_gone, size[of] - gone
        old_right, old_size = new_right + (label == left)[groups], new_size + 1
        change = np.empty(len(groups))
        change[groups] = _f1(new_right, new_size) - _f1(old_right, old_size)
        # The raised class itself, which has no predictions at first.
        own_right = np.concatenate([[0.0], np.cumsum(label == raised)])
        own_size = size[raised] + np.arange(len(order) + 1)
        size[raised] = 0
        total = _running(_f1(right, size).sum(), change) + _f1(own_right, own_size)
        return _step_curve(thresholds[order], total / self._present)


def gain_errors(gains: Floats, top: int) -> Floats:
    """The standard error (S,) of every prediction's difference to the prediction `top`.

    gains: (S, N), what each row adds. The differences of the rows have mean zero if neither is the better one, so the
    variance of their sum is the sum of their squares: McNemar's, where a gain is the weight of a right row.
    """
    return np.asarray(np.sqrt(np.square(gains - gains[top]).sum(axis=1)))


def _f1(right: Floats, size: Floats) -> Floats:
    """2 TP / (rows + predictions), 0 for a class that has neither."""
    return np.asarray(2 * right / np.maximum(size, 1))


def _running(start: float, changes: Floats) -> Floats:
    return np.asarray(start + np.concatenate([[0.0], np.cumsum(changes)]))


def _sum_curve(thresholds: Floats, changes: Floats, start: float) -> StepCurve:
    """The curve of a sum to which every row adds its change at its threshold."""
    rows = np.flatnonzero(changes)
    order = rows[np.argsort(thresholds[rows])]
    return _step_curve(thresholds[order], _running(start, changes[order]))


def _step_curve(thresholds: Floats, values: Floats) -> StepCurve:
    """The curve of values (n + 1,) between sorted thresholds (n,); rows of one threshold make one step."""
    last = np.flatnonzero(np.diff(thresholds, append=np.inf) > 0)
    return StepCurve(thresholds[last], np.concatenate([values[:1], values[last + 1]]))
