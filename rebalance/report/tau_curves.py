"""The exact curves along which heads were tuned, computed again from the rows that judged them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from rebalance.blocks import Features, Labels, as_labels
from rebalance.head import LinearHead
from rebalance.methods import METHODS, Method, Path, hyperparameters, takes_counts
from rebalance.metrics import balanced_row_weights
from rebalance.report.drawing import Drawing
from rebalance.report.figures import tau_curve
from rebalance.report.style import head_labels
from rebalance.search.path import Sweep

Bools = NDArray[np.bool_]
FIRST = "tau_norm"  # the paper's, whose figure has the plain name
LARGEST = 1e6  # a number in a record beyond it was not chosen by a search


def tau_curves(
    heads: Mapping[str, LinearHead],
    joint: LinearHead,
    tuning: tuple[Features, Labels, str],
    counts: ArrayLike | None,
    groups: Mapping[str, Bools],
    called: Mapping[str, str] | None = None,
) -> list[Drawing]:
    """A drawing for every head that an exact search on these rows made of the joint head, tau_norm's first.

    heads: by name. joint: what they start from. tuning: features (N, D), labels (N,) and the name of the split.
    counts: (K,) training rows, which some methods use. groups: masks (K,) of the shot groups.
    called: what the heads are called in the pictures.
    Heads tuned elsewhere or on a grid, and heads that are not what their record says, have none. Under
    ranks.together() every rank calls it.
    """
    features, labels, split = tuning
    target = as_labels(labels)
    weights = measured(target.cpu().numpy(), groups)
    shown = called or head_labels(heads)
    drawn: list[Drawing] = []
    for own, head in sorted(heads.items(), key=lambda each: each[1].record.get("method") != FIRST):
        found = _searched(head, split)
        if found is None:
            continue
        line, path, parameters, interval = found
        method = str(head.record["method"])
        try:
            lo, hi = _intervals(line, path, joint, head, (features, target), parameters, counts)
        except (ValueError, TypeError):
            continue  # its record asks for what cannot be searched exactly
        sweep = Sweep.of(lo, hi)
        plain = "tau_curve" if method == FIRST else f"tau_curve_{method}"
        again = sum(other.name == plain or other.name.startswith(f"{plain}-") for other in drawn)
        drawn.append(
            tau_curve(
                {what: sweep.curve(shares) for what, shares in weights.items()},
                method=own,
                called=shown[own],
                parameter=path.parameter,
                chosen=float(parameters[path.parameter]),
                interval=interval,
                split=split,
                name=f"{plain}-{again + 1}" if again else plain,
            )
        )
    return drawn


def measured(labels: NDArray[np.int64], groups: Mapping[str, Bools]) -> dict[str, NDArray[np.float64]]:
    """What each row (N,) counts in the balanced accuracy, and in that of each shot group that has rows.

    labels: (N,), -1 where there is none. groups: masks (K,) over the classes.
    """
    known = labels >= 0
    parts = {"balanced": known, **{name: known & mask[labels.clip(0)] for name, mask in groups.items()}}
    weights = {}
    for name, part in parts.items():
        if part.any():
            weights[name] = np.zeros(len(labels))
            weights[name][part] = balanced_row_weights(labels[part])
    return weights


def _searched(
    head: LinearHead, split: str
) -> tuple[Method, Path, dict[str, Any], tuple[float | None, float | None] | None] | None:
    """The method, its path, the hyperparameters and the chosen stretch of a head tuned exactly on the split, or None.

    A head's file is a stranger's: whatever in its record is not of the right kind means that there is no curve.
    """
    record = head.record
    tuned, given = record.get("tuned"), record.get("hyperparameters")
    line = METHODS.get(str(record.get("method")))
    if line is None or line.path is None or record.get("tuned_on") != split:
        return None
    if not isinstance(tuned, dict) or not isinstance(given, dict) or tuned.get("search") != "exact":
        return None
    parameters = {name: given[name] for name in hyperparameters(line.function) if name in given}
    if not _number(parameters.get(line.path.parameter)):
        return None
    interval = tuned.get("interval")
    if not (isinstance(interval, list) and len(interval) == 2 and all(end is None or _number(end) for end in interval)):
        return line, line.path, parameters, None
    return line, line.path, parameters, (interval[0], interval[1])


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST


def _intervals(
    line: Method,
    path: Path,
    joint: LinearHead,
    head: LinearHead,
    rows: tuple[Features, torch.Tensor],
    parameters: dict[str, Any],
    counts: ArrayLike | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The intervals of the rows; ValueError when the head is not what its record says or nothing can be searched."""
    data = {"counts": counts} if takes_counts(line.function) else {}
    if data and counts is None:
        raise ValueError("the curve needs training rows a class")
    made = line.function(joint, *rows, **parameters, **data)
    same = type(made) is type(head) and all(
        a.shape == b.shape and torch.allclose(a, b.to(a.device), rtol=1e-4, atol=1e-6)
        for a, b in zip(made.tensors().values(), head.tensors().values(), strict=True)
    )
    if not same:
        raise ValueError("the head is not what its record makes of this joint head")
    fixed = {name: value for name, value in parameters.items() if name != path.parameter}
    return path.intervals(joint, *rows, **fixed, **data)
