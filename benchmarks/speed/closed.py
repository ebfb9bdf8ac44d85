"""The heads in closed form against scikit-learn's classifiers of the same meaning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import NearestCentroid

from rebalance import LinearHead
from rebalance.methods import lda, ncm
from speed.measure import compare, in_turns, state
from speed.problem import Problem
from speed.reference import balanced

RUNS = 5
SHRINKAGE = 0.1
EQUAL = 0.999


def nearest(problem: Problem) -> None:
    """ncm (un, l2) against NearestCentroid."""
    features, labels = problem.rows("train")
    _row(
        problem,
        "ncm (un, l2)",
        lambda: ncm(None, features, labels, transform="un", distance="l2"),
        NearestCentroid(),
        runs=3,
    )


def discriminant(problem: Problem) -> None:
    """lda against LinearDiscriminantAnalysis(solver="lsqr"), same shrinkage, both with the empirical prior.

    With a uniform prior scikit-learn weighs the classes' covariances equally too, which is another covariance.
    """
    features, labels = problem.rows("train")
    _row(
        problem,
        f"lda (shrinkage {SHRINKAGE:g}, empirical prior)",
        lambda: lda(None, features, labels, shrinkage=SHRINKAGE, prior="empirical"),
        LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE),
        runs=1,
    )


def _row(problem: Problem, what: str, fit: Callable[[], LinearHead], model: Any, *, runs: int) -> None:
    """Two comparisons, fitting and deciding the test rows. runs: of scikit-learn's fit."""
    dense, own = (each.numpy() for each in problem.tensors("train"))
    test, test_labels = problem.tensors("test")
    rows, _ = problem.rows("test")
    ours, theirs = in_turns((fit, RUNS), (lambda: model.fit(dense, own), runs))
    here, there = in_turns(
        (lambda: ours.result(rows).argmax(dim=1), RUNS), (lambda: theirs.result.predict(test.numpy()), RUNS)
    )
    compare(f"{what}, fitted", ours, type(model).__name__, theirs, target=3)
    decided = torch.from_numpy(np.asarray(there.result))
    equal = float((here.result == decided).double().mean())
    state(f"equal decisions on {len(rows):,} test rows {100 * equal:.3f} %, target {100 * EQUAL:g} %", equal >= EQUAL)
    scores = [100 * balanced(each, test_labels) for each in (here.result, decided)]
    print(f"  test balanced accuracy {scores[0]:.2f} %, {type(model).__name__}'s {scores[1]:.2f} %")
    print(f"  deciding the test rows: {here.median:.3f} s, {type(model).__name__} {there.median:.3f} s")
