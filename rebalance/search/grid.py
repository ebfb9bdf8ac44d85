"""A grid of hyperparameters: its points, the head of each, and which of them is taken."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from rebalance.blocks import Features, Labels, as_labels
from rebalance.classes import class_counts
from rebalance.head import LinearHead
from rebalance.methods import Method, hyperparameters
from rebalance.search.judging import Judge, Right
from rebalance.search.path import SAME, Floats

STRENGTH = "weight_decay"  # the hyperparameter along which solutions are handed on


def read_grid(
    name: str, line: Method, grid: Mapping[str, Sequence[Any]]
) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """The fixed hyperparameters and those to try, in plain Python numbers (a head's record is JSON).

    name, line: the method. grid: values by hyperparameter; one value fixes it. ValueError when the method has no such
    hyperparameter, or no value is given for it.
    """
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


def grid_points(grid: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """Every combination of the values, the last hyperparameter changing fastest; one empty one without a grid."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def heads_of(
    line: Method,
    head: LinearHead | None,
    features: Features,
    labels: Labels,
    points: list[dict[str, Any]],
    data: Mapping[str, Any],
) -> list[LinearHead]:
    """The method's head for every point, in the order of the points.

    line: the method. head, features, labels: what it is fitted on. data: its further data, such as counts.

    A method that can begin at another solution (keyword `start`) goes through the values of the weight decay from the
    strongest to the weakest, each beginning at the one before: the strongest is the quickest to solve, and the next
    minimum is never far.
    """
    heads: dict[int, LinearHead] = {}
    for chain in _chains(line, points):
        last: dict[str, LinearHead] = {}
        for place in chain:
            heads[place] = line.function(head, features, labels, **points[place], **data, **last)
            if len(chain) > 1:
                last = {"start": heads[place]}
    return [heads[place] for place in range(len(points))]


def _chains(line: Method, points: list[dict[str, Any]]) -> list[list[int]]:
    """The points that follow one another, as their places: those that differ in the strength alone."""
    strengths = [point.get(STRENGTH) for point in points]
    takes_start = "start" in inspect.signature(line.function).parameters
    if not takes_start or not all(isinstance(each, int | float) for each in strengths):
        return [[place] for place in range(len(points))]
    chains: dict[str, list[int]] = {}
    for place, point in enumerate(points):
        chains.setdefault(repr({**point, STRENGTH: None}), []).append(place)
    return [sorted(chain, key=lambda place: -points[place][STRENGTH]) for chain in chains.values()]


def right_rows(
    line: Method,
    head: LinearHead | None,
    rows: tuple[Features, Labels],
    judge: Judge,
    points: list[dict[str, Any]],
    data: Mapping[str, Any],
) -> tuple[Right, list[LinearHead]]:
    """Which judging rows each point is right on (N, S), and the points' heads; no heads where rows take turns.

    Where they do, a fold is judged by heads that were fitted with its rows unlabelled, which is to say ignored.
    """
    if judge.fold is None:
        heads = heads_of(line, head, *rows, points, data)
        for each in heads:
            class_counts(judge.labels, each.num_classes)
        return np.stack([judge.right(each) for each in heads], axis=1), heads
    labels = as_labels(rows[1])
    right = np.zeros((len(labels), len(points)), dtype=np.bool_)
    for fold in range(judge.fold.max() + 1):
        inside = judge.fold == fold
        hidden = labels.masked_fill(torch.from_numpy(inside).to(labels.device), -1)
        for place, each in enumerate(heads_of(line, head, rows[0], hidden, points, data)):
            right[:, place] |= judge.right(each, inside)
    return right, []


def pick(judge: Judge, right: Right) -> tuple[int, Floats, Floats]:
    """The place of the chosen point, the values (S,) of all and their standard errors (S,).

    right: (N, S), the least regularised point first. "best" is the last of equally good ones; otherwise the most
    regularised within its standard error of the best.
    """
    values = judge.weights @ right
    top = int(np.flatnonzero(values >= values.max() - SAME)[-1])
    errors = judge.errors(right, top)
    if judge.select == "best":
        return top, values, errors
    return int(np.flatnonzero(values[top] - values <= errors + SAME)[-1]), values, errors
