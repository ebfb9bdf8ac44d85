"""Choose a hyperparameter, honestly: on rows the backbone has not seen, with the one-standard-error rule.

Where a method has an exact path the whole real line is searched; elsewhere a grid. `select="1se"` takes the middle of
the stretch around the best that is no worse than one standard error (on a grid: the most regularised value), which
costs nothing measurable and does not chase noise on rare classes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from rebalance.blocks import Features, Labels, as_labels, width
from rebalance.classes import class_counts
from rebalance.head import LinearHead
from rebalance.methods import Method, Path, find_method, hyperparameters
from rebalance.metrics import balanced_row_weights, correct_rows
from rebalance.path import SAME, Floats, Interval, StepCurve, Sweep, representative, within_error

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
    highest: the best value met. before: the value of the head that was given, None without one.
    curve: an exact StepCurve, or for a grid a list of dicts (parameters, value, standard error of the difference to
    the best). intervals, interval: for an exact search all optimal stretches, and the one that was chosen from (for
    "1se" the stretch within one standard error). exact: whether there was a path.
    """

    head: LinearHead
    parameters: dict[str, Any]
    value: float
    highest: float
    before: float | None
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
    grid: values by hyperparameter, the least regularised first; one value fixes it. Without it the method's own grid.
    A hyperparameter with an exact path that is not in the grid is searched exactly, for every point of the grid.
    metric: "balanced" (mean recall of the classes present) or "top1". select: "1se" or "best".
    search: the range an exact search prefers when its best stretch reaches beyond.
    ValueError when there is nothing to tune, rows to judge on are missing or fit rows and judging rows are the same.
    """
    name, line = find_method(method)
    if metric not in METRICS:
        raise ValueError(f"no metric {metric!r}; there are {', '.join(METRICS)}")
    if select not in ("1se", "best"):
        raise ValueError(f"select is {select!r}; expected 1se or best")
    if not search[0] < search[1]:
        raise ValueError(f"search is {search[0]}, {search[1]}; expected a lower and a higher end")
    judge = _Judge(_judging_rows(name, line, head, features, labels, val), METRICS[metric], select)
    fixed, tried = _grid_of(name, line, grid or {})
    if line.path and line.path.parameter not in {**fixed, **tried}:
        searches = [_exact(line.path, line, head, judge, {**fixed, **point}, search) for point in _points(tried)]
        tuned = max(searches, key=lambda each: each.value)
    else:
        own = {key: list(values) for key, values in line.grid.items() if key not in fixed}
        tuned = _grid(name, line, head, (features, labels), judge, fixed, tried or own)
    chosen: dict[str, Any] = {
        "parameters": tuned.parameters,
        "metric": metric,
        "value": tuned.value,
        "select": select,
        "search": "exact" if tuned.exact else "grid",
        "rows": int(judge.known.sum()),
    }
    if tuned.interval is not None:
        # JSON has no infinity: an open end is null.
        chosen["interval"] = [end if math.isfinite(end) else None for end in tuned.interval]
    before = None if head is None else float(judge.weights @ _right(head, judge))
    return replace(tuned, head=tuned.head.with_record(tuned=chosen), before=before)


def _grid_of(name: str, line: Method, grid: Mapping[str, Sequence[Any]]) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """The fixed hyperparameters and those to try, in plain Python numbers (a head's record is JSON)."""
    known = hyperparameters(line.function)
    fixed: dict[str, Any] = {}
    tried: dict[str, list[Any]] = {}
    for key, given in grid.items():
        values = [value.item() if isinstance(value, np.generic) else value for value in given]
        if key not in known:
            raise ValueError(f"{name} has no hyperparameter {key!r}; it has {', '.join(known) or 'none'}")
        if not values:
            raise ValueError(f"the grid for {key} is empty; expected at least one value")
        if len(values) == 1:
            fixed[key] = values[0]
        else:
            tried[key] = values
    return fixed, tried


class _Judge:
    """The judging rows, the share of the metric that each of them holds (0 for one without a label), and the rule."""

    def __init__(self, rows: tuple[Features, Tensor], metric: RowWeights, select: Select) -> None:
        self.features, self.labels = rows
        self.known = self.labels.cpu().numpy() >= 0
        self.weights = np.zeros(len(self.known))
        self.weights[self.known] = metric(self.labels.cpu().numpy()[self.known])
        self.select = select


def _exact(
    path: Path, line: Method, head: LinearHead | None, judge: _Judge, fixed: dict[str, Any], search: Interval
) -> Tuned:
    lo, hi = path.intervals(head, judge.features, judge.labels, **fixed)
    sweep = Sweep.of(lo, hi)
    curve = sweep.curve(judge.weights)
    limits = path.limits(head)
    interval = _preferred(curve.best(limits), search)
    if judge.select == "1se":
        top = int(np.searchsorted(curve.breakpoints, interval[0], side="right")) if interval[0] > -math.inf else 0
        error = sweep.standard_errors(judge.weights, top)
        first, last = within_error(curve.values, error, top)
        pieces = np.arange(len(curve.values))
        (interval,) = curve.stretches((first <= pieces) & (pieces <= last))
    value = representative((max(interval[0], limits[0]), min(interval[1], limits[1])), search)
    parameters = {path.parameter: value, **fixed}
    tuned_head = line.function(head, judge.features, judge.labels, **parameters)
    highest = float(curve.values.max())
    return Tuned(tuned_head, parameters, float(curve(value)), highest, None, curve, curve.best(), interval, exact=True)


def _preferred(best: list[Interval], search: Interval) -> Interval:
    """Of the best intervals the one with most room in the search range; if none reaches it, the nearest."""

    def room(interval: Interval) -> float:
        return min(interval[1], search[1]) - max(interval[0], search[0])  # negative: how far away it is

    return max(best, key=room)


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
        why = "all values are given" if fixed else "it has no hyperparameter"
        raise ValueError(f"{name}: nothing to tune, {why}; fit it instead")
    points = [{**point, **fixed} for point in _points(grid)]
    heads = [line.function(head, *rows, **point) for point in points]
    right = np.stack([_right(each, judge) for each in heads], axis=1).astype(np.float64)
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
    return Tuned(
        heads[chosen], points[chosen], float(values[chosen]), float(values[top]), None, curve, [], None, exact=False
    )


def _points(grid: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Every combination of the values, the last hyperparameter changing fastest; one empty one without a grid."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def _right(head: LinearHead, judge: _Judge) -> NDArray[np.bool_]:
    """Whether the head is right on each judging row; ValueError when a label is beyond its classes."""
    class_counts(judge.labels, head.num_classes)
    return correct_rows(head(judge.features), judge.labels)


def _judging_rows(
    name: str,
    line: Method,
    head: LinearHead | None,
    features: Features,
    labels: Labels,
    val: tuple[Features, Labels] | None,
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
    if not bool((target >= 0).any()):
        raise ValueError("no row has a label; expected labelled rows to judge on")
    if head is not None:
        class_counts(target, head.num_classes)
        if width(rows[0]) != head.width:
            raise ValueError(
                f"the judging features are {width(rows[0])} wide, the head takes {head.width}: "
                "they come from different models"
            )
    return rows[0], target
