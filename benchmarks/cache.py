"""What do durability, reading and checking of the cache cost, next to h5py and plain files of the same bytes?

Run: python benchmarks/cache.py [--only durability,read,shuffled,memory] [--work DIR]
All of it takes some minutes and 13 GB of free disk. DIR should be on the disk that caches will lie on.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

ROWS = ("durability", "read", "shuffled", "memory")


def main() -> None:
    """Prints the machine, the versions, and the rows that are asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default=",".join(ROWS), help="rows, comma-separated (default: all)")
    parser.add_argument("--work", type=Path, help="where files are made (default: a temporary folder)")
    options = parser.parse_args()
    asked = options.only.split(",")
    if unknown := [name for name in asked if name not in ROWS]:
        parser.error(f"no row {unknown[0]!r}; there are {', '.join(ROWS)}")
    for library in ("OMP", "MKL", "OPENBLAS"):
        os.environ[f"{library}_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        measure(asked, Path(folder))


def measure(asked: list[str], work: Path) -> None:
    """Print the rows of these names; files are made in the folder `work`."""
    from caching import durability, memory, reading
    from speed.measure import machine

    rows = {
        "durability": durability.durability,
        "read": reading.whole,
        "shuffled": reading.shuffled,
        "memory": memory.memory,
    }
    print(machine())
    print("wall seconds, medians (smallest .. largest), one thread; what is compared takes turns on one disk")
    for name in asked:
        rows[name](work)


if __name__ == "__main__":
    main()
