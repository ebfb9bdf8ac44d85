"""Choose a hyperparameter, honestly: on rows the backbone has not seen, with the one-standard-error rule.

Where a method has an exact path the whole real line is searched; elsewhere a grid. `select="1se"` takes the middle of
the stretch around the best that is no worse than one standard error (on a grid: the most regularised value), which
costs nothing measurable and does not chase noise on rare classes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from rebalance.blocks import Features, Labels, as_labels, width
from rebalance.classes import class_counts
from rebalance.head import LinearHead
from rebalance.methods import Method, find_method
from rebalance.metrics import balanced_row_weights, correct_rows
from rebalance.path import SAME, Floats, Interval, StepCurve, Sweep, representative, widest, within_error

Metric = Literal["balanced", "top1"]
Select = Literal["1se", "best"]
RowWeights: TypeAlias = Callable[[NDArray[np.int64]], Floats]

METRICS: dict[str, RowWeights] = {
    "balanced": balanced_row_weights,
    "top1": lambda labels: np.full(len(labels), 1.0 / len(labels)),
}


@dataclass(frozen=True)
class Tuned:
    """What `tune` found; a hyperparameter is also an attribute: ``best.tau``.

    head: the head with the chosen values. parameters: them by name. value: the metric there, on the judging rows.
    curve: an exact StepCurve, or for a grid a list of dicts (parameters, value, standard error of the difference to
    the best). intervals, interval: for an exact search all optimal stretches, and the one that was chosen from (for
    "1se" the stretch within one standard error). exact: whether there was a path.
    """

    head: LinearHead
    parameters: dict[str, Any]
    value: float
    curve: StepCurve | list[dict[str, Any]]
    intervals: list[Interval]
    interval: Interval | None
    exact: bool

    def __getattr__(self, name: str) -> Any:
        parameters = self.__dict__.get("parameters", {})
        if name in parameters:
            return parameters[name]
        raise AttributeError(f"no {name!r} here; the tuned hyperparameters are {', '.join(parameters) or 'none'}")


def tune(
    method: str | Callable[..., LinearHead],
    head: LinearHead | None,
    features: Features,
    labels: Labels,
    *,
    val: tuple[Features, Labels] | None = None,
    grid: Mapping[str, Sequence[Any]] | None = None,
    metric: Metric = "balanced",
    select: Select = "1se",
    search: Interval = (0.0, 3.0),
) -> Tuned:
    """The method's head with the hyperparameters that are best on held-out rows.

    method: its name or function. head: the joint head, or None for methods that need none.
    features, labels: (N, D) and (N,). For a method that is fitted they are the rows it is fitted on, and `val` holds
    the rows that judge; for one that is not (tau_norm) they judge.
    val: (features, labels) that judge a fitted method.
    grid: values by hyperparameter, the least regularised first; one value fixes it. None: the exact path, else the
    method's own grid.
    metric: "balanced" (mean recall of the classes present) or "top1". select: "1se" or "best".
    search: the range an exact search prefers when its best stretch reaches beyond.
    ValueError when there is nothing to tune, rows to judge on are missing or fit rows and judging rows are the same.
    """
    name, line = find_method(method)
    judging = _judging_rows(name, line, features, labels, val)
    if metric not in METRICS:
        raise ValueError(f"no metric {metric!r}; there are {', '.join(METRICS)}")
    if select not in ("1se", "best"):
        raise ValueError(f"select is {select!r}; expected 1se or best")
    grid = dict(grid or {})
    fixed = {key: values[0] for key, values in grid.items() if len(values) == 1}
    tried = {key: list(values) for key, values in grid.items() if len(values) != 1}
    if empty := [key for key, values in tried.items() if not values]:
        raise ValueError(f"the grid for {empty[0]} is empty; expected at least one value")
    judge = _Judge(judging, METRICS[metric], select)
    if line.path and line.path.parameter not in grid and not tried:
        tuned = _exact(line, head, judge, fixed, search)
    else:
        own = {key: list(values) for key, values in line.grid.items() if key not in fixed}
        tuned = _grid(name, line, head, (features, labels), judge, fixed, tried or own)
    chosen: dict[str, Any] = {
        "parameters": tuned.parameters,
        "metric": metric,
        "value": tuned.value,
        "select": select,
        "search": "exact" if tuned.exact else "grid",
        "rows": len(judge.labels),
    }
    if tuned.interval is not None:
        # JSON has no infinity: an open end is null.
        chosen["interval"] = [end if math.isfinite(end) else None for end in tuned.interval]
    return _replace_head(tuned, tuned.head.with_record(tuned=chosen))


class _Judge:
    """The judging rows, the share of the metric that each of them holds, and how to select."""

    def __init__(self, rows: tuple[Features, Tensor], weights: RowWeights, select: Select) -> None:
        self.features, labels = rows
        self.labels = labels.cpu().numpy()
        self.weights = weights(self.labels)
        self.select = select


def _exact(line: Method, head: LinearHead | None, judge: _Judge, fixed: dict[str, Any], search: Interval) -> Tuned:
    path = line.path
    if path is None:
        raise ValueError("this method has no exact path")
    labels = as_labels(judge.labels)
    lo, hi = path.intervals(head, judge.features, labels, **fixed)
    sweep = Sweep.of(lo, hi)
    curve = sweep.curve(judge.weights)
    best = curve.best()
    interval = widest(_within(best, search))
    if judge.select == "1se":
        top = int(np.searchsorted(curve.breakpoints, interval[0], side="right")) if interval[0] > -math.inf else 0
        error = sweep.standard_errors(judge.weights, top)
        first, last = within_error(curve.values, error, top)
        pieces = np.arange(len(curve.values))
        (interval,) = curve.stretches((first <= pieces) & (pieces <= last))
    value = representative(interval, search)
    parameters = {path.parameter: value, **fixed}
    tuned_head = line.function(head, judge.features, labels, **parameters)
    return Tuned(tuned_head, parameters, float(curve(value)), curve, best, interval, exact=True)


def _within(intervals: list[Interval], search: Interval) -> list[Interval]:
    """The intervals that meet the search range, or all of them if none does."""
    meet = [each for each in intervals if each[0] < search[1] and each[1] > search[0]]
    return meet or intervals


def _grid(
    name: str,
    line: Method,
    head: LinearHead | None,
    rows: tuple[Features, Labels],
    judge: _Judge,
    fixed: dict[str, Any],
    grid: dict[str, list[Any]],
) -> Tuned:
    if not grid:
        raise ValueError(f"{name} has no hyperparameter to tune; fit it, or give a grid")
    points = [{**dict(zip(grid, values, strict=True)), **fixed} for values in itertools.product(*grid.values())]
    heads = [line.function(head, *rows, **point) for point in points]
    right = np.stack([correct_rows(each(judge.features), as_labels(judge.labels)) for each in heads], axis=1).astype(
        np.float64
    )
    values = judge.weights @ right
    # Of equal values the last, the most regularised one, is the best.
    top = len(values) - 1 - int(np.argmax(values[::-1] >= values.max() - SAME))
    # McNemar's standard error, as in Sweep.standard_errors.
    error = np.sqrt(judge.weights**2 @ (right != right[:, [top]]))
    chosen = top
    if judge.select == "1se":
        chosen = int(np.flatnonzero(values[top] - values <= error + SAME)[-1])
    curve = [
        {**point, "value": float(value), "standard_error": float(se)}
        for point, value, se in zip(points, values, error, strict=True)
    ]
    return Tuned(heads[chosen], points[chosen], float(values[chosen]), curve, [], None, exact=False)


def _judging_rows(
    name: str, line: Method, features: Features, labels: Labels, val: tuple[Features, Labels] | None
) -> tuple[Features, Tensor]:
    """The labelled rows that judge."""
    if line.on is None:
        if val is not None:
            raise ValueError(f"{name} fits nothing: give the judging rows as features and labels, and no val")
        rows = features, labels
    elif val is None:
        raise ValueError(
            f"{name} is fitted on the rows given and cannot be judged on them; expected val=(features, labels)"
        )
    elif val[0] is features:
        raise ValueError(f"{name} would be judged on the rows it is fitted on; expected another split as val")
    else:
        rows = val
    target = as_labels(rows[1])
    if len(target) != len(rows[0]):
        raise ValueError(f"{len(target)} labels for {len(rows[0])} rows of features; expected one a row")
    known = target >= 0
    if not bool(known.any()):
        raise ValueError("no row has a label; expected labelled rows to judge on")
    class_counts(target, int(target.max()) + 1)
    width(rows[0])
    if bool(known.all()):
        return rows[0], target
    keep = known.nonzero()[:, 0]
    kept = rows[0][keep] if isinstance(rows[0], Tensor) else rows[0][keep.cpu().numpy()]  # type: ignore[index]
    return kept, target[keep]


def _replace_head(tuned: Tuned, head: LinearHead) -> Tuned:
    return Tuned(head, tuned.parameters, tuned.value, tuned.curve, tuned.intervals, tuned.interval, tuned.exact)
