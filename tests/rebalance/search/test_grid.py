"""Grids: their points, the heads of the points, and the walk that hands solutions on."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch

from rebalance import METHODS, LinearHead, tune
from rebalance.methods import Method
from rebalance.search.grid import grid_points, heads_of, read_grid

WALKERS = [name for name, line in METHODS.items() if "start" in inspect.signature(line.function).parameters]


def line_of(calls: list[Any]) -> Method:
    """A method that can begin at another solution and writes down how it was called."""

    def walker(
        head: Any,
        features: Any,
        labels: Any,
        *,
        weight_decay: float = 1.0,
        kind: str = "a",
        start: LinearHead | None = None,
    ) -> LinearHead:
        found = LinearHead(torch.eye(2) * weight_decay)
        calls.append((kind, weight_decay, start, found))
        return found

    return Method(walker, on="train")


def test_strengths_are_walked_from_the_strongest_and_each_begins_at_the_last() -> None:
    calls: list[Any] = []
    points = grid_points({"weight_decay": [0.1, 10.0, 1.0], "kind": ["a", "b"]})
    heads = heads_of(line_of(calls), None, torch.eye(2), torch.tensor([0, 1]), points, {})
    assert [(kind, decay) for kind, decay, _, _ in calls] == [(k, d) for k in "ab" for d in (10.0, 1.0, 0.1)]
    for previous, (_, _, start, _) in zip([None, *calls], calls, strict=False):
        first = previous is None or previous[1] == 0.1
        assert start is (None if first else previous[3])
    assert [float(head.weight[0, 0]) for head in heads] == pytest.approx([p["weight_decay"] for p in points])


def test_a_single_strength_begins_nowhere() -> None:
    calls: list[Any] = []
    points = grid_points({"weight_decay": [0.1], "kind": ["a", "b"]})
    heads_of(line_of(calls), None, torch.eye(2), torch.tensor([0, 1]), points, {})
    assert [start for _, _, start, _ in calls] == [None, None]


def test_a_method_that_cannot_begin_elsewhere_is_fitted_point_by_point(problem: Any) -> None:
    points = grid_points({"transform": ["un", "l2n"]})
    heads = heads_of(METHODS["ncm"], None, problem.features, problem.labels, points, {})
    for head, point in zip(heads, points, strict=True):
        again = METHODS["ncm"].function(None, problem.features, problem.labels, **point)
        assert torch.equal(head.weight, again.weight)


def test_the_heads_of_the_walk_are_those_solved_alone(problem: Any) -> None:
    """Least squares by gradient descent: the same minimum from anywhere, and fewer steps from near it."""
    x = torch.nn.functional.normalize(problem.features - problem.features.mean(0)).double()
    targets = torch.eye(5, dtype=torch.float64)[problem.labels]
    steps: list[int] = []

    def ridge(
        head: Any, features: Any, labels: Any, *, weight_decay: float = 1.0, start: LinearHead | None = None
    ) -> LinearHead:
        weight = torch.zeros(5, 8, dtype=torch.float64) if start is None else start.weight.double()
        steps.append(0)
        while (gradient := (weight @ x.T - targets.T) @ x / len(x) + weight_decay * weight).abs().max() > 1e-6:
            weight = weight - gradient / (1 + weight_decay)
            steps[-1] += 1
        return LinearHead(weight)

    points = grid_points({"weight_decay": [1e-2, 3e-2, 1e-1, 1.0]})
    rows = problem.features, problem.labels
    walked = heads_of(Method(ridge, on="train"), None, *rows, points, {})
    alone = [ridge(None, *rows, **point) for point in points]
    for one, other in zip(walked, alone, strict=True):
        # Two gradients of 1e-6 in each of 40 entries over a curvature of 1e-2 or more.
        torch.testing.assert_close(one.weight, other.weight, rtol=0, atol=2 * 40**0.5 * 1e-4)
    assert sum(steps[:4]) < sum(steps[4:])


@pytest.mark.parametrize("name", WALKERS)
def test_methods_that_can_begin_elsewhere_end_at_the_same_minimum(name: str, problem: Any) -> None:
    function = METHODS[name].function
    points = [{**point, "tol": 1e-4} for point in grid_points({"weight_decay": [1e-2, 1e-1, 1.0]})]
    heads = heads_of(METHODS[name], problem.head, problem.features, problem.labels, points, {})
    for head, point in zip(heads, points, strict=True):
        alone = function(problem.head, problem.features, problem.labels, **point)
        # A gradient below 1e-4 of the largest and a curvature of 1e-2 or more: within 1e-2 of the minimum. A number
        # added to all biases changes nothing, so the start decides it.
        walked, solved = (each(problem.features) for each in (head, alone))
        walked, solved = (each - each.mean(dim=1, keepdim=True) for each in (walked, solved))
        torch.testing.assert_close(walked, solved, rtol=2e-2, atol=2e-2)


def test_a_grid_is_read_into_fixed_and_tried() -> None:
    fixed, tried = read_grid("lws", METHODS["lws"], {"tol": [1e-3], "weight_decay": np.array([1e-3, 1e-2])})
    assert fixed == {"tol": 1e-3}
    assert tried == {"weight_decay": [1e-3, 1e-2]}
    assert all(type(value) is float for value in tried["weight_decay"])


def test_points_are_every_combination() -> None:
    assert grid_points({"a": [1, 2], "b": ["x"]}) == [{"a": 1, "b": "x"}, {"a": 2, "b": "x"}]
    assert grid_points({}) == [{}]


@pytest.mark.parametrize("key", ["start", "counts", "head"])
def test_data_is_no_hyperparameter(key: str, problem: Any, refuses: Any) -> None:
    with refuses("crt", key):
        tune("crt", None, problem.features, problem.labels, folds=3, seen=False, grid={key: [1, 2]})
