"""Disks through which every file operation of the cache passes, and which refuse, tear, or end the process."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

from featurecache import disk

CHANGES = (
    *("create", "create_or_keep", "allocate", "truncate", "write_at", "sync", "sync_folder"),
    *("rename", "remove", "add_folder", "remove_folder"),
)
READS = ("opened", "read_at")
SYNCS = ("sync", "sync_folder")
NEED_ROOM = ("create", "create_or_keep", "allocate", "write_at", "sync", "rename", "add_folder")
TEARABLE = ("allocate", "write_at")

PAGE, SECTOR = 4096, 512
NOTHING, PART, ALL = "nothing", "a part", "all"  # what a dying process did of its last operation


class Killed(BaseException):
    """The process is dead: no clean-up that catches errors may catch this and go on."""


class Trace(Protocol):
    """Who is told of everything that happens to the disk."""

    def note(self, name: str, given: tuple[Any, ...], result: Any) -> None:
        """An operation was done. result: what it gave."""

    def lost(self, file: int) -> None:
        """Flushing an open file failed: what was to be flushed may be on the disk or gone."""


class Disk:
    """A disk that works. It counts the operations; flushing is left out, for only a power cut would tell.

    trace: is told of every operation that changes something.
    """

    def __init__(self, trace: Trace | None = None) -> None:
        self.calls = 0
        self.names: list[str] = []
        self.turn = threading.RLock()
        self._trace = trace
        self._real: dict[str, Callable[..., Any]] = {name: getattr(disk, name) for name in (*CHANGES, *READS)}

    def operate(self, name: str, *given: Any) -> Any:
        """What a call of featurecache.disk.NAME comes to."""
        if name in CHANGES:
            self.calls += 1
            self.names.append(name)
        return self.perform(name, *given)

    def perform(self, name: str, *given: Any) -> Any:
        """Do it."""
        result = None if name in SYNCS else self._real[name](*given)
        if self._trace and name in CHANGES:
            self._trace.note(name, given, result)
        return result

    def perform_part(self, name: str, *given: Any) -> None:
        """Do a part of an operation on bytes: up to a page boundary, else a sector's, else half of it."""
        if name == "write_at":
            file, data, offset = given
            view = memoryview(data).cast("B")
            self.perform(name, file, view[: torn(offset, len(view))], offset)
        elif name == "allocate":
            self.perform(name, given[0], torn(0, given[1]))


class Dying(Disk):
    """The process ends at one operation, of which NOTHING, a PART or ALL is done; nothing is done ever after.

    at: the operation's number, from 1. tear: how much of it is done.
    """

    def __init__(self, at: int, tear: str, trace: Trace | None = None) -> None:
        super().__init__(trace)
        self.at, self.tear, self.dead = at, tear, False

    def operate(self, name: str, *given: Any) -> Any:
        if not self.dead and (name in READS or self.calls + 1 < self.at):
            return super().operate(name, *given)
        if not self.dead:
            self.dead = True
            if self.tear == ALL:
                _forget(self.perform(name, *given))
            elif self.tear == PART:
                self.perform_part(name, *given)
        raise Killed


class Failing(Disk):
    """One operation fails, or all from there on.

    at: the operation's number, from 1, reads counted too. error: an errno; None interrupts the process instead, as
    the user does. sticky: whether what comes later fails as well.
    """

    def __init__(self, at: int, error: int | None, sticky: bool = False, trace: Trace | None = None) -> None:
        super().__init__(trace)
        self.at, self.error, self.sticky = at, error, sticky
        self.every = 0
        self.failed: list[str] = []
        self.broken: set[int] = set()  # inodes of files whose flushing failed

    def operate(self, name: str, *given: Any) -> Any:
        self.every += 1
        due = self.every == self.at or (self.sticky and self.every > self.at)
        if not due or (self.error == errno.ENOSPC and name not in NEED_ROOM):
            return super().operate(name, *given)
        self.failed.append(name)
        if self.error is None:
            raise KeyboardInterrupt
        if name == "sync":
            self.broken.add(os.fstat(given[0]).st_ino)
            if self._trace:
                self._trace.lost(given[0])
        self.perform_part(name, *given)
        raise OSError(self.error, os.strerror(self.error))


@contextmanager
def on(replacement: Disk) -> Iterator[None]:
    """Inside the block every file operation of the cache goes through this disk."""
    real = {name: getattr(disk, name) for name in (*CHANGES, *READS)}
    try:
        for name in real:
            setattr(disk, name, partial(_in_turn, replacement, name))
        yield
    finally:
        for name, function in real.items():
            setattr(disk, name, function)


def _in_turn(replacement: Disk, name: str, *given: Any) -> Any:
    with replacement.turn:  # commits run in a thread of their own
        return replacement.operate(name, *given)


def torn(offset: int, length: int) -> int:
    """How many bytes of a torn write are there: up to a boundary in its middle."""
    for size in (PAGE, SECTOR):
        first = size - offset % size
        if first < length:
            return first + (length - first - 1) // size // 2 * size
    return length // 2


def _forget(result: Any) -> None:
    if isinstance(result, int):  # a file that was opened and reached nobody
        os.close(result)
