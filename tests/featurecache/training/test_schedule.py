"""Batches and learning rates."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurecache.training.schedule import Batches, Steps, cosine


@given(st.integers(0, 200), st.integers(1, 20), st.integers(1, 3))
def test_batches_keep_the_order_and_only_lose_a_last_short_one(rows: int, size: int, least: int) -> None:
    batches = list(Batches(range(rows), size, least))
    assert len(batches) == len(Batches(range(rows), size, least))
    drawn = [row for batch in batches for row in batch]
    assert drawn == list(range(len(drawn)))
    assert all(len(batch) == size for batch in batches[:-1])
    assert rows - len(drawn) < min(least, size + 1)


def test_a_last_batch_of_one_row_is_left_out() -> None:
    assert list(Batches(range(5), 2)) == [[0, 1], [2, 3]]
    assert list(Batches(range(5), 3)) == [[0, 1, 2], [3, 4]]


def test_the_rate_is_full_at_first_half_in_the_middle_and_zero_after_the_last_step() -> None:
    assert cosine(0, 10) == 1
    assert cosine(5, 10) == pytest.approx(0.5)
    assert cosine(10, 10) == pytest.approx(0, abs=1e-15)
    assert cosine(1, 3) == pytest.approx(0.5 * (1 + math.cos(math.pi / 3)))


def test_the_schedule_runs_on_across_epochs() -> None:
    epochs = [Steps(epoch, 3, 4, 0.2, None) for epoch in range(3)]
    rates = [epoch.rate(step) for epoch in epochs for step in range(4)]
    assert rates == [0.2 * cosine(t, 12) for t in range(12)]
    assert rates == sorted(rates, reverse=True)


def test_progress_counts_all_steps() -> None:
    told: list[tuple[int, int, str]] = []
    steps = Steps(1, 3, 4, 0.2, lambda done, total, text: told.append((done, total, text)))
    steps.report(0, None)
    steps.report(3, 1.5)
    assert told == [(5, 12, "epoch 2/3"), (8, 12, "epoch 2/3, loss 1.500")]


@given(st.integers(0, 60), st.integers(4, 20), st.integers(1, 4))
def test_processes_divide_every_batch(rows: int, size: int, ranks: int) -> None:
    whole = Batches(range(rows), size, 2)
    parts = [Batches(range(rows), size, 2, rank, ranks) for rank in range(ranks)]
    assert {len(part) for part in parts} == {len(whole)}
    together = [[row for piece in pieces for row in piece] for pieces in zip(*parts, strict=True)]
    assert together == list(whole)
    assert [whole.rows_of(step) for step in range(len(whole))] == [len(batch) for batch in whole]
    for pieces in zip(*parts, strict=True):
        assert max(map(len, pieces)) - min(map(len, pieces)) <= 1
