"""What is left of a cache when the process is killed, the disk is full or fails, or the power goes?

Run: python benchmarks/crash.py [--only kill,full,power] [--seed 0]
All of it takes about five minutes on one core. The disk is replaced by one that fails where it is told to, see
`crashing/`; a real small file system is used too where the user may mount one.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROWS = ("kill", "full", "power")
MEMORY = Path("/dev/shm")  # flushing is left out, so a disk in memory is as good as any


def main() -> None:
    """Prints the machine, the versions, and the rows that are asked for; exit code 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default=",".join(ROWS), help="rows, comma-separated (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn at random (default: 0)")
    options = parser.parse_args()
    asked = options.only.split(",")
    if unknown := [name for name in asked if name not in ROWS]:
        parser.error(f"no row {unknown[0]!r}; there are {', '.join(ROWS)}")
    for library in ("OMP", "MKL", "OPENBLAS"):  # read once, when torch and NumPy's BLAS are loaded
        os.environ[f"{library}_NUM_THREADS"] = "1"

    from crashing.report import ROWS_OF, Report
    from speed.measure import machine

    print(machine())
    print("one thread; two splits of float32 features, six shards, batches of 4 rows, every batch committed")
    print(
        "wrong would be: a file under its final name that is not whole, rows computed again, a refusal of more than one"
    )
    print("line, a commit after a failed flush, files left open, another byte or another file in the end")
    report, begun = Report(), time.perf_counter()
    for name in asked:
        row: Callable[[Report, Path, int], None] = ROWS_OF[name]
        with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
            row(report, Path(folder), options.seed)
    print(f"\n{time.perf_counter() - begun:.0f} s in all")
    sys.exit(0 if report.met else 1)


if __name__ == "__main__":
    main()
