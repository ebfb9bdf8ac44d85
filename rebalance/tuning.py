"""Choose a hyperparameter, honestly: on rows the backbone has not seen, with the one-standard-error rule.

Where a method has an exact path the whole real line is searched; elsewhere a grid. `select="1se"` takes the middle of
the stretch around the best that is no worse than one standard error (on a grid: the most regularised value), which
costs nothing measurable and does not chase noise on rare classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import ArrayLike

from rebalance.blocks import Features, Labels
from rebalance.head import LinearHead
from rebalance.methods import Method, Path, find_method, hyperparameters, takes_counts
from rebalance.search.folds import stratified_folds
from rebalance.search.grid import grid_points, pick, read_grid, right_rows
from rebalance.search.judging import METRICS, Judge, Metric, judging_rows
from rebalance.search.path import Interval, Sweep
from rebalance.search.selection import SELECTS, Select, choose
from rebalance.search.tuned import Tuned, notes_on, tuning_record

__all__ = ["Tuned", "tune"]


def tune(
    method: str | Callable[..., LinearHead],
    head: LinearHead | None,
    features: Features,
    labels: Labels,
    *,
    val: tuple[Features, Labels] | None = None,
    counts: ArrayLike | None = None,
    grid: Mapping[str, Sequence[Any]] | None = None,
    metric: Metric = "balanced",
    select: Select = "1se",
    search: Interval = (0.0, 3.0),
    folds: int | None = None,
    seen: bool | None = None,
    allow_seen: bool = False,
    seed: int = 0,
) -> Tuned:
    """The method's head with the hyperparameters that are best on held-out rows.

    method: its name or function. head: the joint head, or None for methods that need none.
    features, labels: (N, D) and (N,). For a method that is fitted they are the rows it is fitted on, and `val` holds
    the rows that judge; for one that is not (tau_norm) they judge.
    val: (features, labels) that judge a fitted method.
    counts: (K,) training rows a class, for the methods that use them. A method fitted on the training rows counts
    them itself; any other is refused without, for the rows it is given are not those the backbone was trained on.
    grid: values by hyperparameter, the least regularised first; one value fixes it. Without it the method's own grid.
    A hyperparameter with an exact path that is not in the grid is searched exactly, for every point of the grid.
    metric: "balanced" (mean recall of the classes present) or "top1".
    select: "1se" (McNemar's standard error), "1se-bootstrap" (from 200 replicates within the classes) or "best".
    search: the range an exact search prefers when its best stretch reaches beyond.
    folds: instead of `val`, the rows of the fit judge in so many stratified parts, each by a head fitted without it;
    the head that comes back is fitted on all of them.
    seen: whether the backbone, or a head that the method keeps, was trained on the judging rows; with folds it must
    be said. allow_seen: tune even so; the head's record then says ``tuned_on_seen``.
    seed: of the folds and the bootstrap.
    ValueError when there is nothing to tune, rows to judge on are missing or seen, or fit rows and judging rows are
    the same.
    """
    name, line = find_method(method)
    if metric not in METRICS:
        raise ValueError(f"no metric {metric!r}; there are {', '.join(METRICS)}")
    if select not in SELECTS:
        raise ValueError(f"select is {select!r}; expected {', '.join(SELECTS[:-1])} or {SELECTS[-1]}")
    if not search[0] < search[1]:
        raise ValueError(f"search is {search[0]}, {search[1]}; expected a lower and a higher end")
    judge = Judge(*judging_rows(name, line, head, features, labels, val, folds), metric, select, seed)
    _refuse_seen(name, folds, seen, allow_seen)
    if folds is not None:
        judge = replace(judge, fold=stratified_folds(judge.truth, folds, seed=seed))
    data = _training_counts(name, line, counts)
    fixed, tried = read_grid(name, line, grid or {})
    if line.path and line.path.parameter not in {**fixed, **tried}:
        searches = [_exact(line.path, line, head, judge, {**fixed, **p}, data, search) for p in grid_points(tried)]
        tuned = max(searches, key=lambda each: each.value)
    else:
        own = {key: list(values) for key, values in line.grid.items() if key not in fixed}
        tuned = _grid(name, line, head, (features, labels), judge, fixed, tried or own, data)
    before = None if head is None or folds is not None else float(judge.weights @ judge.right(head))
    tuned = replace(tuned, before=before, notes=notes_on(judge))
    marks = {} if seen is None and folds is None else {"tuned_on_seen": seen is not False}
    return replace(tuned, head=tuned.head.with_record(tuned=tuning_record(tuned, judge), **marks))


def _refuse_seen(name: str, folds: int | None, seen: bool | None, allow_seen: bool) -> None:
    """ValueError when rows that the backbone saw, or may have seen, would judge."""
    if allow_seen or seen is False or (seen is None and folds is None):
        return
    unsaid = "" if seen else " unless it is said that the backbone never saw them (seen=False)"
    raise ValueError(
        f"{name} cannot be tuned on these rows{unsaid}: rows the backbone was trained on cannot tune, the joint head "
        "is perfect on them; give val, or allow_seen=True to do it all the same"
    )


def _training_counts(name: str, line: Method, counts: ArrayLike | None) -> dict[str, Any]:
    """The counts as the method's keyword, nothing for a method that has none; ValueError when it cannot go without."""
    if not takes_counts(line.function) or (counts is None and line.on == "train"):
        return {}
    if counts is None:
        raise ValueError(
            f"{name} needs the training rows a class, and the rows given are judging rows; expected counts=(K,)"
        )
    return {"counts": counts}


def _exact(
    path: Path,
    line: Method,
    head: LinearHead | None,
    judge: Judge,
    fixed: dict[str, Any],
    data: dict[str, Any],
    search: Interval,
) -> Tuned:
    sweep = Sweep.of(*path.intervals(head, judge.features, judge.labels, **fixed, **data))
    limits = path.limits(head, **data) if takes_counts(path.limits) else path.limits(head)
    choice = choose(
        sweep,
        judge.weights,
        select=judge.select,
        search=search,
        limits=limits,
        labels=judge.truth,
        seed=judge.seed,
    )
    parameters = {path.parameter: choice.value, **fixed}
    return Tuned(
        line.function(head, judge.features, judge.labels, **parameters, **data),
        parameters,
        value=float(choice.curve(choice.value)),
        highest=float(choice.curve.values.max()),
        before=None,
        curve=choice.curve,
        intervals=choice.intervals,
        interval=choice.interval,
        exact=True,
    )


def _grid(
    name: str,
    line: Method,
    head: LinearHead | None,
    rows: tuple[Features, Labels],
    judge: Judge,
    fixed: dict[str, Any],
    grid: dict[str, list[Any]],
    data: dict[str, Any],
) -> Tuned:
    if not grid:
        nothing = "no grid of its own and none is given" if hyperparameters(line.function) else "no hyperparameter"
        why = "all values are given" if fixed else f"it has {nothing}"
        raise ValueError(f"{name}: nothing to tune, {why}; fit it instead")
    points = [{**point, **fixed} for point in grid_points(grid)]
    right, heads = right_rows(line, head, rows, judge, points, data)
    chosen, values, errors = pick(judge, right)
    return Tuned(
        heads[chosen] if heads else line.function(head, *rows, **points[chosen], **data),
        points[chosen],
        value=float(values[chosen]),
        highest=float(values.max()),
        before=None,
        curve=[
            {**point, "value": float(value), "standard_error": float(error)}
            for point, value, error in zip(points, values, errors, strict=True)
        ],
        intervals=[],
        interval=None,
        exact=False,
    )
