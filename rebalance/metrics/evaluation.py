"""Judging a head: logits or features, labels and what they are to be judged by, checked; and the report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from rebalance.blocks import Features, Labels, as_labels, width
from rebalance.classes import Group, Shots, class_counts
from rebalance.costs import check_costs
from rebalance.head import LinearHead
from rebalance.metrics import accuracy
from rebalance.metrics.intervals import drawn_times, estimates, replicate_figures
from rebalance.metrics.report import Report
from rebalance.metrics.rows import given_logits, head_logits, row_results
from rebalance.metrics.sums import Figures
from rebalance.prior import as_prior
from rebalance.resampling import single_rows

Floats = NDArray[np.float64]
ENOUGH = 5  # rows of a class: of fewer the bootstrap shows too little spread, by a factor of (n - 1) / n in variance


def evaluate(
    logits: Features,
    labels: Labels,
    counts: ArrayLike | None = None,
    *,
    shots: Shots | None = None,
    target_prior: ArrayLike | None = None,
    costs: ArrayLike | None = None,
    replicates: int = 0,
    seed: int = 0,
) -> Report:
    """The report of logits against labels.

    logits: (N, K). labels: (N,); rows labelled -1 are left out. counts: (K,) training rows a class, for the groups;
    without them many, medium and few are None. shots: the groups' bounds.
    target_prior: (K,) shares of any sum: the rows are weighted as if the classes came with these; None: as they are.
    costs: (K, K), what a row of one class (row) costs when it is taken for another (column).
    replicates: of the bootstrap within the classes, for 95 % intervals; 0: none. seed: of its draws.
    ValueError when the shapes do not fit, a logit is NaN or infinite, or no row has a label.
    """
    if len(logits.shape) != 2:
        raise ValueError(f"logits have shape {tuple(logits.shape)}; expected (N, K), one row a sample")
    ask = _Question.of(as_labels(labels), width(logits), counts, shots, target_prior, costs, replicates, seed)
    ask.refuse_other_rows(len(logits))
    return ask.answer(given_logits(logits))


def evaluate_head(
    head: LinearHead,
    features: Features,
    labels: Labels,
    counts: ArrayLike | None = None,
    *,
    shots: Shots | None = None,
    target_prior: ArrayLike | None = None,
    costs: ArrayLike | None = None,
    replicates: int = 0,
    seed: int = 0,
) -> Report:
    """The report of a head on features: that of its logits, of which only a block at a time is in memory.

    features: (N, D). The others: as in `evaluate`. Under ranks.together() every rank judges its own rows.
    ValueError as there, and when the features are not as wide as the head's.
    """
    if width(features) != head.width:
        raise ValueError(f"features are {width(features)} wide, the head takes {head.width}: of different models")
    ask = _Question.of(as_labels(labels), head.num_classes, counts, shots, target_prior, costs, replicates, seed)
    ask.refuse_other_rows(len(features))
    return ask.answer(head_logits(head, features))


@dataclass(frozen=True)
class _Question:
    """What a head is judged by; checked."""

    labels: Tensor
    classes: int
    groups: dict[Group, NDArray[np.bool_]]
    rule: str
    prior: Floats | None
    costs: Floats | None
    replicates: int
    seed: int

    @classmethod
    def of(
        cls,
        labels: Tensor,
        classes: int,
        counts: ArrayLike | None,
        shots: Shots | None,
        prior: ArrayLike | None,
        costs: ArrayLike | None,
        replicates: int,
        seed: int,
    ) -> _Question:
        bounds = shots or Shots()
        if counts is not None and _array(counts).shape != (classes,):
            raise ValueError(
                f"counts have shape {_array(counts).shape}; expected ({classes},), one count for each of {classes} "
                "classes"
            )
        if counts is not None and not bool((_array(counts) >= 0).all()):  # NaN is not either
            wrong = int(np.flatnonzero(~(_array(counts) >= 0))[0])
            raise ValueError(f"counts: that of class {wrong} is {_array(counts)[wrong]}; expected 0 or more rows")
        return cls(
            labels,
            classes,
            {} if counts is None else bounds.groups(_array(counts)),
            bounds.rule,
            None if prior is None else as_prior(prior, classes, name="target_prior").numpy(),
            None if costs is None else check_costs(costs, classes),
            replicates,
            seed,
        )

    def refuse_other_rows(self, rows: int) -> None:
        """ValueError unless there are labels for so many rows, and one of them at least is a class."""
        if len(self.labels) != rows:
            raise ValueError(f"{len(self.labels)} labels for {rows} rows of logits; expected one a row")
        if not bool((self.labels >= 0).any()):
            raise ValueError("no row has a label; expected at least one labelled row to judge on")

    def answer(self, logits: Iterable[tuple[slice, Tensor]]) -> Report:
        """The report of logits in blocks."""
        class_rows = class_counts(self.labels, self.classes).cpu().numpy()
        truth = self.labels.cpu().numpy()
        weights, notes = self._weights(truth, class_rows)
        times = drawn_times(truth, self.replicates, self.seed)
        results = row_results(logits, self.labels, self.classes, weights, times, self.costs)
        figures = Figures(results, self.classes, self.groups, self.costs)
        values = {name: value for name, value in estimates(figures).items() if not np.isnan(value)}
        drawn = {name: each for name, each in replicate_figures(figures, times).items() if name in values}
        right = np.bincount(results.labels, results.correct, self.classes)
        weighted = np.bincount(results.labels, results.correct * results.weights, self.classes)
        predicted = np.bincount(results.predictions, results.weights, self.classes)
        seen = np.where(class_rows > 0, 1.0, np.nan)
        return Report(
            values,
            recall=accuracy.recall(right, class_rows),
            precision=accuracy.precision(weighted, predicted) * seen,
            f1=accuracy.f1(weighted, figures.rows, predicted) * seen,
            recall_interval=accuracy.wilson(right, class_rows),
            class_rows=class_rows,
            class_predictions=np.bincount(results.predictions, minlength=self.classes),
            rows=len(results.rows),
            rule=self.rule,
            notes=notes,
            groups=self.groups,
            results=results,
            costs=self.costs,
            replicates=drawn,
            seed=self.seed,
        )

    def _weights(self, truth: NDArray[np.int64], class_rows: NDArray[np.int64]) -> tuple[Floats, tuple[str, ...]]:
        """Row weights (N,) with sum 1, 0 for a row without a label; and what is to be said of them."""
        notes = []
        single, classes = single_rows(truth)
        if self.replicates and single:
            notes.append(f"{single} of {classes} classes have a single row, which the intervals take as certain")
        few = int(((class_rows > 1) & (class_rows < ENOUGH)).sum())
        if self.replicates and few:
            notes.append(f"{few} of {classes} classes have fewer than {ENOUGH} rows, so the intervals are too narrow")
        shares = class_rows / class_rows.sum()
        if self.prior is not None:
            shares = np.where(class_rows > 0, self.prior, 0.0)
            missing = float(self.prior[class_rows == 0].sum())
            if not shares.any():
                raise ValueError("target_prior is 0 for every class that has rows here; expected shares of these")
            unweighted = int(((self.prior == 0) & (class_rows > 0)).sum())
            if unweighted:
                notes.append(f"{unweighted} of {classes} classes have no share in the target prior and are left out")
            if missing > 0:
                notes.append(
                    f"{100 * missing:.3g} % of the target prior is on classes without rows, which nobody can judge: "
                    "the others stand for all"
                )
            shares = shares / shares.sum()
        each = np.divide(shares, class_rows, out=np.zeros(self.classes), where=class_rows > 0)
        return np.where(truth >= 0, each[np.maximum(truth, 0)], 0.0), tuple(notes)


def _array(values: ArrayLike) -> NDArray[np.int64]:
    return np.asarray(values.cpu() if isinstance(values, torch.Tensor) else values)
