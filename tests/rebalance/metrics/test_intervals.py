"""Replicates are the figures of rows that are really there so often; intervals, differences, McNemar's test."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rebalance import Report, evaluate
from rebalance.metrics import Difference, McNemar, mcnemar
from rebalance.metrics.intervals import interval
from rebalance.resampling import draws

CASES = st.tuples(st.integers(1, 40), st.integers(2, 9), st.integers(0, 2**32 - 1))
SEVERAL = settings(max_examples=40)
FLOATS = arrays(np.float64, st.integers(1, 50), elements=st.floats(-5, 5))
PAIRS = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40)


def judged(made: Any, **given_: Any) -> Report:
    return evaluate(made.logits, made.labels, made.counts, costs=made.costs, **given_)


@SEVERAL
@given(CASES, st.booleans())
def test_a_replicate_is_the_report_of_the_rows_it_draws(case: Any, shape: tuple[int, int, int], weighted: bool) -> None:
    """Every figure. The small probabilities are summed in float32: 1e-6 is some of its roundings."""
    made = case(shape)
    made.labels[2::6] = -1
    prior = made.prior if weighted else None
    report = judged(made, target_prior=prior, replicates=3, seed=shape[2])
    assert set(report.replicates) == {name for name, value in report.figures().items() if value is not None}
    for number, times in enumerate(draws(made.labels, 3, shape[2])):
        rows = np.repeat(np.arange(len(made.labels)), times)
        drawn = evaluate(made.logits[rows], made.labels[rows], made.counts, costs=made.costs, target_prior=prior)
        assert drawn.class_rows.tolist() == report.class_rows.tolist()
        for name, values in report.replicates.items():
            assert values[number] == pytest.approx(getattr(drawn, name), abs=1e-6), name


@pytest.mark.parametrize("threads", [1, 3])
def test_replicates_come_in_their_order_from_any_number_of_threads(case: Any, threads: int) -> None:
    made = case((30, 6, 4))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        many, few = judged(made, replicates=150), judged(made, replicates=70)
    finally:
        torch.set_num_threads(before)
    for name, values in few.replicates.items():
        assert len(values) == 70
        np.testing.assert_allclose(many.replicates[name][:70], values, rtol=1e-9, atol=1e-9, err_msg=name)


@SEVERAL
@given(CASES, st.integers(2, 40))
def test_an_interval_contains_its_figure(case: Any, shape: tuple[int, int, int], replicates: int) -> None:
    report = judged(case(shape), replicates=replicates)
    for name, value in report.figures().items():
        assert (name in report.intervals) == (value is not None)
        if value is not None:
            low, high = report.intervals[name]
            assert low - 1e-12 <= value <= high + 1e-12, name  # a share of exactly 1 may be rounded to above it


def test_without_replicates_there_are_no_intervals(case: Any) -> None:
    report = judged(case((20, 3, 0)))
    assert (report.replicates, report.intervals) == ({}, {})
    assert report.to_dict()["intervals"] == {}
    assert report.difference(report)["top1"] == Difference(0.0, None, None)


def test_the_deviation_is_that_of_infinitely_many_replicates() -> None:
    """The recall of a class of n rows varies by r (1 - r) / n, and 2,000 draws know a deviation to 1.6 %."""
    rng = np.random.default_rng(0)
    sizes = np.array([20, 40, 80, 10, 50])
    labels = np.repeat(np.arange(5), sizes)
    logits = torch.from_numpy(rng.normal(size=(200, 5)).astype(np.float32))
    logits[range(200), labels] += 1
    prior = np.array([5.0, 1, 1, 2, 1])
    report = evaluate(logits, labels, target_prior=prior, replicates=2000, seed=1)
    of_recall = report.recall * (1 - report.recall) / sizes
    assert report.replicates["balanced"].std() == pytest.approx(math.sqrt(of_recall.sum()) / 5, rel=0.1)
    of_top1 = math.sqrt((of_recall * (prior / prior.sum()) ** 2).sum())
    assert report.replicates["top1"].std() == pytest.approx(of_top1, rel=0.1)
    low, high = report.intervals["top1"]
    assert (high - low) / 2 == pytest.approx(1.96 * of_top1, rel=0.1)


def test_the_seed_decides(case: Any) -> None:
    made = case((40, 4, 3))
    first, again, other = (judged(made, replicates=50, seed=seed) for seed in (5, 5, 6))
    assert first.intervals == again.intervals
    assert first.intervals != other.intervals
    assert first.figures() == other.figures()
    state = np.random.get_state()[1].copy()  # noqa: NPY002 (it must not be touched)
    judged(made, replicates=5)
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


@given(FLOATS, st.floats(-5, 5), st.floats(-5, 5))
def test_the_interval_follows_the_estimate(drawn: Any, estimate: float, moved: float) -> None:
    low, high = interval(estimate, drawn)
    assert low <= estimate <= high
    assert interval(estimate + moved, drawn + moved) == pytest.approx((low + moved, high + moved), abs=1e-9)
    ends = np.percentile(drawn, [2.5, 97.5])
    assert low <= min(ends[0], ends[0] + estimate - drawn.mean()) + 1e-9
    assert high >= max(ends[1], ends[1] + estimate - drawn.mean()) - 1e-9
    assert interval(-estimate, -drawn) == pytest.approx((-high, -low), abs=1e-9)
    kept = interval(estimate, drawn, (-1, 1))
    assert kept == pytest.approx((max(low, -1), min(high, 1)))


def test_one_row_of_a_difference_is_never_certain() -> None:
    """A third of the draws leave the row out, whatever the seed."""
    logits = torch.eye(2)[[0, 1] * 60]
    other = logits.clone()
    other[0] = other[0].flip(0)
    for seed in range(5):
        one, two = (evaluate(each, [0, 1] * 60, replicates=200, seed=seed) for each in (logits, other))
        found = one.difference(two)["top1"]
        assert found.value > 0
        assert found.low is not None
        assert found.low <= 0


@given(FLOATS, st.floats(-5, 5))
def test_an_inflated_figure_is_reflected(drawn: Any, estimate: float) -> None:
    low, high = interval(estimate, drawn, inflated=True)
    assert low <= estimate <= high
    ends = 2 * estimate - np.percentile(drawn, [97.5, 2.5])
    assert (low, high) == pytest.approx((min(ends[0], estimate), max(ends[1], estimate)))


def test_the_interval_of_a_calibrated_head_reaches_down_to_zero() -> None:
    """Labels drawn from the probabilities themselves: the calibration error of 200 rows is chance, and all of it."""
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(200, 4)).astype(np.float32)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(4, p=each / each.sum()) for each in shares.astype(np.float64)])
    report = evaluate(torch.from_numpy(logits), labels, replicates=200)
    assert report.ece > 0.02
    assert report.intervals["ece"][0] < 0.01


def test_replicates_around_the_estimate_are_not_moved() -> None:
    assert interval(50.0, np.arange(101.0)) == pytest.approx((2.5, 97.5))


@SEVERAL
@given(CASES)
def test_a_head_does_not_differ_from_itself(case: Any, shape: tuple[int, int, int]) -> None:
    report = judged(case(shape), replicates=3)
    found = report.difference(report)
    assert found == {name: Difference(0.0, 0.0, 0.0) for name in report.values}
    assert list(found) == list(report.values)
    assert report.mcnemar(report) == McNemar(0, 0, 1.0)


def pair(case: Any, shape: tuple[int, int, int]) -> tuple[Report, Report]:
    """Two heads on the same rows, and what they are told is the same."""
    made = case(shape)
    noise = torch.randn(made.logits.shape, generator=torch.Generator().manual_seed(shape[2]))
    given_ = {"costs": made.costs, "target_prior": made.prior, "replicates": 20}
    report, other = (evaluate(each, made.labels, made.counts, **given_) for each in (made.logits, made.logits + noise))
    return report, other


@SEVERAL
@given(CASES)
def test_a_difference_is_paired_and_has_two_sides(case: Any, shape: tuple[int, int, int]) -> None:
    report, other = pair(case, shape)
    there, back = report.difference(other), other.difference(report)
    assert set(there) == set(report.values)
    for name, found in there.items():
        assert found.value == report.values[name] - other.values[name]
        drawn = report.replicates[name] - other.replicates[name]
        expected = interval(found.value, drawn, inflated=name.startswith("ece"))
        assert (found.low, found.high) == expected
        assert (-back[name].value, -back[name].high, -back[name].low) == pytest.approx(
            (found.value, found.low, found.high), abs=1e-12
        )
        assert found.to_dict() == {"value": found.value, "low": found.low, "high": found.high}


def test_pairing_makes_the_difference_surer_than_its_heads(case: Any) -> None:
    made = case((400, 4, 1))
    noise = 0.1 * torch.randn(made.logits.shape, generator=torch.Generator().manual_seed(0))
    report, other = judged(made, replicates=200), evaluate(made.logits + noise, made.labels, replicates=200)
    found = report.difference(other)["balanced"]
    low, high = report.intervals["balanced"]
    assert found.high - found.low < (high - low) / 2


@given(PAIRS)
def test_mcnemar_is_that_of_a_sum(rows: list[tuple[bool, bool]]) -> None:
    """Twice the smaller tail of n fair coins, at most 1."""
    only, other = (sum(1 for pair in rows if pair == each) for each in ((True, False), (False, True)))
    n = only + other
    tail = sum(math.comb(n, k) for k in range(min(only, other) + 1)) / 2**n
    found = mcnemar([a for a, _ in rows], [b for _, b in rows])
    assert (found.only_self, found.only_other) == (only, other)
    assert found.p == pytest.approx(min(1.0, 2 * tail))


@SEVERAL
@given(CASES)
def test_mcnemar_of_two_reports_counts_their_rows(case: Any, shape: tuple[int, int, int]) -> None:
    report, other = pair(case, shape)
    a, b = report.results.correct, other.results.correct
    assert report.mcnemar(other) == McNemar(int((a & ~b).sum()), int((b & ~a).sum()), other.mcnemar(report).p)
