"""Stratified folds: every labelled row once, every class spread evenly, small classes too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rebalance.search.folds import stratified_folds


@given(st.lists(st.integers(-1, 5), min_size=6, max_size=80), st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_no_fold_has_more_than_one_row_more_than_another(drawn: list[int], folds: int, seed: int) -> None:
    labels = np.array([*drawn, *range(6)])
    fold = stratified_folds(labels, folds, seed=seed)
    assert ((fold == -1) == (labels == -1)).all()
    assert set(fold[labels >= 0]) == set(range(folds))
    for rows in (labels >= 0, *(labels == k for k in range(6))):
        size = np.bincount(fold[rows], minlength=folds)
        assert size.max() - size.min() <= 1


def test_rows_are_dealt_by_the_seed() -> None:
    labels = np.repeat([0, 1, 2], 20)
    first, again, other = (stratified_folds(labels, 5, seed=seed) for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()
    # And not in the order in which they come.
    assert (np.diff(first[:20]) != 1).any()


@pytest.mark.parametrize("folds", [1, 0, -2, 4])
def test_folds_that_are_none(folds: int, refuses: Any) -> None:
    with refuses(f"folds is {folds}", "3 labelled rows"):
        stratified_folds(np.array([0, 1, -1, 1]), folds)
