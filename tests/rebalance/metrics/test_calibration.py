"""Calibration errors of equal width and equal mass: loops, edges, ties, and weights that stand for rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from rebalance.metrics import ECE_BINS, expected_calibration_error, reliability
from rebalance.metrics.calibration import equal_mass_error

EDGES = [b / 15 for b in range(16)]
ROWS = st.lists(st.tuples(st.floats(0, 1) | st.sampled_from(EDGES), st.booleans()), min_size=1, max_size=60)
SEEDS = st.integers(0, 2**32 - 1)
ERRORS = [expected_calibration_error, equal_mass_error]


def ece_by_loop(confidence: Any, correct: Any, bins: int = 15) -> float:
    total = 0.0
    for b in range(bins):
        inside = [i for i, c in enumerate(confidence) if b / bins < c <= (b + 1) / bins or (b == 0 and c == 0)]
        if inside:
            gap = np.mean([confidence[i] for i in inside]) - np.mean([correct[i] for i in inside])
            total += len(inside) / len(confidence) * abs(gap)
    return total


def split_evenly(confidence: Any, correct: Any, bins: int) -> float:
    """Bins of equal mass as they are usually made: the sorted rows in parts of equal size."""
    order = np.argsort(confidence)
    parts = np.array_split(order, bins)
    return float(np.mean([abs(confidence[part].mean() - correct[part].mean()) for part in parts]))


def draw(seed: int, rows: int = 45) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    confidence = rng.permutation(np.linspace(0.05, 1, rows) ** rng.uniform(0.2, 3))
    return confidence, rng.random(rows) < confidence ** rng.uniform(0.5, 2)


@given(ROWS)
def test_equal_width_is_that_of_a_loop(rows: list[tuple[float, bool]]) -> None:
    confidence, correct = zip(*rows, strict=True)
    assert expected_calibration_error(confidence, correct) == pytest.approx(ece_by_loop(confidence, correct), abs=1e-12)


@given(SEEDS, st.integers(1, 30))
def test_equal_width_is_that_of_relplot(seed: int, bins: int) -> None:
    """Its bins are closed on the left, which is the same away from the edges."""
    binned = pytest.importorskip("relplot.metrics", reason="relplot is not installed").binnedECE
    rng = np.random.default_rng(seed)
    confidence = rng.random(40)
    correct = (rng.random(40) < confidence).astype(float)
    assert expected_calibration_error(confidence, correct, bins) == pytest.approx(binned(confidence, correct, bins))


@pytest.mark.parametrize(
    ("confidence", "correct", "expected"),
    [
        ([0.0], [False], 0.0),
        ([0.0], [True], 1.0),
        ([1.0], [True], 0.0),
        ([1.0], [False], 1.0),
        # 0.2 = 3/15 closes the third bin: with 0.19 it is in one bin, with 0.21 it is not.
        ([0.2, 0.19], [True, False], abs((0.2 + 0.19 - 1) / 2)),
        ([0.2, 0.21], [True, False], (0.8 + 0.21) / 2),
    ],
)
def test_equal_width_at_the_edges(confidence: list[float], correct: list[bool], expected: float) -> None:
    assert expected_calibration_error(confidence, correct) == pytest.approx(expected)


def test_many_bins_are_asked_for() -> None:
    assert expected_calibration_error([0.5, 1.0], [True, False], bins=1) == pytest.approx(0.25)
    assert equal_mass_error([0.5, 1.0], [True, False], bins=1) == pytest.approx(0.25)
    assert equal_mass_error([0.5, 1.0], [True, False], bins=2) == pytest.approx(0.75)


@given(SEEDS, st.integers(1, 4))
def test_equal_mass_of_distinct_confidences_is_the_usual_one(seed: int, each: int) -> None:
    confidence, correct = draw(seed, 15 * each)
    expected = split_evenly(confidence, correct, ECE_BINS)
    assert equal_mass_error(confidence, correct) == pytest.approx(expected, abs=1e-12)


def test_equal_mass_cuts_a_row_where_a_bin_ends() -> None:
    # Three rows in two bins: the middle one belongs to both by half.
    assert equal_mass_error([0.2, 0.5, 0.9], [False, True, True], bins=2) == pytest.approx(
        (abs(0.2 - 0.5 / 2) + abs(-0.5 / 2 - 0.1)) / 3
    )


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.5, 1.0]), st.booleans()), min_size=1, max_size=30), st.randoms())
def test_equal_mass_with_ties_does_not_depend_on_the_order(rows: list[tuple[float, bool]], random: Any) -> None:
    before = equal_mass_error(*zip(*rows, strict=True))
    random.shuffle(rows)
    assert equal_mass_error(*zip(*rows, strict=True)) == pytest.approx(before, abs=1e-12)


@given(st.floats(0, 1), st.lists(st.booleans(), min_size=1, max_size=40))
def test_a_single_confidence_is_compared_with_the_accuracy(confidence: float, correct: list[bool]) -> None:
    expected = pytest.approx(abs(confidence - np.mean(correct)), abs=1e-12)
    assert equal_mass_error([confidence] * len(correct), correct) == expected
    assert expected_calibration_error([confidence] * len(correct), correct) == expected


@pytest.mark.parametrize("error", ERRORS)
@given(ROWS, SEEDS)
def test_a_weight_is_as_many_rows(error: Any, rows: list[tuple[float, bool]], seed: int) -> None:
    confidence, correct = map(np.array, zip(*rows, strict=True))
    times = np.random.default_rng(seed).integers(0, 4, len(rows))
    times[0] += 1
    repeated = error(np.repeat(confidence, times), np.repeat(correct, times))
    assert error(confidence, correct, weights=times) == pytest.approx(repeated, abs=1e-12)
    assert error(confidence, correct, weights=times / 7) == pytest.approx(repeated, abs=1e-12)


@pytest.mark.parametrize("error", ERRORS)
@given(ROWS)
def test_errors_are_shares_and_never_below_the_overall_gap(error: Any, rows: list[tuple[float, bool]]) -> None:
    confidence, correct = map(np.array, zip(*rows, strict=True))
    gap = abs(confidence.mean() - correct.mean())
    assert gap - 1e-12 <= error(confidence, correct) <= 1 + 1e-12


@pytest.mark.parametrize("error", ERRORS)
def test_sure_and_right_is_exactly_0(error: Any) -> None:
    assert error(np.ones(37), np.ones(37, dtype=bool)) == 0
    assert error(np.zeros(37), np.zeros(37, dtype=bool)) == 0


@given(ROWS, SEEDS)
def test_the_diagram_holds_the_error(rows: list[tuple[float, bool]], seed: int) -> None:
    confidence, correct = map(np.array, zip(*rows, strict=True))
    weights = np.random.default_rng(seed).uniform(0.1, 3, len(rows))
    shown = reliability(confidence, correct, weights)
    empty = shown.share == 0
    assert np.isnan(shown.confidence[empty]).all()
    assert np.isnan(shown.accuracy[empty]).all()
    assert shown.share.sum() == pytest.approx(1)
    total = np.nansum(shown.share * np.abs(shown.confidence - shown.accuracy))
    assert total == pytest.approx(expected_calibration_error(confidence, correct, weights=weights), abs=1e-12)
    # A mean is rounded: it may leave its bin by that much.
    full = ~empty
    assert (shown.confidence[full] <= shown.high[full] + 1e-12).all()
    assert (shown.confidence[full] >= shown.low[full] - 1e-12).all()


def test_the_diagram_is_that_of_scikit_learn() -> None:
    confidence, correct = draw(3)
    accuracy, mean = calibration_curve(correct, confidence, n_bins=10)
    shown = reliability(confidence, correct, bins=10)
    full = shown.share > 0
    np.testing.assert_allclose(shown.accuracy[full], accuracy, rtol=1e-12)
    np.testing.assert_allclose(shown.confidence[full], mean, rtol=1e-12)
    np.testing.assert_allclose(shown.low, np.arange(10) / 10)
    np.testing.assert_allclose(shown.high, np.arange(1, 11) / 10)


def test_the_diagram_of_a_row_that_is_sure() -> None:
    shown = reliability([1.0], [False])
    assert len(shown.share) == ECE_BINS
    assert (shown.share[-1], shown.confidence[-1], shown.accuracy[-1]) == (1, 1, 0)
    assert all(math.isnan(value) for value in shown.accuracy[:-1])
