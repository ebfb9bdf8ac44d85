"""One parameter is chosen among the stretches of an exact search."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rebalance.search.bootstrap import bootstrap_errors
from rebalance.search.path import Sweep
from rebalance.search.selection import choose, representative, within_error

SEARCH = (0.0, 3.0)


def swept(seed: int, rows: int = 30) -> tuple[Sweep, Any, Any]:
    """Rows of three classes that are right on intervals around 1."""
    rng = np.random.default_rng(seed)
    middle, half = 1 + rng.normal(size=rows) / 2, rng.exponential(size=rows)
    labels = np.arange(rows) % 3
    return Sweep.of(middle - half, middle + half), np.full(rows, 1 / rows), labels


def right_at(sweep: Sweep, t: float) -> Any:
    stretch = np.searchsorted(sweep.breakpoints, t, side="right")
    return (sweep.first <= stretch) & (stretch < sweep.last)


@given(st.integers(0, 2**32 - 1))
def test_best_is_where_most_weight_is_right(seed: int) -> None:
    sweep, weights, _ = swept(seed)
    choice = choose(sweep, weights, select="best", search=SEARCH)
    assert choice.interval in choice.intervals
    assert choice.interval[0] < choice.value < choice.interval[1]
    assert right_at(sweep, choice.value) @ weights == pytest.approx(choice.curve.values.max())


@pytest.mark.parametrize("select", ["1se", "1se-bootstrap"])
@given(seed=st.integers(0, 2**32 - 1))
def test_around_the_best_nothing_is_worse_than_its_error(select: Any, seed: int) -> None:
    sweep, weights, labels = swept(seed)
    best = choose(sweep, weights, select="best", search=SEARCH)
    choice = choose(sweep, weights, select=select, search=SEARCH, labels=labels, seed=3)
    assert choice.interval[0] <= best.interval[0]
    assert best.interval[1] <= choice.interval[1]
    assert choice.intervals == best.intervals
    top = int(np.searchsorted(sweep.breakpoints, best.interval[0], side="right"))
    values = sweep.values(weights)
    if select == "1se":
        error = sweep.standard_errors(weights, top)
    else:
        error = bootstrap_errors(sweep.values, weights, labels, top, seed=3)
    first, last = within_error(values, error, top)
    edges = [-math.inf, *sweep.breakpoints, math.inf]
    assert choice.interval == (edges[first], edges[last + 1])
    assert choice.value == representative(choice.interval, SEARCH)


def test_the_bootstrap_needs_labels(refuses: Any) -> None:
    with refuses("1se-bootstrap", "labels"):
        choose(*swept(0)[:2], select="1se-bootstrap")


def test_a_selection_that_is_none(refuses: Any) -> None:
    with refuses("2se", "1se, 1se-bootstrap or best"):
        choose(*swept(0)[:2], select="2se")  # type: ignore[arg-type]


def test_limits_keep_the_value_where_the_head_can_be_computed() -> None:
    sweep = Sweep.of(np.array([2.0]), np.array([math.inf]))
    assert choose(sweep, np.ones(1), select="best").value == 2.5
    assert choose(sweep, np.ones(1), select="best", limits=(-5.0, 2.2)).value == pytest.approx(2.1)
    assert choose(sweep, np.ones(1), select="best", limits=(-5.0, 1.0)).value == pytest.approx(0.5)


ENDS = st.floats(-20, 20).map(lambda x: round(x, 3))


@given(ENDS | st.just(-math.inf), ENDS | st.just(math.inf))
def test_the_representative_lies_in_the_interval_and_the_range_if_they_meet(low: float, high: float) -> None:
    if not low < high:
        low, high = (high, low) if high < low else (low, math.inf)
    search = (0.0, 3.0)
    t = representative((low, high), search)
    assert low < t < high
    if low < search[1] and high > search[0]:
        assert t == pytest.approx((max(low, 0) + min(high, 3)) / 2)
    else:
        # As near to zero as a tie allows.
        assert min(abs(t - low), abs(t - high)) <= 1e-3 * (1 + 1e-9)
        assert abs(t) <= min(abs(low), abs(high)) + 1e-3 * (1 + 1e-9)


@given(
    st.integers(1, 30).flatmap(
        lambda n: st.tuples(
            arrays(np.float64, n, elements=st.integers(0, 8).map(float)),
            arrays(np.float64, n, elements=st.integers(0, 6).map(float)),
        )
    )
)
def test_within_error_reaches_as_far_as_a_loop_says(drawn: Any) -> None:
    values, error = drawn
    top = int(values.argmax())
    error[top] = 0

    def reached(pieces: range) -> int:
        """The farthest piece from which no piece on the way back has fallen by more than its own error."""
        out, deepest = top, 0.0
        for piece in pieces:
            deepest = max(deepest, values[top] - values[piece])
            if deepest <= error[piece]:
                out = piece
        return out

    first, last = within_error(values, error, top)
    assert (first, last) == (reached(range(top, -1, -1)), reached(range(top, len(values))))
    assert first <= top <= last


def test_without_error_only_the_best_is_within() -> None:
    assert within_error(np.array([1.0, 2.0, 2.0, 1.0, 2.0]), np.zeros(5), 1) == (1, 2)
