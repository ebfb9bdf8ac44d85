"""The extraction, the check and every fit at several numbers of rows, each in a fresh process."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from growing.commanded import measured
from growing.made import extraction, source_file

QUICK = 10.0  # seconds up to which a measurement is made twice
TASKS: dict[str, tuple[str, ...]] = {
    "verify": ("verify",),
    "joint": ("fit", "joint"),
    "ncm": ("fit", "ncm"),
    "lda": ("fit", "lda"),
    "lws": ("fit", "lws"),
    "crt": ("fit", "crt"),
    "crt, whole passes": ("fit", "crt", "--tol", "0.1"),
    "balanced_softmax": ("fit", "balanced_softmax"),
    "temperature": ("fit", "temperature", "--on", "train"),
    "tau_norm, tuned": ("tune", "tau_norm", "--on", "train"),
    "logit_adjust, tuned": ("tune", "logit_adjust", "--on", "train"),
}
Run = dict[str, Any]


def words_of(task: str, cache: Path) -> list[str]:
    """The words of a task's command on a cache; its head is written beside that."""
    command, *rest = TASKS[task]
    if command == "verify":
        return ["verify", str(cache)]
    method, *options = rest
    return [command, method, str(cache), *options, "--out", str(cache.with_name("head.safetensors"))]


def grown(work: Path, sizes: Sequence[int], tasks: Mapping[str, tuple[str, ...]] = TASKS) -> dict[str, list[Run]]:
    """What every task took at every size, a list of runs each; the caches are left in the folder as ROWS.cache.

    work: an empty folder. sizes: ascending. The first entry is the extraction.
    """
    small = cache_of(work, sizes[0])
    runs: dict[str, list[Run]] = {name: [] for name in ("extract", *tasks)}
    for rows in sizes:
        cache, source = cache_of(work, rows), source_file(work, rows)
        for _ in _turns():
            shutil.rmtree(cache, ignore_errors=True)
            warm = work / "warm.cache"
            shutil.rmtree(warm, ignore_errors=True)
            first = extraction(warm, source_file(work, sizes[0]))
            _add(runs["extract"], rows, measured(first, extraction(cache, source)), "extract")
    for name in tasks:
        for rows in sizes:
            for _ in _turns():
                _add(runs[name], rows, measured(words_of(name, small), words_of(name, cache_of(work, rows))), name)
    return runs


def cache_of(work: Path, rows: int) -> Path:
    """Where the cache of so many rows is."""
    return work / f"{rows}.cache"


def _turns() -> Iterator[int]:
    """Once, and once more where that was quick."""
    began = time.perf_counter()
    yield 1
    if time.perf_counter() - began < QUICK:
        yield 2


def _add(runs: list[Run], rows: int, run: Run, name: str) -> None:
    runs.append({"rows": rows, **run})
    print(f"{name}, {rows:,} rows: {run['seconds']:.1f} s, {run['anonymous'] / 1e6:.0f} MB", file=sys.stderr)
