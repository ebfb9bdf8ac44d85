"""Who writes a file: a lock that the system drops when its holder dies.

A guard only: two runs that would write the same shard find out at once. Network disks may know no locks; there the
shares of the ranks (see featurecache.plan) are what keeps writers apart.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from featurecache import disk
from featurecache.layout import shown

if sys.platform != "win32":
    import fcntl

LOCK = ".lock"
NO_LOCKS = {errno.EBADF, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
MAX_HOLDER = 1000  # bytes of a lock file that are read


class BeingWritten(ValueError):
    """Another process holds the lock; the message is one line and says which."""


class Lock:
    """The lock on the writing of a file, held until `release`.

    is_real: whether the disk knows locks.
    target: what is written. patience: seconds to wait for it. BeingWritten when another process holds it.
    """

    def __init__(self, target: Path, *, patience: float = 0.0) -> None:
        self._path = target.with_name(target.name + LOCK)
        deadline = time.monotonic() + patience
        while (file := self._try()) is None:
            if time.monotonic() >= deadline:
                raise _being_written(target, self._path)
            time.sleep(0.01)
        self._file = file
        _HELD.add(self)
        try:
            disk.truncate(file, 0)
            disk.write_at(file, _myself(), 0)
        except BaseException:
            self.release()
            raise

    def _try(self) -> int | None:
        """The locked file, or None where another process holds it."""
        while True:
            file = disk.create_or_keep(self._path)
            try:
                self.is_real = _grab(file)
                if not self.is_real or _is(file, self._path):
                    return file
            except BlockingIOError:
                os.close(file)
                return None
            except BaseException:
                os.close(file)
                raise
            os.close(file)  # its holder removed it between our opening and locking it: open the new one

    def release(self) -> None:
        """Let others write."""
        if self._file < 0:  # a child's copy
            return
        _HELD.discard(self)
        try:
            disk.remove(self._path)
        finally:
            os.close(self._file)
            self._file = -1

    def leave_to_parent(self) -> None:
        """Close this process's copy of its parent's lock, which stays held."""
        os.close(self._file)
        self._file = -1


# A forked child inherits the open file, and the lock would outlive the parent in it: so it closes it first of all.
_HELD: weakref.WeakSet[Lock] = weakref.WeakSet()


def _leave_to_parent() -> None:
    for lock in list(_HELD):
        lock.leave_to_parent()
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


def check_unlocked(target: Path) -> None:
    """BeingWritten when another process holds the lock; nothing is written."""
    path = target.with_name(target.name + LOCK)
    try:
        with disk.opened(path) as file:
            _grab(file.fileno())  # and closing drops it
    except FileNotFoundError:
        return
    except BlockingIOError:
        raise _being_written(target, path) from None


def lock_in_folder(target: Path, patience: float) -> Lock:
    """The lock, and the folder of its target made where there is none. patience: as of Lock."""
    while True:
        disk.make_folder(target.parent)
        try:
            return Lock(target, patience=patience)
        except FileNotFoundError:  # another process gave up and removed the folder, which was empty between the two
            continue


@contextmanager
def waiting(target: Path, seconds: float) -> Iterator[Lock]:
    """Hold the lock inside the block, after waiting so long for it. BeingWritten when that is not enough."""
    lock = Lock(target, patience=seconds)
    try:
        yield lock
    finally:
        lock.release()


def _grab(file: int) -> bool:
    """Whether there are locks here; OSError when another holds this one."""
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in NO_LOCKS:
            return False
        if error.errno in (errno.EAGAIN, errno.EACCES):
            raise BlockingIOError from error
        raise
    return True


def _is(file: int, path: Path) -> bool:
    """Whether the open file is the one of this name."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    mine = os.fstat(file)
    return (mine.st_ino, mine.st_dev) == (there.st_ino, there.st_dev)


def _myself() -> bytes:
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    return json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}).encode()


def _being_written(target: Path, lock: Path) -> BeingWritten:
    return BeingWritten(f"{shown(target)}: being written by {_holder(lock)}; wait for it, or stop it and run again")


def _holder(path: Path) -> str:
    """Who wrote the lock file, in words; it may be just being written, or a stranger's."""
    try:
        found = json.loads(disk.read_head(path, MAX_HOLDER))
        host, since = shown(str(found["host"])[:80]), shown(str(found["since"])[:40])
        return f"process {int(found['pid'])} on {host} since {since}"
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return "another process"
