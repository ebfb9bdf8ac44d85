"""Work done ahead of whoever asks for it: a thread and a queue of bounded length between two stages."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 5.0  # seconds that an item which is being made is waited for at the end
LOOK = 0.1  # seconds between two looks of a blocked stage at whether anyone still waits for it


class Gate:
    """Where work waits until it may go on, or is told that it will not."""

    def __init__(self) -> None:
        self._decided, self._open = threading.Event(), False

    def open(self) -> None:
        """Let the work go on."""
        self._open = True
        self._decided.set()

    def shut(self) -> None:
        """Let nothing pass from now on that has not passed yet."""
        if not self._decided.is_set():
            self._decided.set()

    def passed(self) -> bool:
        """Wait for the decision; whether it is to go on."""
        self._decided.wait()
        return self._open


def ahead(items: Generator[T, None, None], depth: int, *, gate: Gate | None = None) -> Generator[T, None, None]:
    """The same items, each made while the one before it is being used.

    The generator runs in a thread of its own, where it is also closed; at most `depth` items wait. An exception of it
    is raised here, in the items' order. Close this generator to end it. An item that is being
    made is waited for, but not for ever: a disk or a model that hangs must not keep Ctrl-C from ending.

    gate: the second item is not begun before it opens; where it shuts, the first is the last.
    """
    waiting: queue.Queue[tuple[bool, T | BaseException | None]] = queue.Queue(depth)
    stopped = threading.Event()

    def put(more: bool, item: T | BaseException | None) -> bool:
        while not stopped.is_set():
            try:
                waiting.put((more, item), timeout=LOOK)
            except queue.Full:
                continue
            return True
        return False

    def make() -> None:
        try:
            for item in items:
                if not put(True, item):
                    return
                if gate is not None and not gate.passed():
                    break
            put(False, None)
        except BaseException as error:
            put(False, error)
        finally:
            items.close()

    thread = threading.Thread(target=make, name="featurecache-ahead", daemon=True)
    thread.start()
    try:
        while True:
            more, item = waiting.get()
            if more:
                yield item  # type: ignore[misc]
                del item  # a batch is large: it must not live on while the next is waited for
            elif item is None:
                return
            else:
                raise item  # type: ignore[misc]
    finally:
        stopped.set()
        thread.join(PATIENCE)


class Clock:
    """Seconds that each stage worked; stages that overlap add up to more than the time that passed."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Count the block's time for a stage; a stage belongs to one thread at a time."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - began
