"""How much memory does a cache of 4 GB take while it is written and streamed?

Every job is a process of its own: python -m caching.memory JOB FOLDER, run in benchmarks/.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from speed.measure import anonymous_bytes, state, watched

ROWS, WIDTH, STEP = 500_000, 2048, 512  # float32: 4.1 GB
BLOCK = STEP * WIDTH * 4  # bytes
FOLDER = Path(__file__).resolve().parent.parent  # where `caching` is found


def memory(work: Path) -> None:
    """Written from an iterator of blocks, written from an array on the disk, streamed, and verified."""
    print(f"\nhighest anonymous memory beyond the start, a cache of {ROWS * WIDTH * 4 / 1e9:.1f} GB, blocks of 4 MiB")
    for job in JOBS:
        command = [sys.executable, "-m", "caching.memory", job, str(work)]
        found = json.loads(subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=True).stdout)
        beyond = found["highest"] - found["base"]
        state(
            f"{job}: {beyond / 1e6:.1f} MB (base {found['base'] / 1e6:.0f} MB); target 2 blocks, "
            f"{2 * BLOCK / 1e6:.1f} MB, and the {found['columns'] / 1e6:.1f} MB of labels and ids",
            beyond <= 2 * BLOCK + found["columns"],
        )


def blocks() -> Iterator[dict[str, Any]]:
    """All rows, a block at a time, in memory that is used again."""
    values = np.random.default_rng(0).standard_normal((STEP, WIDTH), np.float32)
    for start in range(0, ROWS, STEP):
        rows = np.arange(start, min(start + STEP, ROWS))
        yield {"features": values[: len(rows)], "labels": rows % 10}


def from_blocks(work: Path) -> None:
    from featurecache import write

    write(work / "large", "train", blocks(), dtype="float32")


def from_array(work: Path) -> None:
    from featurecache import write

    source = np.memmap(work / "large.bin", np.float32, "r", shape=(ROWS, WIDTH))
    write(work / "again", "train", source, np.arange(ROWS) % 10, dtype="float32")


def streamed(work: Path) -> None:
    from featurecache import FeatureCache

    for features, _ in FeatureCache(work / "large")["train"].blocks(STEP):
        float(features.sum())


def verified(work: Path) -> None:
    from featurecache import FeatureCache

    FeatureCache(work / "large", verify=True)


JOBS = {"write, blocks": from_blocks, "write, array": from_array, "stream": streamed, "verify": verified}


def main() -> None:
    """Run one job and print its memory as JSON."""
    import featurecache

    job, work = sys.argv[1], Path(sys.argv[2])
    if job == "write, array":
        with (work / "large.bin").open("wb") as file:
            for block in blocks():
                file.write(block["features"].data)
    _ = featurecache.FeatureCache  # what is imported is part of the base
    next(blocks())
    base = anonymous_bytes()
    with watched() as highest:
        JOBS[job](work)
        most = highest()
    # labels int64 (given, checked and joined) and ids of six digits are held for all rows
    columns = {"write, blocks": 3 * 8 * ROWS, "write, array": 3 * 8 * ROWS}.get(job, 8 * ROWS)
    print(json.dumps({"base": base, "highest": most, "columns": columns}))


if __name__ == "__main__":
    main()
