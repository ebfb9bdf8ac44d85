"""The judging rows: their weights, the rows a head gets right, and the errors between heads."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from rebalance import METHODS, LinearHead, evaluate
from rebalance.search.bootstrap import bootstrap_errors
from rebalance.search.judging import Judge, judging_rows


def judge(problem: Any, **options: Any) -> Judge:
    given = {"features": problem.features, "labels": problem.labels.clone(), "metric": "balanced", "select": "1se"}
    return Judge(**{**given, "seed": 0, **options})


@pytest.mark.parametrize("metric", ["balanced", "top1"])
def test_the_weights_of_the_right_rows_sum_to_the_metric(problem: Any, metric: Any) -> None:
    labels = problem.labels.clone()
    labels[::9] = -1
    rows = judge(problem, labels=labels, metric=metric)
    value = rows.weights @ rows.right(problem.head)
    assert value == pytest.approx(getattr(evaluate(problem.head(problem.features), labels), metric))
    assert (rows.weights[::9] == 0).all()
    assert rows.weights.sum() == pytest.approx(1)


def test_only_the_rows_asked_for_are_looked_at(problem: Any, slice_only: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    every = judge(problem).right(problem.head)
    some = np.random.default_rng(0).random(110) < 0.4
    monkeypatch.setattr("rebalance.blocks.BLOCK_BYTES", 4 * 8 * 13)
    some[13:26] = False  # a whole block
    for features in (problem.features, slice_only(problem.features)):
        found = judge(problem, features=features).right(problem.head, some)
        np.testing.assert_array_equal(found, every & some)
    assert (every & some).any()


def test_a_label_beyond_the_head_is_never_right(problem: Any) -> None:
    """A head fitted without the only row of the last class has one class less."""
    small = LinearHead(problem.head.weight[:4], problem.head.bias[:4])
    right = judge(problem).right(small)
    assert not right[problem.labels.numpy() == 4].any()
    assert right.any()


def test_rows_that_are_not_finite_are_named(problem: Any, refuses: Any) -> None:
    features = problem.features.clone()
    features[70, 1] = math.inf
    with refuses("row 70 of 110", "infinity"):
        judge(problem, features=features).right(problem.head)


def test_errors_are_mcnemars_or_the_bootstraps(problem: Any) -> None:
    right = np.random.default_rng(0).random((110, 3)) < 0.6
    rows = judge(problem)
    expected = [math.sqrt((rows.weights**2)[right[:, place] != right[:, 1]].sum()) for place in range(3)]
    assert rows.errors(right, 1) == pytest.approx(expected)
    resampled = judge(problem, select="1se-bootstrap", seed=4)
    labels = problem.labels.numpy()
    drawn = bootstrap_errors(lambda weights: weights @ right, rows.weights, labels, 1, seed=4)
    assert resampled.errors(right, 1) == pytest.approx(drawn)
    assert (resampled.errors(right, 1) != rows.errors(right, 1)).any()


def test_the_rows_that_judge(problem: Any) -> None:
    fit, val = (problem.features, problem.labels), (problem.val_features, problem.val_labels)
    for name, given, folds, expected in [
        ("tau_norm", None, None, fit),
        ("crt", val, None, val),
        ("crt", None, 3, fit),
    ]:
        features, labels = judging_rows(name, METHODS[name], problem.head, *fit, given, folds)
        assert features is expected[0]
        assert torch.equal(labels, expected[1])
