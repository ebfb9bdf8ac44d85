"""Confusions against scikit-learn's matrix; only what occurs, most rows first."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix as oracle

from rebalance import evaluate
from rebalance.metrics import confusion_matrix, confusions

CASES = st.tuples(st.integers(1, 60), st.integers(2, 7), st.integers(0, 2**32 - 1))


@given(CASES)
def test_the_matrix_is_that_of_scikit_learn(case: Any, shape: tuple[int, int, int]) -> None:
    made = case(shape)
    made.labels[1::4] = -1
    found = confusion_matrix(evaluate(made.logits, made.labels).results, made.classes)
    known = made.labels >= 0
    expected = oracle(made.labels[known], made.logits.argmax(1).numpy()[known], labels=range(made.classes))
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, expected)


@given(CASES)
def test_pairs_are_the_wrong_cells_of_the_matrix_in_order(case: Any, shape: tuple[int, int, int]) -> None:
    made = case(shape)
    results = evaluate(made.logits, made.labels).results
    matrix = confusion_matrix(results, made.classes)
    labels, predictions, rows = confusions(results, made.classes)
    wrong = [(-n, label, guess) for (label, guess), n in np.ndenumerate(matrix) if n and label != guess]
    assert list(zip((-rows).tolist(), labels.tolist(), predictions.tolist(), strict=True)) == sorted(wrong)


def test_a_head_that_is_right_confuses_nothing() -> None:
    parts = confusions(evaluate(torch.eye(3), [0, 1, 2]).results, 3)
    assert [part.tolist() for part in parts] == [[], [], []]
    assert {part.dtype for part in parts} == {np.dtype(np.int64)}
