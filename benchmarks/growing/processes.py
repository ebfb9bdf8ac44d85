"""One job on several processes of this machine, as torchrun starts it.

As a program under torchrun it is one rank of a fit that says how long it took: -m growing.processes fit METHOD …
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from growing.commanded import FOLDER
from growing.made import extraction, source_file
from growing.sizes import cache_of

WORLDS = (1, 2, 3, 4)
ROWS = 500_000  # of the extractions
FIT = ("fit", "crt", "--tol", "0.1")
TOOK = re.compile(r"took ([\d.]+)")
SECONDS = re.compile(r'"seconds": ([\d.]+), "rows_per_second": [\d.]+')


def job(world: int, words: Sequence[str], *, program: str = "rebalance") -> subprocess.Popen[str]:
    """A command on so many processes with one thread each. program: the module that each runs."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}"]
    return subprocess.Popen(
        [*launcher, "-m", program, *words],
        cwd=FOLDER,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str], *, fails: bool = False) -> str:
    """What a job printed; RuntimeError where it failed, or where it did not and should have."""
    out, told = process.communicate()
    if bool(process.returncode) != fails:
        raise RuntimeError(f"a job ended with {process.returncode}: {told[-2000:]}")
    return out


def speeds(work: Path, sizes: Sequence[int], worlds: Sequence[int] = WORLDS, rows: int = ROWS) -> list[dict[str, Any]]:
    """Rows a second of an extraction and of a fit, by number of processes.

    work: with the caches of `sizes`. rows: of the extractions. Times are those of the slowest process, without its
    start.
    """
    judged = max(size for size in sizes if size <= 1_000_000)
    found = []
    for world in worlds:
        cache = work / f"world_{world}.cache"
        out = finished(job(world, [*extraction(cache, source_file(work, rows)), "--json"]))
        passes = [float(text) for text in SECONDS.findall(out)]
        shutil.rmtree(cache)
        fit, whole = _fit_seconds(world, cache_of(work, judged))
        found.append(
            {
                "processes": world,
                "extracted": rows,
                "extract_seconds": max(passes),
                "ranks_seen": len(passes),
                "fitted": judged,
                "fit_seconds": fit,
                "start_seconds": whole - fit,
            }
        )
        print(f"{world} processes: {found[-1]}", file=sys.stderr)
    return found


def _fit_seconds(world: int, cache: Path) -> tuple[float, float]:
    """Seconds of a fit, and of the whole job."""
    command, method, *options = FIT
    began = time.perf_counter()
    head = cache.with_name("several.safetensors")
    words = [command, method, str(cache), *options, "--out", str(head)]
    out = finished(job(world, words, program="growing.processes"))
    return max(float(text) for text in TOOK.findall(out)), time.perf_counter() - began


def main(words: Sequence[str]) -> None:
    """Run a fit and print what it took, the check of its rows included."""
    import rebalance_cli.fit
    from rebalance_cli.main import cli

    def timed(*given: Any) -> Any:
        began = time.perf_counter()
        head = fitted(*given)
        os.write(1, f"took {time.perf_counter() - began:.4f}\n".encode())  # not through what only the first may print
        return head

    fitted = rebalance_cli.fit.fitted_head
    with patch.object(rebalance_cli.fit, "fitted_head", timed):
        cli(list(words), standalone_mode=False)


if __name__ == "__main__":
    main(sys.argv[1:])
