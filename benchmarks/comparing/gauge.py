"""What a process takes of the memory, and how much it may take."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

STATUS, PEAK_RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
SHARE = 0.8  # of the memory that is free when a comparison begins


def resident() -> int:
    """Bytes of this process that lie in memory now: libraries, arrays and the pages of mapped files it has touched.

    Where the system does not say, the highest so far.
    """
    return _status("VmRSS") or peak()


def peak() -> int:
    """The highest `resident` so far, since `forget_peak` where the system can forget."""
    # getrusage would also count what the starting process held before it became this one.
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def forget_peak() -> None:
    """Begin `peak` anew, on Linux; importing libraries may have taken more than they leave."""
    if PEAK_RESET.exists():
        PEAK_RESET.write_text("5")


def allowed() -> int | None:
    """Bytes that a candidate may take; None where the system does not tell what is free."""
    file = Path("/proc/meminfo")
    if not file.exists():
        return None
    free = next(line for line in file.read_text().splitlines() if line.startswith("MemAvailable"))
    return int(SHARE * int(free.split()[1]) * 1024)


def refuse_more_than(size: int | None) -> None:
    """From now on an array beyond so many bytes of this process is a MemoryError, on Linux: before others suffer."""
    if size is not None and sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def _status(name: str) -> int:
    lines = STATUS.read_text().splitlines() if STATUS.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), 0)
