"""The probabilities of every class: what is kept one by one and what is summed makes up all of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rebalance import evaluate
from rebalance.metrics.classwise import Collector
from rebalance.resampling import draws

CASES = st.tuples(st.integers(1, 40), st.sampled_from([2, 3, 14, 15, 16, 40]), st.integers(0, 2**32 - 1))


def collected(p: Any, weights: Any, times: Any, blocks: int) -> Any:
    """What a collector makes of probabilities (N, K) that come in so many blocks; rows that weigh 0 have no label."""
    collector = Collector(len(p), p.shape[1], weights, times, torch.device("cpu"))
    for rows in np.array_split(np.arange(len(p)), blocks):
        if len(rows):
            part = slice(int(rows[0]), int(rows[-1]) + 1)
            collector.add(part, torch.from_numpy(p[part].copy()))
    return collector.result(np.flatnonzero(weights))


def probabilities(shape: tuple[int, int, int]) -> Any:
    rng = np.random.default_rng(shape[2])
    raised = np.exp(rng.normal(size=shape[:2]) * rng.choice([0.1, 1, 4]))
    return raised / raised.sum(1, keepdims=True)


@given(CASES, st.integers(1, 5))
def test_every_probability_is_kept_or_summed(shape: tuple[int, int, int], blocks: int) -> None:
    p = probabilities(shape)
    rng = np.random.default_rng(shape[2])
    known = rng.random(len(p)) < 0.8
    weights = rng.uniform(0.1, 1, len(p)) * known
    labels = np.where(known, rng.integers(0, 3, len(p)), -1)
    times = np.array(list(draws(labels, 4, 0)), dtype=np.uint8)
    found = collected(p, weights, times, blocks)
    rows = np.flatnonzero(known)[found.row]
    np.testing.assert_array_equal(found.value, p[rows, found.column])
    assert sorted(zip(rows, found.column, strict=True)) == sorted(
        map(tuple, np.argwhere((p > 1 / 15) & known[:, None]))
    )
    small = np.where(p > 1 / 15, 0, p)
    np.testing.assert_allclose(found.small, weights @ small, rtol=1e-12)
    # Summed in float32: at most 40 numbers below one.
    np.testing.assert_allclose(found.drawn, ((times * weights) @ small).T, atol=1e-6)
    for place, value in zip(found.place, found.value, strict=True):
        assert place / 15 < value <= (place + 1) / 15


def test_fifteen_probabilities_that_rounding_lifts_above_a_fifteenth_are_kept() -> None:
    p = np.full((2, 15), np.nextafter(1 / 15, 1))
    found = collected(p, np.full(2, 0.5), np.zeros((0, 2), dtype=np.uint8), 1)
    assert len(found.value) == 30


@pytest.mark.parametrize("classes", [15, 60])
def test_classes_that_are_never_likely_are_judged(classes: int, loops: Any) -> None:
    """Every probability lies in the first bin, where only sums are kept."""
    rng = np.random.default_rng(classes)
    labels = rng.integers(0, classes, 80)
    logits = torch.from_numpy(rng.normal(scale=0.01, size=(80, classes)).astype(np.float32))
    loop = loops(logits, labels)
    expected = np.mean([loop.classwise(k) for k in sorted(set(labels.tolist()))])
    assert evaluate(logits, labels).ece_classwise == pytest.approx(expected, rel=1e-9)


def test_two_classes_worked_out() -> None:
    """Probabilities 0.9 and 0.1 of two rows of each class, one of them wrong: each class's bins are 0.1 and 0.4 off."""
    logits = torch.tensor([[math.log(9.0), 0.0]] * 3 + [[0.0, math.log(9.0)]])
    # Class 0: three rows at 0.9 of which two are it, one at 0.1 of which none is. Class 1 is its mirror.
    expected = 3 / 4 * abs(0.9 - 2 / 3) + 1 / 4 * 0.1
    assert evaluate(logits, [0, 0, 1, 1]).ece_classwise == pytest.approx(expected, rel=1e-6)  # log 9 in float32
