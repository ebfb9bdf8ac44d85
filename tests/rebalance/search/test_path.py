"""The exact search against brute force, away from the breakpoints."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rebalance.search.path import StepCurve, Sweep, correct_intervals

SEEDS = st.integers(0, 2**32 - 1)
# Small integers: equal intercepts, equal slopes and so identical lines are frequent; their sums are exact.
INTEGERS = st.integers(-4, 4).map(float)


@st.composite
def families(draw: st.DrawFn) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Intercepts (N, K), slopes (K,) and labels (N,); integers with ties or floats, some classes out of the race."""
    rows, classes = draw(st.integers(1, 12)), draw(st.integers(1, 6))
    labels = draw(arrays(np.int64, rows, elements=st.integers(0, classes - 1)))
    if draw(st.booleans()):
        rng = np.random.default_rng(draw(SEEDS))
        return rng.normal(size=(rows, classes)), rng.normal(size=classes), labels
    others = INTEGERS | st.sampled_from([-math.inf, math.inf]) if draw(st.booleans()) else INTEGERS
    intercepts = draw(arrays(np.float64, (rows, classes), elements=others))
    intercepts[np.arange(rows), labels] = draw(arrays(np.float64, rows, elements=INTEGERS))
    return intercepts, draw(arrays(np.float64, classes, elements=INTEGERS)), labels


def off_ties(*ends: np.ndarray[Any, Any], count: int = 1000) -> np.ndarray[Any, Any]:
    """Many t, among them one in the middle of every stretch, none within 1e-6 of an end of a row's interval.

    The ends of empty intervals are no breakpoints, yet there a row may be right by a tie.
    """
    breakpoints = np.unique(np.concatenate(ends))
    breakpoints = breakpoints[np.isfinite(breakpoints)]
    rng = np.random.default_rng(0)
    inner = (breakpoints[1:] + breakpoints[:-1]) / 2
    outer = [breakpoints[0] - 1, breakpoints[-1] + 1] if len(breakpoints) else []
    t = np.concatenate([rng.uniform(-12, 12, count), rng.uniform(-1, 1, count), inner, outer])
    distance = np.abs(t[:, None] - breakpoints[None, :]).min(axis=1, initial=math.inf)
    return t[distance > 1e-6]


def brute_force(family: tuple[np.ndarray[Any, Any], ...], t: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(T, N) whether each row is right at each t."""
    intercepts, slopes, labels = family
    scores = intercepts[None] + t[:, None, None] * slopes
    return scores.argmax(axis=2) == labels


def sweep_of(family: tuple[np.ndarray[Any, Any], ...]) -> tuple[Sweep, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    lo, hi = (each.numpy() for each in correct_intervals(*map(torch.from_numpy, family)))
    return Sweep.of(lo, hi), lo, hi


@given(families())
def test_rows_are_right_exactly_inside_their_interval(family: Any) -> None:
    _, lo, hi = sweep_of(family)
    t = off_ties(lo, hi)
    inside = (lo < t[:, None]) & (t[:, None] < hi)
    np.testing.assert_array_equal(inside, brute_force(family, t))


@given(families(), SEEDS)
def test_the_curve_is_the_weighted_share_of_right_rows(family: Any, seed: int) -> None:
    sweep, lo, hi = sweep_of(family)
    weights = np.random.default_rng(seed).dirichlet(np.ones(len(family[2])))
    curve = sweep.curve(weights)
    assert len(curve.values) == len(curve.breakpoints) + 1
    assert (np.diff(curve.breakpoints) > 0).all()
    t = off_ties(lo, hi)
    # Running sums of at most 24 numbers below one.
    np.testing.assert_allclose(curve(t), brute_force(family, t) @ weights, atol=1e-13)


@given(families(), SEEDS)
def test_best_is_the_maximum_and_nothing_else_is(family: Any, seed: int) -> None:
    sweep, lo, hi = sweep_of(family)
    weights = np.random.default_rng(seed).integers(1, 4, len(family[2])) / 8  # sums are exact: ties are ties
    curve = sweep.curve(weights)
    t = off_ties(lo, hi)
    values = brute_force(family, t) @ weights
    best = curve.best()
    optimal = np.any([(a < t) & (t < b) for a, b in best], axis=0)
    np.testing.assert_array_equal(optimal, values == values.max())
    assert all(a < b for a, b in best)
    assert all(left[1] < right[0] for left, right in itertools.pairwise(best))


@given(families(), st.data())
def test_weights_repeat_rows(family: Any, data: st.DataObject) -> None:
    sweep, lo, hi = sweep_of(family)
    rows = len(family[2])
    times = data.draw(arrays(np.int64, rows, elements=st.integers(0, 3)))
    repeated, _, _ = sweep_of((family[0].repeat(times, axis=0), family[1], family[2].repeat(times)))
    t = off_ties(lo, hi, count=50)
    weighted = sweep.curve(times.astype(np.float64))(t)
    np.testing.assert_array_equal(repeated.curve(np.ones(times.sum()))(t), weighted)


@given(families(), SEEDS, st.data())
def test_standard_errors_are_mcnemars(family: Any, seed: int, data: st.DataObject) -> None:
    """The root of the summed squared weights of the rows that are right on one of the two stretches only."""
    sweep, _, _ = sweep_of(family)
    weights = np.random.default_rng(seed).dirichlet(np.ones(len(family[2])))
    stretches = np.arange(len(sweep.breakpoints) + 1)
    right = (sweep.first <= stretches[:, None]) & (stretches[:, None] < sweep.last)
    top = data.draw(st.sampled_from(stretches.tolist()))
    expected = np.sqrt((right != right[top]) @ weights**2)
    # A root of rounding errors of 1e-16.
    np.testing.assert_allclose(sweep.standard_errors(weights, top), expected, atol=1e-7)


def test_two_lines_cross_where_they_should() -> None:
    lo, hi = correct_intervals(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0.0, 2.0]), torch.tensor([0, 1]))
    assert lo.tolist() == [-math.inf, 0.5]
    assert hi.tolist() == [0.5, math.inf]


def test_a_row_that_is_never_right_has_an_empty_interval() -> None:
    # Class 1 is below the envelope of the other two everywhere.
    sweep, lo, hi = sweep_of((np.array([[0.0, -1.0, 0.0]]), np.array([-1.0, 0.0, 1.0]), np.array([1])))
    assert lo[0] >= hi[0]
    assert sweep.values(np.ones(1)).tolist() == [0.0]


def test_of_identical_lines_the_lowest_class_wins() -> None:
    sweep, _, _ = sweep_of((np.zeros((2, 2)), np.zeros(2), np.array([0, 1])))
    assert sweep.values(np.array([1.0, 10.0])).tolist() == [1.0]


def test_the_curve_at_a_breakpoint_is_the_stretch_above() -> None:
    curve = StepCurve(np.array([0.0, 1.0]), np.array([1.0, 3.0, 2.0]))
    assert curve(np.array([-1.0, 0.0, 0.5, 1.0, 9.0])).tolist() == [1, 3, 3, 2, 2]
    assert float(curve(0.5)) == 3
    assert curve.best() == [(0.0, 1.0)]


def test_stretches_join_neighbours_and_reach_infinity() -> None:
    curve = StepCurve(np.array([0.0, 1.0, 2.0]), np.zeros(4))
    chosen = curve.stretches(np.array([True, True, False, True]))
    assert chosen == [(-math.inf, 1.0), (2.0, math.inf)]
    assert curve.best() == [(-math.inf, math.inf)]
    assert StepCurve(np.zeros(0), np.ones(1)).best() == [(-math.inf, math.inf)]


def test_limits_choose_among_stretches_and_cut_none() -> None:
    curve = StepCurve(np.array([0.0, 1.0, 2.0]), np.array([3.0, 1.0, 2.0, 3.0]))
    assert curve.best() == [(-math.inf, 0.0), (2.0, math.inf)]
    assert curve.best((-5.0, 1.5)) == [(-math.inf, 0.0)]
    assert curve.best((0.0, 2.0)) == [(1.0, 2.0)]
    assert curve.best((0.2, 0.4)) == [(0.0, 1.0)]
