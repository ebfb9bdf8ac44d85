"""Rows of a dataset from its place in the file, read without the HDF5 library, every address checked."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from featurecache.convert.hdf5.filters import undo
from featurecache.quoting import shown

MAX_CHUNK = 2**26  # bytes of one chunk
MAX_BAND = 2**28  # bytes of the chunks that lie side by side, which are inflated together
TABLE = np.dtype([("address", "<u8"), ("size", "<u4"), ("left_out", "<u4")])

Rows: TypeAlias = Callable[[int, int], NDArray[Any]]  # (start, stop) -> (stop - start, …), of the file's dtype


@dataclass(frozen=True)
class Stored:
    """A dataset in an open file; nothing in it is checked but its types.

    file: descriptor. size: bytes of the file. name: of the dataset, for messages.
    dtype: of its values. shape: (n, …).
    offset: byte where it begins, if it is contiguous. data: its bytes, if it is compact.
    chunk: shape of a chunk, () where there are none. filters: (number, first parameter) in the order of writing.
    table: (chunks,) of TABLE, in row order of the grid.
    """

    file: int
    size: int
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int | None = None
    data: bytes = b""
    chunk: tuple[int, ...] = ()
    filters: tuple[tuple[int, int], ...] = ()
    table: NDArray[Any] | None = None

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return self.dtype.itemsize * math.prod(self.shape[1:])

    @property
    def what(self) -> str:
        """The dataset in a message."""
        return f"dataset {shown(self.name)}"


def rows_of(stored: Stored) -> Rows:
    """The rows of a dataset; ValueError in one line where they cannot lie where it says, or, later, are damaged."""
    if stored.table is not None:
        return Chunks(stored, stored.table)
    if stored.data:
        values = np.frombuffer(stored.data, stored.dtype).reshape(stored.shape)
        return lambda start, stop: values[start:stop]
    if stored.offset is None:
        raise ValueError(f"{stored.what} was declared and never filled: the file stores no values for it")
    offset, row = stored.offset, stored.row_bytes
    if not 0 <= offset <= stored.size - row * stored.shape[0]:
        raise ValueError(f"{stored.what} lies beyond the end of the file: it is damaged or cut short")

    def rows(start: int, stop: int) -> NDArray[Any]:
        data = read_at(stored.file, row * (stop - start), offset + row * start)
        return np.frombuffer(data, stored.dtype).reshape(stop - start, *stored.shape[1:])

    return rows


class Chunks:
    """The rows of a chunked dataset; the chunks of one row of the grid are kept until others are asked for.

    stored: where it lies. table: its chunks. ValueError where one is absent, too large or not in the file.
    """

    def __init__(self, stored: Stored, table: NDArray[Any]) -> None:
        self._stored, self._table = stored, table
        self._grid = tuple(-(-n // step) for n, step in zip(stored.shape[1:], stored.chunk[1:], strict=True))
        self._bytes = stored.dtype.itemsize * math.prod(stored.chunk)
        self._kept, self._number = np.empty(0), -1
        self._check()

    def __call__(self, start: int, stop: int) -> NDArray[Any]:
        step = self._stored.chunk[0]
        pieces = []
        for number in range(start // step, (stop - 1) // step + 1):
            first = number * step
            pieces.append(self._band(number)[max(start - first, 0) : stop - first])
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _check(self) -> None:
        stored, table, what = self._stored, self._table, self._stored.what
        if self._bytes > MAX_CHUNK:
            raise ValueError(f"{what} has chunks of {self._bytes} bytes; expected at most {MAX_CHUNK}")
        band = self._bytes * math.prod(self._grid)
        if band > MAX_BAND:
            raise ValueError(
                f"{what} has chunks {stored.chunk}: {stored.chunk[0]} rows at once are {band} bytes, at most "
                f"{MAX_BAND} are read; write it with fewer rows a chunk (h5repack -l CHUNK=…)"
            )
        absent = int((table["address"] == 2**64 - 1).sum())
        if absent:
            raise ValueError(f"{what} lacks {absent} of its {len(table)} chunks: it was never filled")
        # Below 2**64, for an address that lies in the file is; the others are refused.
        end = table["address"] + table["size"]
        if (table["address"] >= stored.size).any() or (end > stored.size).any():
            raise ValueError(f"{what} has chunks beyond the end of the file: it is damaged or cut short")
        largest = self._bytes + (self._bytes // 8 + 2**12 if stored.filters else 0)
        if int(table["size"].max()) > largest:
            raise ValueError(f"{what} has a chunk of {int(table['size'].max())} bytes; expected at most {largest}")

    def _band(self, number: int) -> NDArray[Any]:
        """The chunks of one row of the grid as an array (chunk rows, …)."""
        if number == self._number:
            return self._kept
        stored = self._stored
        self._kept, self._number = np.empty(0), -1  # freed before the next one is made
        out = np.empty((stored.chunk[0], *stored.shape[1:]), stored.dtype)
        first = number * math.prod(self._grid)
        for i, place in enumerate(product(*map(range, self._grid))):
            values = np.frombuffer(self._chunk(first + i), stored.dtype).reshape(stored.chunk)
            spans = [
                slice(at * step, min((at + 1) * step, n))
                for at, step, n in zip(place, stored.chunk[1:], stored.shape[1:], strict=True)
            ]
            out[(slice(None), *spans)] = values[(slice(None), *(slice(span.stop - span.start) for span in spans))]
        self._kept, self._number = out, number
        return out

    def _chunk(self, number: int) -> bytes:
        """The bytes of one chunk, its filters undone."""
        address, size, left_out = self._table[number].item()
        data = read_at(self._stored.file, size, address)
        applied = [each for i, each in enumerate(self._stored.filters) if not left_out >> i & 1]
        try:
            return undo(data, applied, self._bytes)
        except ValueError as error:
            raise ValueError(f"{self._stored.what}: chunk {number} {error}: the file is damaged") from None


def read_at(file: int, size: int, offset: int) -> bytes:
    """So many bytes of the file; ValueError where it ends before."""
    data = os.pread(file, size, offset)
    if len(data) != size:
        raise ValueError(f"the file ends at byte {offset + len(data)}: it was cut while it was read")
    return data
