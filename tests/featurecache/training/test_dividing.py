"""The part that is held out: every class gives some and keeps some."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurecache.training import holdout

LABELLINGS = st.lists(st.integers(-1, 6), max_size=120)


@given(LABELLINGS, st.floats(0.01, 0.99), st.integers(0, 9))
def test_holdout_divides_every_class(labels: list[int], fraction: float, seed: int) -> None:
    all_labels = np.array(labels, dtype=np.int64)
    kept, held = holdout(all_labels, fraction, seed)
    assert sorted([*kept, *held]) == np.flatnonzero(all_labels >= 0).tolist()
    assert kept.tolist() == sorted(kept)
    for label in set(labels) - {-1}:
        rows, of_held = labels.count(label), int((all_labels[held] == label).sum())
        if rows == 1:
            assert of_held == 0
        else:
            assert 1 <= of_held <= rows - 1
            assert of_held in (1, rows - 1) or abs(of_held - fraction * rows) <= 0.5


def test_holdout_follows_its_seed() -> None:
    labels = np.repeat(np.arange(4), 25)
    assert all(np.array_equal(a, b) for a, b in zip(holdout(labels, 0.2, 1), holdout(labels, 0.2, 1), strict=True))
    assert not np.array_equal(holdout(labels, 0.2, 1)[1], holdout(labels, 0.2, 2)[1])


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_holdout_refuses_what_is_no_part(fraction: float, refused: Any) -> None:
    with refused("fraction is"):
        holdout(np.zeros(3, dtype=np.int64), fraction, 0)
