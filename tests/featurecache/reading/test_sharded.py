"""One array over several files is the array that their concatenation would be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from featurecache.reading.sharded import ShardedArray


def parts_of(sizes: list[int], width: int | None = 3) -> list[NDArray[np.float32]]:
    """Arrays of these lengths with all numbers different."""
    shape = () if width is None else (width,)
    whole = np.arange(sum(sizes) * (width or 1), dtype=np.float32).reshape(sum(sizes), *shape)
    return np.split(whole, np.cumsum(sizes)[:-1])


SIZES = st.lists(st.integers(1, 5), min_size=1, max_size=4)
NUMBER = st.none() | st.integers(-25, 25)


@given(SIZES, st.sampled_from([None, 3]), NUMBER, NUMBER, st.none() | st.integers(-7, 7).filter(bool))
def test_slices(sizes: list[int], width: int | None, start: int | None, stop: int | None, step: int | None) -> None:
    parts = parts_of(sizes, width)
    found = ShardedArray(parts)[start:stop:step]
    wanted = np.concatenate(parts)[start:stop:step]
    assert found.dtype == wanted.dtype
    assert found.shape == wanted.shape
    assert np.array_equal(found, wanted)


@given(st.data(), SIZES)
def test_numbers_lists_and_masks(data: st.DataObject, sizes: list[int]) -> None:
    parts = parts_of(sizes)
    whole, sharded = np.concatenate(parts), ShardedArray(parts)
    row = st.integers(-len(whole), len(whole) - 1)
    one = data.draw(row)
    assert np.array_equal(sharded[one], whole[one])
    assert np.array_equal(sharded[np.int32(one)], whole[one])
    several = data.draw(st.lists(row, max_size=9))
    assert np.array_equal(sharded[several], whole[np.array(several, int)])
    assert sharded[several].shape == (len(several), 3)
    table = np.array(several[:8] * 2, int).reshape(2, -1)
    assert np.array_equal(sharded[table], whole[table])
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(whole), max_size=len(whole))))
    assert np.array_equal(sharded[mask], whole[mask])


@pytest.mark.parametrize("rows", [9, -10, [0, 9], [3, -10], np.array([[0], [9]]), 2**40])
def test_rows_out_of_range(rows: Any, refused: Any) -> None:
    sharded = ShardedArray(parts_of([4, 5]))
    bad = next(row for row in np.ravel(rows).tolist() if not -9 <= row < 9)
    with refused(str(bad), "9 rows", error=IndexError):
        sharded[rows]


@pytest.mark.parametrize("mask", [np.ones(8, bool), np.ones(10, bool), np.ones((9, 3), bool), True])
def test_masks_of_another_length(mask: Any, refused: Any) -> None:
    with refused("mask", "9", error=IndexError):
        ShardedArray(parts_of([4, 5]))[mask]


@pytest.mark.parametrize("rows", [1.5, [0.0, 1.9], np.array([2.0]), "1", ["a"], None], ids=repr)
def test_rows_that_are_no_numbers_are_never_rounded(rows: Any) -> None:
    sharded = ShardedArray(parts_of([4, 5]))
    with pytest.raises((IndexError, TypeError, ValueError)):
        sharded[rows]


@pytest.mark.parametrize("rows", [(2, 1), (slice(None), 0), (slice(2, 7), slice(1)), ([5, 6], 1), ...], ids=repr)
def test_more_than_rows_is_answered_as_numpy_would_or_refused(rows: Any) -> None:
    parts = parts_of([4, 5])
    wanted = np.concatenate(parts)[rows]
    try:
        found = ShardedArray(parts)[rows]
    except (IndexError, TypeError, ValueError):
        return
    assert found.shape == wanted.shape
    assert np.array_equal(found, wanted)


def test_a_slice_in_one_shard_is_a_view_and_others_are_copies() -> None:
    parts = parts_of([4, 5])
    sharded = ShardedArray(parts)
    assert np.shares_memory(sharded[1:3], parts[0])
    assert np.shares_memory(sharded[4:9], parts[1])
    assert not any(np.shares_memory(sharded[3:5], part) for part in parts)


def test_it_behaves_like_an_array() -> None:
    parts = parts_of([4, 5])
    sharded = ShardedArray(parts)
    whole = np.concatenate(parts)
    assert (sharded.shape, sharded.ndim, len(sharded), sharded.dtype) == ((9, 3), 2, 9, np.float32)
    assert np.array_equal(np.asarray(sharded), whole)
    assert np.asarray(sharded, dtype=np.float64).dtype == np.float64
    assert np.array_equal([row.tolist() for row in sharded], whole)
    assert np.array_equal(np.array(sharded, copy=True), whole)
    assert repr(sharded) == "ShardedArray(shape=(9, 3), dtype=float32, shards=2)"


def test_a_conversion_that_must_copy_is_refused_where_none_is_wanted() -> None:
    with pytest.raises(ValueError, match="copy"):
        np.array(ShardedArray(parts_of([4, 5])), copy=False)
