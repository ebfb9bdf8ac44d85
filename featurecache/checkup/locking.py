"""Does a lock on this disk keep two processes apart, and does it end with its holder?"""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from featurecache.checkup.finding import Finding, failed, passed, warned
from featurecache.shards.lock import LOCK, BeingWritten, Lock

NAME = "locks"
PATIENCE = 5.0  # seconds after which a killed process should hold no lock
START = 10.0  # seconds for a process to begin
HOLDER = """
import fcntl, os, sys
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o666)
fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
print("held", flush=True)
sys.stdin.read()
"""
APART = "give every run a cache folder of its own, or put the cache on a local disk"


def locking(spot: Path) -> Finding:
    """Our lock while another process holds it, and after that was killed. spot: a folder to try it in."""
    target = spot / "locked"
    mine = Lock(target)
    real = mine.is_real
    mine.release()
    if not real:
        return warned(NAME, "this disk knows no file locks, so two runs that write one cache are not noticed", APART)
    with _held(target.with_name(target.name + LOCK)) as holder:
        if holder is None:
            return warned(NAME, "a second process could not take a lock", APART)
        try:
            Lock(target).release()
        except BeingWritten:
            pass
        else:
            return failed(NAME, "two processes hold the same lock at once", APART)
        begun = time.monotonic()
        holder.kill()
        holder.wait()
        try:
            Lock(target, patience=PATIENCE).release()
        except BeingWritten:
            said = f"the lock of a killed process is still held after {PATIENCE:g} s"
            return warned(NAME, said, "after a crash wait for the disk's server to let it go, or use a local disk")
    freed = time.monotonic() - begun
    return passed(NAME, f"keep two processes apart, and end with a killed one ({1000 * freed:.0f} ms)")


@contextmanager
def _held(file: Path) -> Iterator[subprocess.Popen[bytes] | None]:
    """Another process that holds a lock on the file; None where it could not take it."""
    command = [sys.executable, "-I", "-S", "-c", HOLDER, os.fspath(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            with selectors.DefaultSelector() as waiting:
                waiting.register(process.stdout, selectors.EVENT_READ)  # type: ignore[arg-type]  # it is a pipe
                answered = waiting.select(START)
            held = bool(answered) and os.read(process.stdout.fileno(), 100).startswith(b"held")  # type: ignore[union-attr]
            yield process if held else None
        finally:
            process.kill()
