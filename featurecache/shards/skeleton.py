"""The HDF5 file around a shard's columns: its bytes and where they go, made without a file.

HDF5 lays the file out and is given a place in memory that keeps what it writes: a few hundred bytes. Through the
library's own writing no torn write could be ruled out, and a full disk ends the process with a signal.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import h5py
import numpy as np

from featurecache import disk, layout


@dataclass(frozen=True)
class Skeleton:
    """An empty HDF5 file.

    columns: with their offsets. size: of the file in bytes. pieces: what stands between the user block, the columns
    and the end, by its first byte.
    """

    columns: dict[str, layout.Column]
    size: int
    pieces: dict[int, bytes]

    def write(self, file: int) -> None:
        """Put the pieces into an open file."""
        for start, piece in self.pieces.items():
            disk.write_at(file, piece, start)

    @property
    def crc(self) -> int:
        """CRC32 over the pieces in their order."""
        total = 0
        for piece in self.pieces.values():
            total = zlib.crc32(piece, total)
        return total


def gaps(columns: Mapping[str, layout.Column], user_block: int, size: int) -> list[tuple[int, int]]:
    """First byte and length of everything between the user block, the columns and the end of the file."""
    ends = sorted((column.offset, column.offset + column.nbytes) for column in columns.values())
    starts = [user_block, *(stop for _, stop in ends)]
    stops = [*(start for start, _ in ends), size]
    return [(start, stop - start) for start, stop in zip(starts, stops, strict=True) if stop > start]


def lay_out(columns: Mapping[str, layout.Column], user_block: int) -> Skeleton:
    """The file that holds the columns behind a user block of so many bytes."""
    creation, access = h5py.h5p.create(h5py.h5p.FILE_CREATE), h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    creation.set_userblock(user_block)
    creation.set_obj_track_times(False)  # of the root group
    # v108: checksummed metadata, and no "open for writing" flag.
    access.set_libver_bounds(h5py.h5f.LIBVER_V18, h5py.h5f.LIBVER_V18)
    access.set_alignment(1, layout.ALIGNMENT)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    memory = _Pieces()
    access.set_fileobj_driver(h5py.h5fd.fileobj_driver, memory)
    dataset = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    dataset.set_layout(h5py.h5d.CONTIGUOUS)
    dataset.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    dataset.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    dataset.set_obj_track_times(False)  # or two equal files would differ
    file = h5py.h5f.create(b"shard", h5py.h5f.ACC_TRUNC, fcpl=creation, fapl=access)
    try:
        placed = {name: _place(file, name, column, dataset) for name, column in columns.items()}
        h5py.h5f.flush(file)
    finally:
        file.close()
    places = gaps(placed, user_block, memory.size)
    return Skeleton(placed, memory.size, {start: memory.read_at(start, length) for start, length in places})


def _place(file: h5py.h5f.FileID, name: str, column: layout.Column, creation: h5py.h5p.PropDCID) -> layout.Column:
    text = column.dtype.kind == "S"
    kind = h5py.string_dtype("utf-8", column.dtype.itemsize) if text else column.dtype
    space = h5py.h5s.create_simple(column.shape)
    made = h5py.h5d.create(file, name.encode(), h5py.h5t.py_create(np.dtype(kind), logical=True), space, creation)
    return layout.Column(column.dtype, column.shape, made.get_offset())


class _Pieces(io.RawIOBase):
    """A file that is nearly all hole: it keeps the few pieces that are written to it."""

    def __init__(self) -> None:
        self.size = self._place = 0
        self._pieces: list[tuple[int, bytes]] = []

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a place, counted from the start, from here or from the end."""
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self.size}[whence]
        return self._place

    def tell(self) -> int:
        """The place."""
        return self._place

    def write(self, data: memoryview | bytes) -> int:  # type: ignore[override]  # of what HDF5 hands over
        """Keep a piece."""
        piece = bytes(data)
        self._pieces.append((self._place, piece))
        self._place += len(piece)
        self.size = max(self.size, self._place)
        return len(piece)

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """What was written here, zeros between."""
        view = memoryview(buffer).cast("B")
        found = bytearray(len(view))
        for start, piece in self._pieces:
            low, high = max(start, self._place), min(start + len(piece), self._place + len(view))
            if low < high:
                found[low - self._place : high - self._place] = piece[low - start : high - start]
        view[:] = found
        self._place += len(view)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Give the file its size."""
        self.size = self._place if size is None else size
        return self.size

    def read_at(self, start: int, length: int) -> bytes:
        """Some of its bytes."""
        buffer = bytearray(length)
        self.seek(start)
        self.readinto(buffer)
        return bytes(buffer)
