"""Read a shard's blocks back and compare them with their checksums.

With positional reads, not through a map: a disk that cannot read a block then says so, where a map ends the process.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from featurecache import disk
from featurecache.shards.header import Header
from featurecache.shards.skeleton import gaps

CHUNK = 2**18  # bytes that are read at a time: they are still in the processor's cache when they are looked at
THREADS = min(4, os.cpu_count() or 1)
SMALL = 2**20  # bytes of a shard that is read before a thread has started
MAX_TASKS = 4096  # that wait for a thread: each takes memory, and a block may be a single row

FLOATS = {"features", "logits"}


class _Buffers(threading.local):
    """A buffer for each thread."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(CHUNK))


def wrong_blocks(
    file: int, header: Header, crcs: Mapping[int, Sequence[int]], *, finite: bool = False
) -> Iterator[tuple[int, str]]:
    """Every (block, column) whose bytes are not those of its checksum, or cannot be read, in order.

    file: the open shard. crcs: a block's checksums, one a column of header.data. finite: also those of the features
    and logits that hold NaN or infinity.
    """
    buffers = _Buffers()

    def check(blocks: Sequence[int]) -> list[tuple[int, str]]:
        bad = []
        for block in blocks:
            for name, wanted in zip(header.data, crcs[block], strict=True):
                floats = header.columns[name].dtype if finite and name in FLOATS else None
                if _crc(file, *header.span(name, block), buffers.view, floats) != wanted:
                    bad.append((block, name))
        return bad

    numbers = list(crcs)
    together = -(-len(numbers) // MAX_TASKS) or 1
    tasks = [numbers[i : i + together] for i in range(0, len(numbers), together)]
    with ThreadPoolExecutor(THREADS) as pool:
        for bad in pool.map(check, tasks) if header.size > SMALL else map(check, tasks):
            yield from bad


def _crc(file: int, start: int, length: int, buffer: memoryview, floats: np.dtype[np.generic] | None) -> int | None:
    """CRC32 of some bytes; None where they are not there, or are floats that are not all finite."""
    crc, stop = 0, start + length
    try:
        while start < stop:
            chunk = buffer[: min(len(buffer), stop - start)]
            if disk.read_at(file, chunk, start) < len(chunk):
                return None
            crc = zlib.crc32(chunk, crc)
            if floats is not None and not np.isfinite(np.frombuffer(chunk, floats)).all():
                return None
            start += len(chunk)
    except OSError:
        return None
    return crc


def structure(file: int, header: Header) -> int:
    """CRC32 of the bytes behind the user block that are in no column: the HDF5 file's own."""
    crc = 0
    for start, length in gaps(header.columns, header.user_block, header.size):
        crc = zlib.crc32(os.pread(file, length, start), crc)
    return crc


def block_crcs(arrays: Iterable[memoryview]) -> tuple[int, ...]:
    """CRC32 of each."""
    return tuple(zlib.crc32(array) for array in arrays)
