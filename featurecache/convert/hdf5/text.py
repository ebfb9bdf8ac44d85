"""Sample ids of an HDF5 file as text, read without the HDF5 library.

Text of any length lies in collections ("global heaps") to which the rows refer. The library follows such references
into loops; here a collection is read once, its objects one after the other, and the work is bounded by the file's size.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from featurecache.convert.hdf5.rows import Stored, read_at, rows_of
from featurecache.layout import MAX_ID

REFERENCE = np.dtype([("bytes", "<u4"), ("address", "<u8"), ("object", "<u4")])
COLLECTION = struct.Struct("<4sB3xQ")  # GCOL, version, bytes
OBJECT = struct.Struct("<HH4xQ")  # number, references to it, bytes
MAX_COLLECTION = 2**21
KEPT = 16  # collections in memory
SPACES, ZEROS = 2, 1  # how text of one width is padded; else it ends at its first zero byte


class FixedText:
    """Text of one width: ``text(start, stop)`` is a list of str.

    stored: its dtype is |S. padding: as HDF5 numbers it.
    """

    def __init__(self, stored: Stored, padding: int) -> None:
        self._rows, self._padding = rows_of(stored), padding

    def __call__(self, start: int, stop: int) -> list[str]:
        names: list[bytes] = self._rows(start, stop).tolist()  # NumPy cuts the zeros at the end
        if self._padding == SPACES:
            names = [name.rstrip(b" ") for name in names]
        elif self._padding != ZEROS:
            names = [name.partition(b"\0")[0] for name in names]
        return [_decoded(name) for name in names]


class HeapText:
    """Text of any length: ``text(start, stop)`` is a list of str.

    stored: its dtype is REFERENCE. base: byte of the file from which its addresses count.
    ValueError where a text is longer than 4096 bytes, or a reference leads nowhere or out of the file.
    """

    def __init__(self, stored: Stored, base: int) -> None:
        self._rows, self._stored, self._base = rows_of(stored), stored, base
        self._open: dict[int, tuple[bytes, dict[int, tuple[int, int]]]] = {}
        self._left = 4 * stored.size + 2**26  # bytes of collections that are read before the file is called a trap

    def __call__(self, start: int, stop: int) -> list[str]:
        return [self._text(*reference) for reference in self._rows(start, stop).tolist()]

    def _text(self, length: int, address: int, number: int) -> str:
        if length == 0:
            return ""
        if length > MAX_ID:
            raise ValueError(
                f"{self._stored.what} has a text of {length} bytes; expected sample ids of at most {MAX_ID}"
            )
        if address not in self._open:
            while len(self._open) >= KEPT:
                del self._open[next(iter(self._open))]
            self._open[address] = self._collection(address)
        data, objects = self._open[address]
        at, size = objects.get(number, (0, -1))
        if size < length:
            raise ValueError(f"{self._stored.what} refers to a text that is not there: the file is damaged")
        return _decoded(data[at : at + length].partition(b"\0")[0])

    def _collection(self, address: int) -> tuple[bytes, dict[int, tuple[int, int]]]:
        """The bytes of a collection, and where in them its objects lie: number -> (place, bytes)."""
        place = self._base + address
        room = self._stored.size - place
        magic, version, size = COLLECTION.unpack(self._bytes(COLLECTION.size, place, room))
        if (magic, version) != (b"GCOL", 1) or not COLLECTION.size <= size <= MAX_COLLECTION:
            raise ValueError(f"{self._stored.what} refers to byte {place}, where no text lies: the file is damaged")
        data = self._bytes(size, place, room)
        objects: dict[int, tuple[int, int]] = {}
        at = COLLECTION.size
        while at + OBJECT.size <= size:
            number, _, length = OBJECT.unpack_from(data, at)
            at += OBJECT.size
            if number == 0 or length > size - at:  # number 0 is the free space at the end
                break
            objects[number] = at, length
            at += -(-length // 8) * 8
        return data, objects

    def _bytes(self, size: int, place: int, room: int) -> bytes:
        self._left -= size
        if size > room or self._left < 0:
            raise ValueError(
                f"{self._stored.what} refers to texts beyond the file, or to the same ones again and again"
            )
        return read_at(self._stored.file, size, place)


def _decoded(name: Any) -> str:
    return bytes(name).decode("utf-8", errors="surrogateescape")
