"""Rows from their place in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurecache.convert.hdf5.rows import TABLE, Stored, rows_of

VALUES = np.arange(60, dtype="<f4").reshape(10, 6)


def stored_in(path: Path, **given: Any) -> tuple[Any, Stored]:
    """A file of the values' bytes, and a dataset in it."""
    path.write_bytes(VALUES.tobytes())
    file = path.open("rb")
    return file, Stored(file.fileno(), VALUES.nbytes, "x", VALUES.dtype, VALUES.shape, **given)


@given(st.integers(0, 9), st.integers(1, 10))
def test_a_contiguous_dataset(tmp_path_factory: Any, start: int, count: int) -> None:
    file, stored = stored_in(tmp_path_factory.mktemp("rows") / "x", offset=0)
    with file:
        stop = min(10, start + count)
        np.testing.assert_array_equal(rows_of(stored)(start, stop), VALUES[start:stop])


@pytest.mark.parametrize("offset", [4, 2**62, -1])
def test_a_place_out_of_the_file(tmp_path: Path, refused: Any, offset: int) -> None:
    file, stored = stored_in(tmp_path / "x", offset=offset)
    with file, refused("'x'", "beyond the end"):
        rows_of(stored)


def test_no_place_at_all(tmp_path: Path, refused: Any) -> None:
    file, stored = stored_in(tmp_path / "x")
    with file, refused("'x'", "never filled"):
        rows_of(stored)


def test_a_file_that_is_cut_meanwhile(tmp_path: Path, refused: Any) -> None:
    file, stored = stored_in(tmp_path / "x", offset=0)
    with file:
        rows = rows_of(stored)
        with (tmp_path / "x").open("r+b") as other:
            other.truncate(100)
        np.testing.assert_array_equal(rows(0, 4), VALUES[:4])
        with refused("it was cut"):
            rows(0, 10)


def table(*records: tuple[int, int, int]) -> Any:
    """A chunk table."""
    return np.array(list(records), TABLE)


def test_chunks_of_rows(tmp_path: Path) -> None:
    # Four rows a chunk, stored from the last to the first; the last one is filled up from its neighbour.
    places = [(96 * 1, 96, 0), (96 * 0, 96, 0), (96 * 1 + 48, 96, 0)]
    file, stored = stored_in(tmp_path / "x", chunk=(4, 6), table=table(*places))
    with file:
        rows = rows_of(stored)
        np.testing.assert_array_equal(rows(0, 4), VALUES[4:8])
        np.testing.assert_array_equal(rows(2, 6), np.concatenate([VALUES[6:8], VALUES[0:2]]))
        np.testing.assert_array_equal(rows(8, 10), VALUES[6:8])
        np.testing.assert_array_equal(rows(0, 10), np.concatenate([VALUES[4:8], VALUES[:4], VALUES[6:8]]))


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ((2**64 - 1, 0, 0), "lacks 1"),
        ((2**64 - 2, 240, 0), "beyond the end"),
        ((240, 240, 0), ""),
        ((241, 240, 0), "beyond the end"),
        ((0, 2**32 - 1, 0), "beyond the end"),
        ((0, 0, 0), "damaged"),
        ((0, 239, 0), "damaged"),
    ],
)
def test_a_chunk_of_another_place_or_size(tmp_path: Path, refused: Any, record: Any, says: str) -> None:
    file, stored = stored_in(tmp_path / "x", chunk=(10, 6), table=table(record))
    with file:
        if says:
            with refused("'x'", says):
                rows_of(stored)(0, 10)
        else:
            with refused("beyond the end"):
                rows_of(stored)


def test_a_chunk_larger_than_its_values(tmp_path: Path, refused: Any) -> None:
    file, stored = stored_in(tmp_path / "x", chunk=(5, 6), table=table((0, 240, 0), (120, 120, 0)))
    with file, refused("chunk of 240 bytes", "at most 120"):
        rows_of(stored)


def test_a_filter_that_was_left_out(tmp_path: Path) -> None:
    file, stored = stored_in(tmp_path / "x", chunk=(10, 6), filters=((1, 4),), table=table((0, 240, 1)))
    with file:
        np.testing.assert_array_equal(rows_of(stored)(0, 10), VALUES)
