"""Rows drawn within their classes."""

from __future__ import annotations

import itertools
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rebalance.resampling import draws, single_rows

LABELS = st.lists(st.integers(-1, 3), min_size=1, max_size=40).map(lambda each: np.array(each, dtype=np.int64))
SEEDS = st.integers(0, 2**32 - 1)


@given(LABELS, SEEDS)
def test_a_replicate_draws_as_many_rows_of_every_class(labels: np.ndarray, seed: int) -> None:
    for times in draws(labels, 5, seed):
        assert times.dtype == np.int64
        assert (times[labels < 0] == 0).all()
        for k in range(4):
            assert times[labels == k].sum() == (labels == k).sum()


@given(LABELS, SEEDS)
def test_the_first_replicates_are_the_same_however_many_there_are(labels: np.ndarray, seed: int) -> None:
    np.testing.assert_array_equal(list(draws(labels, 3, seed)), list(draws(labels, 7, seed))[:3])


def test_replicates_and_seeds_differ() -> None:
    labels = np.zeros(40, dtype=np.int64)
    assert all((a != b).any() for a, b in itertools.pairwise(draws(labels, 20, 0)))
    assert (next(draws(labels, 1, 0)) != next(draws(labels, 1, 1))).any()


def test_every_row_of_a_class_is_drawn_equally_often() -> None:
    labels = np.repeat([0, 1], [10, 4])
    times = np.sum([each for seed in range(10) for each in draws(labels, 200, seed)], axis=0)
    # 2,000 replicates; a row's number of draws in each has a variance below one: five deviations.
    assert np.abs(times / 2000 - 1).max() < 5 / math.sqrt(2000)


def test_no_other_generator_is_touched() -> None:
    state = np.random.get_state()[1].copy()  # noqa: NPY002 (it must not be touched)
    assert len(list(draws(np.zeros(9, dtype=np.int64), 3, 0))) == 3
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


def test_classes_with_one_row_are_counted() -> None:
    assert single_rows(np.array([-1, 0, 0, 1, 4, 4, 4, 2])) == (2, 4)
    assert single_rows(np.array([0, 0])) == (0, 1)
