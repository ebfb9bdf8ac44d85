"""The exact search of tau against the reference's grid of 21."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rebalance import tune
from rebalance.methods.tau_norm import tau_intervals, tau_intervals_of_logits, tau_norm
from rebalance.metrics import balanced_row_weights
from rebalance.search.path import Sweep
from rebalance.search.selection import Choice, choose
from speed import reference
from speed.measure import compare, in_turns, state
from speed.problem import Problem

RUNS = 5


def exact(intervals: tuple[NDArray[Any], NDArray[Any]], labels: NDArray[np.int64]) -> Choice:
    """The tau of the highest balanced accuracy, from every row's interval."""
    return choose(Sweep.of(*intervals), balanced_row_weights(labels), select="best")


def tau(problem: Problem) -> None:
    """Three rows: from features against the reference and against one product, and from cached logits."""
    features, labels = problem.rows("val")
    own = torch.from_numpy(labels)
    dense, _ = problem.tensors("val")
    head = problem.head
    logits = head(features).numpy()  # with the bias, as a cache holds them
    from_features, from_logits, grid, one_product = in_turns(
        (lambda: exact(tau_intervals(head, features, own), labels), RUNS),
        (lambda: exact(tau_intervals_of_logits(head, logits, own), labels), RUNS),
        (lambda: reference.tau_grid(head.weight, dense, own), 3),
        (lambda: reference.tau_grid_of_logits(head.weight, dense, own), RUNS),
    )
    print(f"\nvalidation rows {len(labels):,}; the bias is dropped on both sides; no standard errors on ours")
    compare("exact tau search from features", from_features, "21 products of the reference", grid, target=15)
    found = from_features.result
    _optimum(found, grid.result)
    value = reference.balanced(tau_norm(head, features, labels, tau=found.value)(dense).argmax(dim=1), own)
    one_row = 1 / len(labels)  # what rounding may turn, of a row that is nearly tied
    state(f"the head there scores {100 * value:.3f} %", abs(value - float(found.curve(found.value))) <= one_row)
    compare("exact tau search from features", from_features, "one product, rescaled 21 times", one_product, target=1.5)
    compare("exact tau search from cached logits", from_logits, "21 products of the reference", grid, target=150)
    _optimum(from_logits.result, grid.result)
    tuned = tune(tau_norm, head, features, labels)
    test, test_labels = problem.tensors("test")
    joint, best = (100 * reference.balanced(each(test).argmax(dim=1), test_labels) for each in (head, tuned.head))
    print(f"  test balanced accuracy {best:.2f} % (tau {tuned.tau:.3f}, by one standard error), joint {joint:.2f} %")


def _optimum(found: Choice, grid: dict[float, float]) -> None:
    """Print both optima; the curve's must not be the lower one."""
    ours = float(found.curve(found.value))
    tau, theirs = max(grid.items(), key=lambda each: each[1])
    words = f"best on validation {100 * ours:.3f} % at tau {found.value:.4f}, on the grid {100 * theirs:.3f} % at {tau}"
    state(words, ours >= theirs - 1e-9)
