"""A pipe in the place of a file, and a watch that sees whether somebody opens it.

A plain script, for two use it that may not import each other: the tests beside it and benchmarks/hostile.py both take
its name with runpy.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def unopened(canary: Path) -> Iterator[threading.Event]:
    """A pipe at the path, and an event that is set when somebody opens it to read."""
    os.mkfifo(canary)
    opened, over = threading.Event(), threading.Event()

    def wait() -> None:
        handle = os.open(canary, os.O_WRONLY)  # returns when there is a reader
        if not over.is_set():
            opened.set()
        os.close(handle)

    watch = threading.Thread(target=wait, daemon=True)
    watch.start()
    try:
        yield opened
    finally:
        over.set()
        if not opened.is_set():
            reader = os.open(canary, os.O_RDONLY | os.O_NONBLOCK)
            watch.join()
            os.close(reader)
        canary.unlink()
