"""What tuning found: the head, what it was chosen from, and what the head's record says of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from rebalance.head import LinearHead
from rebalance.resampling import single_rows
from rebalance.search.judging import Judge
from rebalance.search.path import Interval, StepCurve


@dataclass(frozen=True)
class Tuned:
    """What `tune` found; a hyperparameter is also an attribute: ``best.tau``.

    head: the head with the chosen values. parameters: them by name. value: the metric there, on the judging rows.
    highest: the best value met. before: the value of the head that was given; None without one, and with folds, whose
    rows that head may have been fitted on.
    curve: an exact StepCurve, or for a grid a list of dicts (parameters, value, standard error of the difference to
    the best). intervals, interval: for an exact search all optimal stretches, and the one that was chosen from (for
    "1se" the stretch within one standard error). exact: whether there was a path.
    notes: what makes the choice less certain than it looks, a sentence each.
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
    notes: tuple[str, ...] = ()

    def __getattr__(self, name: str) -> Any:
        parameters = self.__dict__.get("parameters", {})
        if name in parameters:
            return parameters[name]
        raise AttributeError(f"no {name!r} here; the tuned hyperparameters are {', '.join(parameters) or 'none'}")


def notes_on(judge: Judge) -> tuple[str, ...]:
    """What folds and the bootstrap cannot tell about classes with a single row; a sentence each."""
    single, classes = single_rows(judge.truth)
    if not single:
        return ()
    notes = []
    if judge.fold is not None:
        notes.append(f"{single} of {classes} classes have a single row, judged by a head that never saw the class")
    if judge.select == "1se-bootstrap":
        notes.append(f"{single} of {classes} classes have a single judging row, which the bootstrap takes as certain")
    return tuple(notes)


def tuning_record(tuned: Tuned, judge: Judge) -> dict[str, Any]:
    """How the values of `tuned` were chosen by `judge`, as plain JSON values for the head's record."""
    record: dict[str, Any] = {
        "parameters": tuned.parameters,
        "metric": judge.metric,
        "value": tuned.value,
        "select": judge.select,
        "search": "exact" if tuned.exact else "grid",
        "rows": int((judge.truth >= 0).sum()),
    }
    if tuned.interval is not None:
        # JSON has no infinity: an open end is null.
        record["interval"] = [end if math.isfinite(end) else None for end in tuned.interval]
    if judge.fold is not None:
        record["folds"] = int(np.max(judge.fold)) + 1
    if judge.fold is not None or judge.select == "1se-bootstrap":
        record["seed"] = judge.seed
    if tuned.notes:
        record["notes"] = list(tuned.notes)
    return record
