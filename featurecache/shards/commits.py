"""Commit blocks while the next ones are made: a thread waits for the disk, the caller does not.

A commit is two waits, one for the blocks' data and one for their records in the journal, in this order.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor

from featurecache import disk
from featurecache.shards.journal import Journal

BEHIND = 4  # times the bytes of a commit that may be written before the writer waits for the one that is running


class Commits:
    """The commits of a shard.

    file: the open shard. journal: its journal. every_bytes: of blocks that are committed together; 0: every block,
    before `add` returns. every_seconds: after which fewer are committed too.

    An OSError of a commit is raised by the call after it.
    """

    def __init__(self, file: int, journal: Journal, *, every_bytes: int, every_seconds: float) -> None:
        self._file, self._journal = file, journal
        self._every_bytes, self._every_seconds = every_bytes, every_seconds
        self._pending: dict[int, tuple[int, ...]] = {}
        self._bytes, self._since = 0, time.monotonic()
        self._pool = ThreadPoolExecutor(1)
        self._running: Future[None] | None = None

    def add(self, block: int, crcs: tuple[int, ...], size: int) -> None:
        """A block whose data, of so many bytes, were written."""
        self._pending[block] = crcs
        self._bytes += size
        if not self._every_bytes:
            self.now()
        elif self._bytes >= self._every_bytes or time.monotonic() - self._since >= self._every_seconds:
            idle = self._running is None or self._running.done()
            if idle or self._bytes >= BEHIND * self._every_bytes:
                self._wait()
                self._running = self._pool.submit(self._commit, self._taken())

    def now(self) -> None:
        """Commit everything that was added, and wait for it."""
        self._wait()
        if self._pending:
            self._commit(self._taken())

    def close(self) -> None:
        """Wait for what is running, whatever becomes of it."""
        self._pool.shutdown()

    def _taken(self) -> dict[int, tuple[int, ...]]:
        taken, self._pending = self._pending, {}
        self._bytes, self._since = 0, time.monotonic()
        return taken

    def _wait(self) -> None:
        if self._running is not None:
            self._running.result()
            self._running = None

    def _commit(self, blocks: dict[int, tuple[int, ...]]) -> None:
        disk.sync(self._file)
        self._journal.append(blocks)
