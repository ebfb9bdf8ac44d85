"""The clock, the memory gauge, and how a comparison is printed."""

from __future__ import annotations

import os
import platform
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("featurecache-rebalance", "torch", "numpy", "scikit-learn")
EVERY = 0.01  # seconds between two looks at the memory


@dataclass(frozen=True)
class Timing:
    """What several runs of one thing took, and what the last of them returned. times: (runs,) wall seconds."""

    times: list[float]
    result: Any

    @property
    def median(self) -> float:
        return statistics.median(self.times)

    def __str__(self) -> str:
        spread = f", {min(self.times):.3f} .. {max(self.times):.3f}" if len(self.times) > 1 else ""
        return f"{self.median:9.3f} s  ({len(self.times)} run{'s' if spread else ''}{spread})"


def in_turns(*works: tuple[Callable[[], Any], int]) -> list[Timing]:
    """The timings of several (work, runs), run in turns so that a busy machine slows all.

    What runs more than once runs once before, uncounted: the first run pays for memory that later ones have.
    """
    for work, runs in works:
        if runs > 1:
            work()
    times: list[list[float]] = [[] for _ in works]
    results: list[Any] = [None for _ in works]
    for turn in range(max(runs for _, runs in works)):
        for i, (work, runs) in enumerate(works):
            if turn < runs:
                start = time.perf_counter()
                results[i] = work()
                times[i].append(time.perf_counter() - start)
    return [Timing(each, result) for each, result in zip(times, results, strict=True)]


def machine() -> str:
    """The machine and the versions, two lines."""
    model = next((line for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "").partition(":")[2]
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    where = (
        f"{platform.platform()}, {os.cpu_count()} cores{model and ' of' + model}, Python {platform.python_version()}"
    )
    return f"{where}\n{versions}"


def verdict(met: bool) -> str:
    return "met" if met else "MISSED"


def compare(what: str, ours: Timing, other: str, theirs: Timing, *, target: float) -> None:
    """Print one comparison of times. target: how many times faster it has to be."""
    ratio = theirs.median / ours.median
    print(f"\n{what}")
    print(f"  {'ours':<34}{ours}")
    print(f"  {other:<34}{theirs}")
    print(f"  {ratio:.1f} times faster; target {target:g}: {verdict(ratio >= target)}", flush=True)


def state(what: str, met: bool) -> None:
    """Print one more condition of the comparison above it."""
    print(f"  {what}: {verdict(met)}", flush=True)


def anonymous_bytes() -> int:
    """This process's anonymous memory now; mapped files do not count."""
    line = next(line for line in _lines("/proc/self/status") if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


@contextmanager
def watched() -> Iterator[Callable[[], int]]:
    """Inside the block, a function that gives the highest anonymous memory so far, in bytes."""
    highest, stop = [anonymous_bytes()], threading.Event()

    def look() -> None:
        while not stop.wait(EVERY):
            highest[0] = max(highest[0], anonymous_bytes())

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield lambda: max(highest[0], anonymous_bytes())
    finally:
        stop.set()
        thread.join()


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
