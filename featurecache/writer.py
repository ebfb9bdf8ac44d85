"""Write a shard, so that whatever stops the writing loses at most what was not committed.

1. Its file is made at its full size under a temporary name: a full disk shows before the work begins.
2. Blocks are written at their places. A commit flushes them and then their records in the journal (see
   featurecache.shards.journal); a block with a record is never computed again.
3. When all are there their checksums are written, everything is read back and compared, and the file is renamed.

An interrupted shard is gone on with by whoever asks for the same one; a lock keeps two from doing so at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from featurecache import disk, layout
from featurecache.plan import CachePlan
from featurecache.shards import checksums
from featurecache.shards.commits import Commits
from featurecache.shards.header import Header, read_header
from featurecache.shards.journal import Journal, recorded
from featurecache.shards.lock import LOCK, BeingWritten, Lock, lock_in_folder
from featurecache.shards.skeleton import Skeleton, lay_out
from featurecache.storage import as_bytes

# About so many bytes, or so long an interval, may be lost by a crash; 0 bytes: every block is committed when it is
# written.
COMMIT_BYTES, COMMIT_SECONDS = 2**23, 1.0

PATIENCE = 0.5  # seconds that a look at the lock may take others

NEW, JOURNAL = ".new", ".journal"


class Finished(Exception):
    """The shard is there: another process was quicker."""


class ShardWriter:
    """One shard being written; a context manager.

    cache: the folder. plan: of the cache. split, shard: which. columns: what it holds (without offsets).
    resume: whether blocks that an earlier writer committed are kept; without, nothing is kept and nothing is committed
    before the end.
    missing: the blocks that are still to be written.

    The block of a `with` must end with `finish`. An error in it commits what was written (where `resume`), else it
    leaves nothing behind. Finished when `resume` and the shard is there, BeingWritten when another process has it,
    OSError when the disk is full.
    """

    def __init__(
        self,
        cache: Path,
        plan: CachePlan,
        split: str,
        shard: int,
        columns: Mapping[str, layout.Column],
        *,
        resume: bool = True,
    ) -> None:
        self.final = layout.shard_path(cache, split, shard)
        self._part = disk.part_name(self.final)
        self._header, skeleton = _design(plan, split, shard, columns)
        self._resume, self._done, self._failed = resume, False, False
        self._known = False  # what an earlier writer committed: until then, all that is there is kept
        self._journal: Journal | None = None
        self._commits: Commits | None = None
        self._kept: dict[int, tuple[int, ...]] = {}  # committed by an earlier writer
        self._released = False
        self._written: dict[int, tuple[int, ...]] = {}
        self._lock = lock_in_folder(self.final, PATIENCE)
        self._file = -1
        try:
            if resume and self.final.exists():
                raise Finished(f"{self.final}: finished by another process")
            self._file = self._open(skeleton)
            if resume:
                data = self._header.data
                self._journal = Journal(_journal(self.final), self._header.key, len(data), self._header.blocks)
                self._kept = _checked(self._file, self._header, self._journal.done)
                self._commits = Commits(
                    self._file, self._journal, every_bytes=COMMIT_BYTES, every_seconds=COMMIT_SECONDS
                )
                self._known = True
        except BaseException as error:
            self._release()
            disk.name_file(error, self._part)
            raise
        self.missing = [block for block in range(self._header.blocks) if block not in self._kept]

    @property
    def _user_block(self) -> bytes:
        return self._header.pack().ljust(self._header.user_block, b"\0")

    def _open(self, skeleton: Skeleton) -> int:
        """The file at its full size: the one that is there if it is this shard's, else a new one."""
        if self._resume and self._is_ours():
            file = os.open(self._part, os.O_RDWR)
            try:
                disk.sync_folder(self.final.parent)  # who made these files may have been stopped before this
                self._repair(file, skeleton)
            except BaseException:
                os.close(file)
                raise
            return file
        # In this order: a journal never lies beside a file that it does not belong to.
        disk.remove(_journal(self.final))
        self._known = True
        disk.sync_folder(self.final.parent)
        new = self.final.with_name(self.final.name + NEW)
        file = disk.create(new)
        try:
            disk.allocate(file, skeleton.size)
            skeleton.write(file)
            disk.write_at(file, self._user_block, 0)
            disk.sync(file)
            disk.rename(new, self._part)
            disk.sync_folder(self.final.parent)
        except BaseException:
            os.close(file)
            with suppress(OSError):
                disk.remove(new)
            raise
        return file

    def _repair(self, file: int, skeleton: Skeleton) -> None:
        """Write again what is in no column, where a disk has changed it."""
        if checksums.structure(file, self._header) != self._header.structure:
            skeleton.write(file)
        if os.pread(file, self._header.user_block, 0) != self._user_block:
            disk.write_at(file, self._user_block, 0)

    def _is_ours(self) -> bool:
        try:
            return read_header(self._part).pack() == self._header.pack()
        except (FileNotFoundError, ValueError):  # a file that cannot be read just now is not thrown away
            return False

    def write(self, block: int, values: Mapping[str, NDArray[Any]]) -> None:
        """Write one block: every column, of its own dtype, (n, …). It may be committed at once or a little later."""
        views = []
        rows = min(self._header.block, self._header.rows - block * self._header.block)
        for name, column in self._header.data.items():
            data = np.ascontiguousarray(values[name], dtype=column.dtype)
            if data.shape != (rows, *column.shape[1:]):
                raise ValueError(
                    f"{name} has shape {data.shape}; expected {(rows, *column.shape[1:])}: the model's output "
                    "changed between batches"
                )
            views.append(as_bytes(data))
        for name, view in zip(self._header.data, views, strict=True):
            self._guarded(disk.write_at, self._file, view, self._header.span(name, block)[0])
        self._written[block] = checksums.block_crcs(views)
        if self._commits is not None:
            self._guarded(self._commits.add, block, self._written[block], sum(map(len, views)))

    def commit(self) -> None:
        """Make everything that was written so far survive a crash."""
        if self._commits is not None:
            self._guarded(self._commits.now)

    def finish(self) -> None:
        """Compare everything with its checksum and give the shard its name.

        ValueError when blocks are missing, or when the disk gives back other bytes than were written.
        """
        self.commit()
        crcs = self._kept | self._written
        header = self._header
        if lost := header.blocks - len(crcs):
            raise ValueError(f"{self.final}: {lost} of {header.blocks} blocks of rows were not written")
        crcs = {block: crcs[block] for block in range(header.blocks)}
        table = np.array(list(crcs.values()), "<u4")
        self._guarded(disk.write_at, self._file, table.tobytes(), header.columns["crc"].offset)
        self._guarded(disk.sync, self._file)
        for block, name in checksums.wrong_blocks(self._file, header, crcs):
            raise ValueError(
                f"{self._part}: {name} of rows {block * header.block}.. read back differently from what was written: "
                "the disk or the memory fails; run the same extraction again, here or on another disk"
            )
        self._guarded(disk.rename, self._part, self.final)
        self._guarded(disk.sync_folder, self.final.parent)
        self._done = True
        self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # A disk that failed once is not asked again: after a failed flush the next may succeed and mean nothing.
            if self._resume and not self._done and not self._failed:
                self.commit()
        finally:
            self._release()

    def _guarded(self, operation: Callable[..., None], *given: Any) -> None:
        """A file operation; its failure is remembered."""
        try:
            operation(*given)
        except OSError as error:
            self._failed = True
            disk.name_file(error, self._part)
            raise

    def _release(self) -> None:
        """Close everything, once; remove what nobody can go on with."""
        if self._released:
            return
        self._released = True
        if self._commits is not None:
            self._commits.close()  # before it is asked what was committed
        committed = self._journal is not None and bool(self._journal.done)
        keep = self._resume and (committed or not self._known)
        with ExitStack() as last:
            last.callback(self._lock.release)
            if self._file >= 0:
                last.callback(os.close, self._file)
            if self._journal is not None:
                last.callback(self._journal.close)
            if self._done or not keep:
                disk.remove(_journal(self.final))
                disk.remove(self._part)
        if not self._done:
            disk.remove_folder(self.final.parent)


def tidy(final: Path) -> None:
    """Remove what a crash right after the renaming left beside a finished file."""
    if any(final.with_name(final.name + ending).exists() for ending in (JOURNAL, LOCK)):
        with suppress(BeingWritten):
            disk.sync_folder(final.parent)  # before the journal goes, the new name must be there for good
            _clear(final)


def discard(final: Path) -> None:
    """Remove what was begun of a shard. BeingWritten when another process has it."""
    if any(final.with_name(final.name + ending).exists() for ending in (NEW, disk.PART, JOURNAL, LOCK)):
        _clear(final)


def _clear(final: Path) -> None:
    lock = Lock(final)
    try:
        for path in (_journal(final), disk.part_name(final), final.with_name(final.name + NEW)):
            disk.remove(path)
    finally:
        lock.release()


def committed_rows(cache: Path, plan: CachePlan, split: str, shard: int) -> int:
    """Rows of an unfinished shard that need not be computed again, as its journal says."""
    final = layout.shard_path(cache, split, shard)
    try:
        header = read_header(disk.part_name(final))
    except (FileNotFoundError, ValueError):
        return 0
    done = committed_blocks(final, header)
    return sum(min(header.block, header.rows - block * header.block) for block in done)


def committed_blocks(final: Path, header: Header) -> dict[int, tuple[int, ...]]:
    """The checksums of an unfinished shard's blocks that its journal records. header: of the shard."""
    return recorded(_journal(final), header.key, len(header.data), header.blocks)


def _journal(final: Path) -> Path:
    return final.with_name(final.name + JOURNAL)


def _design(plan: CachePlan, split: str, shard: int, columns: Mapping[str, layout.Column]) -> tuple[Header, Skeleton]:
    """The header of a shard, with the places of its columns, and the empty HDF5 file around them."""
    rows, block = columns["labels"].shape[0], plan.splits[split].batch_size
    blank = Header(split, shard, rows, block, dict(columns), plan.to_json(only=split))
    skeleton = lay_out(columns, blank.user_block)
    return replace(blank, columns=skeleton.columns, size=skeleton.size, structure=skeleton.crc), skeleton


def _checked(file: int, header: Header, done: Mapping[int, tuple[int, ...]]) -> dict[int, tuple[int, ...]]:
    """The committed blocks whose data are still what was committed."""
    wrong = {block for block, _ in checksums.wrong_blocks(file, header, done)}
    return {block: crcs for block, crcs in done.items() if block not in wrong}
