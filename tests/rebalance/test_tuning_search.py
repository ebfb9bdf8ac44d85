"""The exact search for tau: its curve, its best stretches, and which of them is taken."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rebalance import LinearHead, evaluate, tune
from rebalance.methods import tau_norm
from rebalance.search.path import StepCurve


def balanced(head: LinearHead, problem: Any) -> float:
    return evaluate(head(problem.val_features), problem.val_labels).balanced


def exact(problem: Any, **options: Any) -> Any:
    return tune(tau_norm, problem.head, problem.val_features, problem.val_labels, **options)


@pytest.mark.parametrize("bias", ["drop", "scale"])
@pytest.mark.parametrize("metric", ["balanced", "top1"])
def test_the_exact_curve_is_the_metric_of_the_heads(problem: Any, bias: Any, metric: Any) -> None:
    labels = problem.labels[:60]  # imbalanced: top1 and balanced differ
    best = tune(tau_norm, problem.head, problem.features[:60], labels, grid={"bias": [bias]}, metric=metric)
    assert best.exact
    assert isinstance(best.curve, StepCurve)
    taus = np.linspace(-1, 4, 101)
    taus = taus[np.abs(taus[:, None] - best.curve.breakpoints).min(axis=1) > 1e-4]  # a tie in float32 may go wrong
    assert len(taus) > 50
    for tau in taus:
        logits = tau_norm(problem.head, problem.features, labels, tau=tau, bias=bias)(problem.features[:60])
        assert float(best.curve(tau)) == pytest.approx(getattr(evaluate(logits, labels), metric))


def test_best_is_the_best_of_any_grid(problem: Any) -> None:
    best = exact(problem, select="best")
    values = [
        balanced(tau_norm(problem.head, problem.features, problem.labels, tau=t), problem)
        for t in np.arange(0, 3, 0.02)
    ]
    assert best.value >= max(values) - 1e-12
    assert balanced(best.head, problem) == pytest.approx(best.value)
    assert best.value == pytest.approx(best.curve.values.max())
    assert best.interval in best.intervals
    assert best.interval[0] < best.tau < best.interval[1]
    # The problem is one where rescaling helps: otherwise this test would say little.
    assert best.value > best.curve(0.0) + 0.02


def test_exact_and_grid_agree(problem: Any) -> None:
    search = exact(problem, select="best")
    taus = np.linspace(0, 3, 61)
    grid = exact(problem, select="best", grid={"tau": taus})
    assert not grid.exact
    assert [point["value"] for point in grid.curve] == pytest.approx(search.curve(taus))
    assert grid.value == pytest.approx(search.curve(taus).max())


def test_1se_reaches_around_the_best(problem: Any) -> None:
    one, best = exact(problem), exact(problem, select="best")
    assert one.interval[0] <= best.interval[0]
    assert best.interval[1] <= one.interval[1]
    assert one.interval[0] < one.tau < one.interval[1]
    assert one.intervals == best.intervals
    assert one.value == pytest.approx(float(one.curve(one.tau)))
    assert balanced(one.head, problem) == pytest.approx(one.value)


def test_a_search_range_is_preferred(problem: Any) -> None:
    best = exact(problem, select="best", search=(5.0, 6.0))
    inside = [each for each in best.intervals if each[0] < 6 and each[1] > 5]
    assert (5 <= best.tau <= 6) == bool(inside)
    assert best.value == pytest.approx(best.curve.values.max())


def noise(seed: int) -> tuple[LinearHead, Any, Any]:
    """Labels that have nothing to do with the features: the best tau may lie anywhere."""
    rng = np.random.default_rng(seed)
    head = LinearHead(torch.from_numpy(rng.normal(size=(3, 4))))
    return head, rng.normal(size=(30, 4)), np.repeat([0, 1, 2], 10)


@pytest.mark.parametrize("seed", [1, 14, 43, 63])
def test_of_equally_good_stretches_outside_the_range_the_nearest_is_taken(seed: int) -> None:
    best = tune(tau_norm, *noise(seed), select="best")
    distance = [max(low - 3, -high) for low, high in best.intervals]
    assert min(distance) > 0
    assert best.interval == best.intervals[int(np.argmin(distance))]
    # And not the widest, which goes on for ever or nearly so.
    assert best.interval != max(best.intervals, key=lambda each: each[1] - each[0])


def test_of_equally_good_stretches_in_the_range_the_one_with_most_room_there_is_taken() -> None:
    best = tune(tau_norm, *noise(8), select="best")
    assert [(round(low, 2), round(high, 2)) for low, high in best.intervals[:2]] == [(0.19, 0.9), (2.82, 10.14)]
    assert best.interval == best.intervals[0]


def test_a_wide_search_range_ends_in_a_head_too() -> None:
    best = tune(tau_norm, *noise(0), select="best", search=(0.0, 1e4))
    assert best.interval == best.intervals[-1]
    assert np.isinf(best.interval[1])
    assert best.interval[0] < best.tau < 1e4


@pytest.mark.parametrize("seed", [107, 116, 124, 208])
def test_a_search_ends_in_a_head_even_where_the_best_tau_is_beyond_float32(seed: int) -> None:
    best = tune(tau_norm, *noise(seed), select="best")
    assert bool(torch.isfinite(best.head.weight).all())


def test_an_open_interval_is_null_in_the_record() -> None:
    """Equal norms: tau changes nothing, and every tau is best."""
    head = LinearHead(torch.eye(3))
    best = tune(tau_norm, head, torch.eye(3), [0, 1, 2])
    assert best.interval == (-np.inf, np.inf)
    assert best.tau == 1.5
    assert best.value == 1
    assert best.head.record["tuned"]["interval"] == [None, None]


@given(st.integers(0, 2**32 - 1))
def test_the_order_of_the_judging_rows_does_not_change_the_best(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(3, 4)) * [[2.0], [1.0], [0.5]]
    labels = np.repeat([0, 1, 2], 10)
    head, features = LinearHead(torch.from_numpy(weight)), weight[labels] + rng.normal(size=(30, 4)) / 2
    order = rng.permutation(30)
    best = tune(tau_norm, head, features, labels, select="best")
    shuffled = tune(tau_norm, head, features[order], labels[order], select="best")
    # The product of another block may round differently.
    assert shuffled.tau == pytest.approx(best.tau, rel=1e-9)
    assert shuffled.value == pytest.approx(best.value)
