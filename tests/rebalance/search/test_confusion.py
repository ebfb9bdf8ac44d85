"""Metrics of confusion counts: their values, their first-order gains and their exact curves against brute force."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from rebalance import evaluate
from rebalance.search.confusion import count_metric, gain_errors

SEEDS = st.integers(0, 2**32 - 1)
COSTS = np.array([[0.0, 1.0, 2.0, 1.0], [4.0, 0.0, 1.0, 1.0], [8.0, 2.0, -1.0, 3.0], [0.5, 0.5, 0.5, 0.0]])
METRICS = ("balanced", "top1", "macro_f1", COSTS)
every_metric = pytest.mark.parametrize("metric", METRICS, ids=["balanced", "top1", "macro_f1", "cost"])


def drawn(seed: int) -> tuple[Any, Any, Any]:
    """Labels of at most four classes, of which some may be missing, two predictions, and thresholds with ties."""
    rng = np.random.default_rng(seed)
    rows, classes = rng.integers(1, 25), rng.integers(1, 5)
    labels, guesses = rng.integers(0, classes, rows), rng.integers(0, 4, (2, rows))
    return labels, guesses, (rng.integers(-3, 4, rows) / 2 if seed % 2 else rng.normal(size=rows))


@given(SEEDS)
def test_macro_f1_is_scikit_learns_and_the_reports(seed: int) -> None:
    labels, (guess, _), _ = drawn(seed)
    value = count_metric("macro_f1", labels, 4).value(guess)
    assert value == pytest.approx(f1_score(labels, guess, labels=np.unique(labels), average="macro", zero_division=0))
    assert value == pytest.approx(evaluate(torch.eye(4)[torch.from_numpy(guess)], labels).macro_f1)


@given(SEEDS)
def test_accuracies_and_costs_are_the_plain_sums(seed: int) -> None:
    labels, (guess, _), _ = drawn(seed)
    report = evaluate(torch.eye(4)[torch.from_numpy(guess)], labels)
    assert count_metric("balanced", labels, 4).value(guess) == pytest.approx(report.balanced)
    assert count_metric("top1", labels, 4).value(guess) == pytest.approx(report.top1)
    mean = np.mean([COSTS[y, p] for y, p in zip(labels, guess, strict=True)])
    assert count_metric(COSTS, labels, 4).value(guess) == pytest.approx(-mean)


@every_metric
@given(seed=SEEDS)
def test_the_curve_is_the_metric_of_the_predictions(metric: Any, seed: int) -> None:
    labels, (others, _), thresholds = drawn(seed)
    raised = seed % 4
    others = np.where(others == raised, (raised + 1) % 4, others)
    scored = count_metric(metric, labels, 4)
    curve = scored.curve(thresholds, others, raised)
    assert len(curve.values) == len(curve.breakpoints) + 1
    assert (np.diff(curve.breakpoints) > 0).all()
    ends = np.unique(thresholds)
    for offset in [ends[0] - 1, *((ends[1:] + ends[:-1]) / 2), ends[-1] + 1]:
        expected = scored.value(np.where(offset > thresholds, raised, others))
        # Running sums of at most 25 numbers.
        assert float(curve(offset)) == pytest.approx(expected, abs=1e-13)


@every_metric
def test_gains_are_the_change_of_the_metric_to_first_order(metric: Any) -> None:
    """Every row repeated a thousand times: then one row that goes elsewhere is a small change."""
    rng = np.random.default_rng(0)
    base, guess = rng.integers(0, 4, 30), rng.integers(0, 4, 30)
    many = np.tile(guess, 1000)
    scored = count_metric(metric, np.tile(base, 1000), 4)
    before, gains = scored.value(many), scored.gains(many)
    for row, new in [(0, 1), (7, 3), (12, 0), (29, 2)]:
        moved = many.copy()
        moved[row] = new
        change = scored.gains(moved)[row] - gains[row]
        # The second order is smaller by the size of a class, about 7,000 rows.
        assert scored.value(moved) - before == pytest.approx(change, rel=1e-2, abs=1e-9)


@pytest.mark.parametrize("metric", ["balanced", "top1"])
def test_errors_are_mcnemars(metric: str) -> None:
    labels, guesses, _ = drawn(9)
    scored = count_metric(metric, labels, 4)
    gains = np.stack([scored.gains(each) for each in guesses])
    differing = (guesses[0] == labels) != (guesses[1] == labels)
    weights = scored.gains(labels)  # all right: every row gains its weight
    assert differing.any()
    assert gain_errors(gains, 0) == pytest.approx([0, math.sqrt((weights[differing] ** 2).sum())])


@pytest.mark.parametrize(
    ("metric", "parts"),
    [
        ("f1", ["f1", "balanced, top1, macro_f1", "cost matrix"]),
        (np.zeros((3, 4)), [r"\(3, 4\)", r"\(4, 4\)"]),
        (np.full((4, 4), np.nan), ["finite"]),
    ],
)
def test_metrics_that_are_none(metric: Any, parts: list[str], refuses: Any) -> None:
    with refuses(*parts):
        count_metric(metric, np.zeros(3, np.int64), 4)
