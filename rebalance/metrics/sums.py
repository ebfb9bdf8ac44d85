"""All figures as functions of row weights, so that a bootstrap replicate costs a product and no pass over logits.

Nearly every figure follows from sums over the rows: how much of each class is right, how much is predicted as it, how
far confidence and accuracy lie apart in each bin. Those sums are one sparse matrix times the row weights, for as many
weightings at once as one likes. Only bins of equal mass move with the weights, and are summed anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rebalance.classes import GROUPS, Group
from rebalance.metrics import accuracy
from rebalance.metrics.calibration import ECE_BINS, EqualMass, bin_of
from rebalance.metrics.rows import TOP, RowResults

Floats = NDArray[np.float64]
Groups = Mapping[Group, NDArray[np.bool_]]


@dataclass(frozen=True, eq=False)
class Figures:
    """The figures of a head's rows under any row weights.

    results: what it made of the rows. num_classes: K. groups: masks (K,) of the shot groups, {} without counts.
    costs: (K, K) by label and prediction, or None.
    """

    results: RowResults
    num_classes: int
    groups: Groups
    costs: Floats | None = None

    @cached_property
    def rows(self) -> Floats:
        """(K,) the weight of each class's rows: a stratified replicate does not change it."""
        return np.bincount(self.results.labels, self.results.weights, self.num_classes).astype(np.float64)

    @cached_property
    def _part(self) -> NDArray[np.int64]:
        """(K,) the shot group of each class: 0, 1, 2; all 0 without groups."""
        part = np.zeros(self.num_classes, dtype=np.int64)
        for number, name in enumerate(GROUPS):
            if self.groups:
                part[self.groups[name]] = number
        return part

    @cached_property
    def _numbers(self) -> list[tuple[str, NDArray[np.int64], Floats, int]]:
        """What is summed over the rows: a name, where (n,) each row's number goes, the number (n,), and how many places
        there are."""
        each, classes = self.results, self.num_classes
        right = each.correct.astype(np.float64)
        one, nowhere = np.ones(len(right)), np.zeros(len(right), dtype=np.int64)
        bins = bin_of(each.confidence, ECE_BINS) + ECE_BINS * self._part[each.labels]
        found = [
            ("right", each.labels, right, classes),
            ("top5", each.labels, each.in_top5.astype(np.float64), classes),
            ("predicted", each.predictions, one, classes),
            ("gap", bins, each.confidence - right, ECE_BINS * len(GROUPS)),
            ("nll", nowhere, each.nll, 1),
            ("brier", nowhere, each.brier, 1),
        ]
        if self.costs is not None and each.minimum_risk is not None:
            found.append(("cost", nowhere, self.costs[each.labels, each.predictions], 1))
            found.append(("minimum_risk_cost", nowhere, self.costs[each.labels, each.minimum_risk], 1))
        return found

    @cached_property
    def _classwise(self) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
        """Rows, places (K * bins) and numbers of class-wise gaps: likely probabilities, and each label's own 1."""
        likely, labels = self.results.likely, self.results.labels
        own_bin = np.zeros(len(labels), dtype=np.int64)
        own = likely.column == labels[likely.row]
        own_bin[likely.row[own]] = likely.place[own]
        row = np.concatenate([likely.row, np.arange(len(labels))])
        place = np.concatenate([likely.column * ECE_BINS + likely.place, labels * ECE_BINS + own_bin])
        return row, place, np.concatenate([likely.value, -np.ones(len(labels))])

    @cached_property
    def matrix(self) -> Any:
        """(J, n), sparse: times the weights of the rows it gives every sum."""
        from scipy.sparse import csr_array  # a sixth of a second to import

        rows, places, values, start = [], [], [], 0
        for _, place, number, size in self._numbers:
            kept = np.flatnonzero(number)
            rows.append(kept)
            places.append(place[kept] + start)
            values.append(number[kept])
            start += size
        row, place, value = self._classwise
        rows.append(row)
        places.append(place + start)
        values.append(value)
        shape = (start + self.num_classes * ECE_BINS, len(self.results.labels))
        return csr_array((np.concatenate(values), (np.concatenate(places), np.concatenate(rows))), shape=shape)

    @cached_property
    def _equal_mass(self) -> dict[str, tuple[NDArray[np.int64], EqualMass]]:
        """By the figure's name which rows it is about, sorted."""
        each = self.results
        found = {"ece_equal_mass": np.arange(len(each.labels))}
        for name, mask in self.groups.items():
            found[f"ece_equal_mass_{name}"] = np.flatnonzero(mask[each.labels])
        right = each.correct.astype(np.float64)
        return {
            name: (rows, EqualMass.of(each.confidence[rows], right[rows])) for name, rows in found.items() if len(rows)
        }

    def under(self, weights: Floats, small: Floats) -> dict[str, Floats]:
        """Every figure (R,) under R weightings of the rows, NaN where it is undefined.

        weights: (n, R). A class's sum over its rows must be that of the results' own weights.
        small: (K, R), the sums of the probabilities that were not kept, under the same weightings.
        """
        sums = self.matrix @ weights
        by_name: dict[str, Floats] = {}
        start = 0
        for name, _, _, size in self._numbers:
            by_name[name] = sums[start : start + size]
            start += size
        classwise = sums[start:].reshape(self.num_classes, ECE_BINS, -1)
        classwise[:, 0] += small
        return {
            **self._accuracies(by_name["right"], by_name["top5"], by_name["predicted"]),
            **{name: by_name[name][0] for name in ("nll", "brier", "cost", "minimum_risk_cost") if name in by_name},
            **self._equal_width(by_name["gap"]),
            **self._over_classes(np.abs(classwise).sum(axis=1)),
            **{
                name: np.array([sorted_.error(column, ECE_BINS) for column in np.ascontiguousarray(weights[rows].T)])
                for name, (rows, sorted_) in self._equal_mass.items()
            },
        }

    def _accuracies(self, right: Floats, in_top5: Floats, predicted: Floats) -> dict[str, Floats]:
        rows, present = self.rows, self.rows > 0
        recalls = accuracy.recall(right, rows)
        met = recalls[present]
        found: dict[str, Floats] = {
            "top1": right.sum(axis=0) / rows.sum(),
            "balanced": met.mean(axis=0),
            **{name: accuracy.mean_over(recalls, mask & present) for name, mask in self.groups.items()},
            "worst": met.min(axis=0),
            "harmonic": accuracy.harmonic_mean(met),
            "geometric": accuracy.geometric_mean(met),
            "macro_f1": accuracy.macro_f1(right, rows, predicted),
            "weighted_f1": accuracy.weighted_f1(right, rows, predicted),
            "macro_precision": accuracy.macro_precision(right, rows, predicted),
        }
        if self.num_classes > TOP:  # of five classes or fewer the label is always one
            found["top5"] = in_top5.sum(axis=0) / rows.sum()
        return found

    def _equal_width(self, gap: Floats) -> dict[str, Floats]:
        parts = gap.reshape(len(GROUPS), ECE_BINS, -1)
        found = {"ece": np.abs(parts.sum(axis=0)).sum(axis=0) / self.rows.sum()}
        for number, name in enumerate(GROUPS):
            if self.groups and (mass := self.rows[self.groups[name]].sum()) > 0:
                found[f"ece_{name}"] = np.abs(parts[number]).sum(axis=0) / mass
        return found

    def _over_classes(self, errors: Floats) -> dict[str, Floats]:
        """Class-wise errors (K, R), averaged over the classes that have rows, and over those of each group."""
        errors, present = errors / self.rows.sum(), self.rows > 0
        found = {"ece_classwise": accuracy.mean_over(errors, present)}
        for name, mask in self.groups.items():
            found[f"ece_classwise_{name}"] = accuracy.mean_over(errors, mask & present)
        return found
