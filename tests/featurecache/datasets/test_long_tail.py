"""Long-tailed parts of balanced data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurecache.datasets.long_tail import LongTail, falling


@given(st.integers(1, 10_000), st.floats(1, 1000), st.integers(2, 200))
def test_sizes_fall_by_one_factor_from_the_first_to_its_part(n_max: int, ratio: float, classes: int) -> None:
    sizes = falling(n_max, ratio, classes)
    assert len(sizes) == classes
    assert sizes[0] == n_max
    np.testing.assert_allclose(sizes[-1], n_max / ratio)
    np.testing.assert_allclose(np.diff(np.log(sizes)), -np.log(ratio) / (classes - 1), atol=1e-9)


@pytest.mark.parametrize(
    ("classes", "n", "ratio", "total", "smallest"),
    [(100, 500, 100, 10_847, 5), (10, 5000, 100, 12_406, 50), (100, 500, 10, 19_573, 50), (100, 500, 50, 12_608, 10)],
)
def test_cifar_has_its_published_sizes(classes: int, n: int, ratio: float, total: int, smallest: int) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(classes), n))
    rows = LongTail(ratio).rows(labels)
    counts = np.bincount(labels[rows])
    assert (counts.sum(), counts.max(), counts.min()) == (total, n, smallest)
    assert (np.diff(counts) <= 0).all()
    assert len(np.unique(rows)) == len(rows)


def test_the_rows_are_those_of_the_published_code() -> None:
    labels = np.arange(400) % 4
    # The published code seeds NumPy's old generator once and shuffles the rows of one class after another.
    old = np.random.RandomState(3)
    expected: list[int] = []
    for k, count in enumerate([100, 46, 21, 10]):
        rows = np.flatnonzero(labels == k)
        old.shuffle(rows)
        expected += rows[:count].tolist()
    assert LongTail(10, 3).rows(labels).tolist() == expected
    assert LongTail(10, 3).rows(labels)[:5].tolist() == [372, 268, 24, 256, 384]
    assert LongTail(10, 4).rows(labels).tolist() != expected


def test_where_classes_differ_the_smallest_sets_the_size() -> None:
    labels = np.repeat([0, 1, 5], [40, 30, 50])  # no class 2, 3, 4
    assert np.bincount(labels[LongTail(3).rows(labels)]).tolist() == [30, 17, 0, 0, 0, 10]


def test_what_has_no_tail_is_refused(refused: Any) -> None:
    with refused("lt=100 leaves the last class no row of 5"):
        LongTail(100).rows(np.repeat([0, 1], 5))
    with refused("1 class has no tail"):
        LongTail(2).rows(np.zeros(5, np.int64))


def test_texts(refused: Any) -> None:
    assert LongTail.parse("lt=100") == LongTail(100.0, 0)
    assert LongTail.parse("lt=12.5,seed=7") == LongTail(12.5, 7)
    for text in (
        "lt=", "lt=1", "lt=0.5", "lt=-2", "lt=nan", "lt=1e9", "lt=10,seed=", "lt=10,seed=-1", "lt=10,seed=4294967296",
        "lt=10,other=2", "lt=1\u0662",
    ):  # fmt: skip
        with refused("expected lt=RATIO or lt=RATIO,seed=S"):
            LongTail.parse(text)
