"""Jobs of several processes one of which is killed, gone on with by another number of processes."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from featurecache import FeatureCache
from growing.made import extraction, source_file
from growing.processes import finished, job

ROWS, BATCH, PAUSE = 300_000, 1024, 0.05  # a batch's pause keeps all ranks at work for some seconds
CHAINS = ((4, 3, 1), (3, 4), (2, 1, 4))  # processes, job after job; one of each job but the last is killed
WRITTEN = re.compile(r'"written": \{(?:"train": (\d+))?\}')
PATIENCE = 120.0  # seconds that a job may take to commit its first rows


def resumed(
    work: Path, chains: Sequence[Sequence[int]] = CHAINS, *, rows: int = ROWS, pause: float = PAUSE
) -> list[dict[str, Any]]:
    """What became of every chain of jobs on one cache.

    worlds: processes of each job. kept: rows that were safe after each kill. written: rows that the last job computed.
    again: rows that were computed although they were safe. same: whether the cache has the bytes of one that nobody
    disturbed, of as many processes as the first job. verified: whether every byte is that of its checksum.
    """
    source, found = source_file(work, rows, pause=pause), []
    for number, worlds in enumerate(chains):
        cache, whole = work / f"killed_{number}.cache", work / f"whole_{worlds[0]}.cache"
        kept = []
        for turn, world in enumerate(worlds[:-1]):
            # Further on from job to job, so that each has something to lose.
            kept.append(_killed(cache, world, source, rows, at_least=(turn + 1) / (len(worlds) + 1)))
        out = finished(job(worlds[-1], [*extraction(cache, source, batch=BATCH), "--json"]))
        written = sum(int(text) for text in WRITTEN.findall(out) if text)
        if not whole.exists():
            finished(job(worlds[0], extraction(whole, source, batch=BATCH)))
        FeatureCache(cache).verify()  # raises at the first byte that is another
        again = written - (rows - kept[-1])
        same = tree_of(cache) == tree_of(whole)
        found.append(
            {"worlds": list(worlds), "kept": kept, "written": written, "again": again, "same": same, "verified": True}
        )
        print(f"killed: {found[-1]}", file=sys.stderr)
    return found


def tree_of(folder: Path) -> dict[str, bytes]:
    """Every file under a folder, by its relative path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _killed(cache: Path, world: int, source: Path, rows: int, *, at_least: float) -> int:
    """Start a job, kill one of its processes when a part of the rows is safe; the rows that are safe afterwards."""
    process = job(world, extraction(cache, source, batch=BATCH))
    deadline = time.monotonic() + PATIENCE
    while safe(cache) < at_least * rows:
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            told = process.communicate()[1][-2000:]
            raise RuntimeError(f"{world} processes, {safe(cache)} rows safe, and no moment to kill one: {told}")
        time.sleep(0.02)
    os.kill(ranks_of(process.pid)[-1], signal.SIGKILL)
    finished(process, fails=True)
    return safe(cache)


def safe(cache: Path) -> int:
    """Rows that need not be computed again."""
    try:
        train = FeatureCache(cache).describe()["splits"]["train"]
    except (OSError, ValueError, KeyError):  # not begun, or another process is just making a file
        return 0
    return int(train["rows"] if train["complete"] else train["rows_done"])


def ranks_of(launcher: int) -> list[int]:
    """The processes that torchrun started, by rank."""
    ranks = {}
    for task in Path(f"/proc/{launcher}/task").iterdir():
        for child in (task / "children").read_text().split():
            entries = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
            rank = next((entry for entry in entries if entry.startswith(b"RANK=")), None)
            if rank is not None:
                ranks[int(rank[5:])] = int(child)
    return [ranks[rank] for rank in sorted(ranks)]
