"""What the machine gives a process: cores, shared memory, open files, the time."""

from __future__ import annotations

import math
import os
import sys
import time
from pathlib import Path

import torch

from featurecache.checkup.finding import Finding, passed, warned

if sys.platform != "win32":
    import resource

SHARED = Path("/dev/shm")
LEAST_SHARED = 2**30  # bytes; a container has 64 MiB unless told otherwise
LEAST_FILES = 1024
DAY = 86400.0  # seconds


def threads() -> Finding:
    """PyTorch's threads next to the cores that this process may use."""
    cores, count = usable_cores(), torch.get_num_threads()
    said = f"{count} for {cores} usable {'core' if cores == 1 else 'cores'}"
    if count > cores:
        return warned("threads", f"{said}: they wait for each other", f"export OMP_NUM_THREADS={cores}")
    if count < cores and "OMP_NUM_THREADS" in os.environ:
        return passed("threads", f"{said} (OMP_NUM_THREADS={os.environ['OMP_NUM_THREADS'][:20]})")
    return passed("threads", said)


def usable_cores(
    groups: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup"), there: int | None = None
) -> int:
    """Cores that this process may keep busy, at least 1: those it may run on, and its containers' share of time.

    groups: the file that says which control groups the process is in. mounted: where they are shown.
    there: cores it may run on; None: as the system says.
    """
    if there is None:
        there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    shares = [share for folder in _groups(groups, mounted) if (share := _share(folder)) is not None]
    return max(1, min([there, *(math.ceil(share) for share in shares)]))


def _groups(groups: Path, mounted: Path) -> list[Path]:
    """The folders of the groups that may limit the cores, and all above them."""
    try:
        lines = groups.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found: list[Path] = []
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" or "cpu" in controllers.split(","):
            top = mounted if number == "0" else mounted / controllers
            group = top / path.strip("/")
            found += [folder for folder in (group, *group.parents) if folder == top or top in folder.parents]
            found += [mounted / "cpu"] if number != "0" else []
    return found


def _share(folder: Path) -> float | None:
    """Cores' worth of time that a group gives; None where it sets no limit."""
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text("ascii").split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text("ascii").strip() for name in ("quota", "period"))
        share = int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # "max" is no number: there is no limit
        return None
    return share if share > 0 else None


def shared_memory(folder: Path = SHARED) -> Finding:
    """Room through which data loader processes hand batches over."""
    name = "shared memory"
    try:
        room = os.statvfs(folder)
    except (OSError, AttributeError):
        return passed(name, f"{folder} is not how this system shares memory")
    total, free = room.f_blocks * room.f_frsize, room.f_bavail * room.f_frsize
    said = f"{free / 2**20:,.0f} of {total / 2**20:,.0f} MiB free in {folder}"
    if free < LEAST_SHARED:
        return warned(
            name,
            f"{said}: data loader processes may die with a bus error",
            "start the container with more (docker run --shm-size=8g), or extract with --workers 0",
        )
    return passed(name, said)


def open_files() -> Finding:
    """How many files this process may hold open; every batch of a data loader process is one for a while."""
    name = "open files"
    if sys.platform == "win32":
        return passed(name, "not limited here")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < LEAST_FILES:
        most = "unlimited" if hard == resource.RLIM_INFINITY else str(hard)
        mend = f"ulimit -n {LEAST_FILES} (at most {most} here)"
        return warned(name, f"at most {soft}; data loader processes may run out of them", mend)
    return passed(name, "not limited" if soft == resource.RLIM_INFINITY else f"at most {soft}")


def clock(now: float | None = None) -> Finding:
    """The time next to that of this program's own files. now: seconds since 1970; None: the system's."""
    seconds = time.time() if now is None else now
    shown = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
    if seconds < Path(__file__).stat().st_mtime - DAY:
        return warned("clock", f"{shown}, before this program was installed", "set the clock")
    return passed("clock", shown)
