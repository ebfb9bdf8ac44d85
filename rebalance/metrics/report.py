"""How good a head is on one split: every figure, every class, and how sure they are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rebalance.classes import GROUPS, Group
from rebalance.metrics.intervals import (
    Difference,
    Interval,
    McNemar,
    differences,
    interval,
    is_inflated,
    mcnemar,
)
from rebalance.metrics.rows import RowResults

Floats = NDArray[np.float64]

PRINTED = ("top1", "balanced", "many", "medium", "few", "macro_f1", "nll", "ece")
CALIBRATION = ("ece", "ece_equal_mass", "ece_classwise")
FIGURES = (
    *("top1", "top5", "balanced", *GROUPS, "worst", "harmonic", "geometric"),
    *("macro_f1", "weighted_f1", "macro_precision", "nll", "brier"),
    *(name for kind in CALIBRATION for name in (kind, *(f"{kind}_{group}" for group in GROUPS))),
    *("cost", "minimum_risk_cost"),
)
ANYWHERE = (-np.inf, np.inf)
RANGES = {"nll": (0.0, np.inf), "brier": (0.0, 2.0), "cost": ANYWHERE, "minimum_risk_cost": ANYWHERE}  # others: 0 to 1


@dataclass(frozen=True, eq=False)
class Report:
    """The figures of one head on one split; every name of FIGURES is an attribute, None where it is not defined.

    top1: share of rows that are right. top5: share whose label is among the five largest logits (more than 5 classes).
    balanced: mean recall over the classes that have rows. many, medium, few: the same over the classes of a shot
    group. worst, harmonic, geometric: the least, the harmonic and the geometric mean of those recalls.
    macro_f1, macro_precision: means over the classes that have rows. weighted_f1: F1, every class
    weighing its rows. nll: mean negative log-likelihood in nats. brier: mean squared distance of the probabilities to
    the label, from 0 to 2. ece: expected calibration error, 15 bins of equal width closed on the right.
    ece_equal_mass: the same over 15 bins of equally many rows. ece_classwise: the error of every class's own
    probability, averaged over the classes that have rows. ece_many, …: the same for the rows, or classes, of a group.
    cost: the mean cost of the decisions, minimum_risk_cost: of those of least expected cost under the head's own
    probabilities; None without costs.

    values: the figures that are defined. recall, precision, f1: (K,), NaN for a class without rows (precision also for
    one never predicted). recall_interval: (K, 2), Wilson's. class_rows, class_predictions: (K,), rows of each class
    and rows predicted as it. rows: labelled rows. rule: the shot groups in words. notes: what makes the figures less
    certain than they look, a sentence each. groups: masks (K,) of the shot groups, {} without counts.
    results: what became of every row. costs: (K, K), or None. replicates: (R,) by figure, {} without. seed: of their
    draws.
    """

    values: dict[str, float]
    recall: Floats
    precision: Floats
    f1: Floats
    recall_interval: Floats
    class_rows: NDArray[np.int64]
    class_predictions: NDArray[np.int64]
    rows: int
    rule: str
    notes: tuple[str, ...]
    groups: dict[Group, NDArray[np.bool_]]
    results: RowResults
    costs: Floats | None
    replicates: dict[str, Floats]
    seed: int

    def __getattr__(self, name: str) -> Any:
        if name in FIGURES:
            return self.__dict__.get("values", {}).get(name)
        raise AttributeError(f"no {name!r} here; the figures are {', '.join(FIGURES)}")

    def __repr__(self) -> str:
        return f"Report({', '.join(f'{name}={value:.4g}' for name, value in self.values.items())})"

    def figures(self) -> dict[str, float | None]:
        """The figures by name, in their order."""
        return {name: self.values.get(name) for name in FIGURES}

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """The 95 % interval of every defined figure; {} without replicates."""
        return {
            name: interval(self.values[name], drawn, RANGES.get(name, (0.0, 1.0)), inflated=is_inflated(name))
            for name, drawn in self.replicates.items()
        }

    def difference(self, other: Report) -> dict[str, Difference]:
        """This head's figures less another's, with 95 % intervals, paired over the same rows.

        ValueError when the two were not judged on the same rows by the same weights, costs, groups and draws.
        """
        self._same_rows(other)
        return differences(self.values, other.values, self.replicates, other.replicates)

    def mcnemar(self, other: Report) -> McNemar:
        """McNemar's test of whether the two heads are right equally often; ValueError as above."""
        self._same_rows(other)
        return mcnemar(self.results.correct, other.results.correct)

    def _same_rows(self, other: Report) -> None:
        mine, its = self._judged_by(), other._judged_by()
        if not all(np.array_equal(mine[name], its[name]) for name in mine.keys() & its.keys()):
            raise ValueError(
                "the two heads were judged on different rows or labels, or by other target priors, costs, shot groups, "
                "replicates or seeds; expected the same for both, for their difference is paired row by row"
            )

    def _judged_by(self) -> dict[str, Any]:
        """All that must be the same for two reports to be compared; groups and costs only where both have them."""
        lengths = sorted({len(values) for values in self.replicates.values()})
        return {
            "rows": self.results.rows,
            "labels": self.results.labels,
            "weights": self.results.weights,
            "replicates": lengths,
            "seed": self.seed if lengths else None,
            **{str(name): mask for name, mask in self.groups.items()},
            **({} if self.costs is None else {"costs": self.costs}),
        }

    def to_dict(self) -> dict[str, Any]:
        """Everything but the single rows, as plain JSON values."""
        return {
            **self.figures(),
            "rows": self.rows,
            "rule": self.rule,
            "notes": list(self.notes),
            "recall": _plain(self.recall),
            "recall_interval": [_plain(pair) for pair in self.recall_interval],
            "precision": _plain(self.precision),
            "f1": _plain(self.f1),
            "class_rows": self.class_rows.tolist(),
            "class_predictions": self.class_predictions.tolist(),
            "intervals": {name: list(ends) for name, ends in self.intervals.items()},
        }

    def __str__(self) -> str:
        cells = ["-" if (value := self.values.get(name)) is None else f"{value:.3f}" for name in PRINTED]
        lines = ["".join(f"{name:>10}" for name in PRINTED), "".join(f"{cell:>10}" for cell in cells)]
        if self.replicates:
            halves = [self.intervals.get(name) for name in PRINTED]
            lines.append("".join(f"{'' if ends is None else f'±{(ends[1] - ends[0]) / 2:.3f}':>10}" for ends in halves))
        return "\n".join([*lines, f"{self.rows} rows; {self.rule}", *self.notes])


def _plain(values: Floats) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]
