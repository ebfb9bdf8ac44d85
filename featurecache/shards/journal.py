"""Which blocks of an unfinished shard are written: a record in the journal is the commit.

``00000.h5.journal`` holds, little-endian, a start and then records of one size::

    start    8 bytes  magic, 46 43 4A 52 4E 4C 31 0A ("FCJRNL1" and a line feed)
             uint32   CRC32 of the shard's user block header: which shard this belongs to
             uint32   c, the number of its columns without crc
             uint32   CRC32 of these 16 bytes
    record   uint32   the block
             uint32   c times: CRC32 of the block in each column, in the header's order
             uint32   CRC32 of the start's last 12 bytes, the record's place (uint64) and the record so far

A block's data are flushed to the disk before its record is written, and the record is flushed before the block counts
as done. Reading stops at the first record whose checksum differs: what a crash tore, or the zeros behind the last one.
Whoever goes on with a shard checks the data of every recorded block again.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from featurecache import disk

MAGIC = b"FCJRNL1\n"
START = struct.Struct("<8sIII")
PLACE = struct.Struct("<Q")
MAX_JOURNAL = 2**30  # bytes that are read


class Journal:
    """The journal of a shard; `done` maps every recorded block to the CRC32 of its columns.

    path: of the journal; one that belongs to another shard, or that is damaged at its start, is begun anew.
    key: CRC32 of the shard's header. columns: c. blocks: of the shard.
    """

    def __init__(self, path: Path, key: int, columns: int, blocks: int) -> None:
        self._records = _Records(key, columns)
        self.done: dict[int, tuple[int, ...]] = {}
        self._end = START.size
        if path.exists() and disk.read_head(path, START.size) == self._records.start:
            self._file = os.open(path, os.O_RDWR)
            try:
                self._replay(blocks)
            except BaseException:
                os.close(self._file)
                raise
        else:
            self._file = disk.create(path)
            self._begin(path, blocks)

    def _begin(self, path: Path, blocks: int) -> None:
        try:
            # At its full size, so that a record's flush has only the record to write.
            disk.allocate(self._file, START.size + blocks * self._records.size)
            disk.write_at(self._file, self._records.start, 0)
            disk.sync(self._file)
            disk.sync_folder(path.parent)
        except BaseException:
            os.close(self._file)
            raise

    def _replay(self, blocks: int) -> None:
        size = min(os.fstat(self._file).st_size, MAX_JOURNAL)
        raw = os.pread(self._file, size, 0)
        self.done, self._end = self._records.replay(raw, blocks)
        if any(raw[self._end :]):  # what a crash left must not come to life behind a later record
            disk.truncate(self._file, self._end)
            disk.allocate(self._file, size)
            disk.sync(self._file)

    def append(self, blocks: Mapping[int, Sequence[int]]) -> None:
        """Commit blocks: their column checksums by block number. Their data must be on the disk already."""
        records = b""
        for block, crcs in blocks.items():
            records += self._records.pack(block, crcs, self._end + len(records))
        disk.write_at(self._file, records, self._end)
        disk.sync(self._file)
        self._end += len(records)
        self.done.update({block: tuple(crcs) for block, crcs in blocks.items()})

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def recorded(path: Path, key: int, columns: int, blocks: int) -> dict[int, tuple[int, ...]]:
    """What a journal records, read only; nothing where there is none or it belongs to another shard."""
    try:
        raw = disk.read_head(path, MAX_JOURNAL)
    except FileNotFoundError:
        return {}
    records = _Records(key, columns)
    return records.replay(raw, blocks)[0] if raw.startswith(records.start) else {}


class _Records:
    """The bytes of a journal: its start, and records that hold only where they stand."""

    def __init__(self, key: int, columns: int) -> None:
        begin = struct.pack("<8sII", MAGIC, key, columns)
        self.start = begin + struct.pack("<I", zlib.crc32(begin))
        self._seed = zlib.crc32(self.start[8:])
        self._record = struct.Struct(f"<I{columns}I")
        self.size = self._record.size + 4

    def pack(self, block: int, crcs: Sequence[int], place: int) -> bytes:
        """The record of a block for this place in the file."""
        return self._sealed(self._record.pack(block, *crcs), place)

    def replay(self, raw: bytes, blocks: int) -> tuple[dict[int, tuple[int, ...]], int]:
        """The records up to the first bad one, and where that one stands."""
        done, end = {}, START.size
        while len(record := raw[end : end + self.size]) == self.size:
            if self._sealed(record[:-4], end) != record:
                break
            block, *crcs = self._record.unpack(record[:-4])
            if block < blocks:
                done[block] = tuple(crcs)
            end += self.size
        return done, end

    def _sealed(self, record: bytes, place: int) -> bytes:
        return record + struct.pack("<I", zlib.crc32(record, zlib.crc32(PLACE.pack(place), self._seed)))
