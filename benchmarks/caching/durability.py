"""What do commits cost, next to h5py appends that promise nothing?"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import h5py
from speed.measure import Timing, state

from caching import problem
from featurecache import writer as writing

ROWS = 128 * problem.BLOCK
RUNS = 7


def durability(work: Path) -> None:
    """128 blocks, 400 MB: h5py append without any flush; ours committing every block, and as it does by default.

    h5py runs as most people write it (chunks of its own choice) and with chunks of a block, its best case here.
    """
    times: dict[str, list[float]] = {}
    for turn in range(RUNS + 1):
        for name, run in RUNNERS.items():
            shutil.rmtree(work / "x", ignore_errors=True)
            (work / "x").mkdir()
            os.sync()  # so that nobody waits for the writes of those before
            for part, seconds in run(work / "x").items():
                if turn:  # the first turn pays for memory that later ones have
                    times.setdefault(f"{name}, {part}" if part else name, []).append(seconds)
    shutil.rmtree(work / "x")
    timings = {name: Timing(seconds, None) for name, seconds in times.items()}
    blocks = ROWS // problem.BLOCK
    print(f"\n{blocks} blocks of 256 x (2,048 + 1,000) float32, {ROWS * 4 * 3048 / 1e6:.0f} MB")
    for name, timing in timings.items():
        print(f"  {name:<44}{timing}  {1e3 * timing.median / blocks:5.2f} ms a block")
    print("  ours commits in a second thread by default; a commit every block is waited for in the first")
    for baseline in APPENDS:
        append = timings[baseline].median
        print(f"  next to {baseline}:")
        for policy in ("a commit every block", "as by default"):
            alone, whole = (timings[f"{policy}, {part}"].median for part in ("commits alone", "with verify and rename"))
            state(f"{policy}: commits alone {append / alone:.2f} times faster; target 1.4", append / alone >= 1.4)
            state(
                f"{policy}: with verify and rename {whole / append:.2f} of its time; target 1.25",
                whole <= 1.25 * append,
            )


def append(chunked: bool) -> Callable[[Path], dict[str, float]]:
    """h5py, no flush before the end. chunked: in chunks of a block, else of h5py's choice."""

    def run(folder: Path) -> dict[str, float]:
        start = time.perf_counter()
        with h5py.File(folder / "a.h5", "w") as file:
            made = {}
            for name, values in problem.block(0).items():
                chunks = values.shape if chunked else None
                shape = (0, *values.shape[1:])
                made[name] = file.create_dataset(
                    name, shape, values.dtype, maxshape=(None, *values.shape[1:]), chunks=chunks
                )
            for number in range(ROWS // problem.BLOCK):
                for name, values in problem.block(number).items():
                    made[name].resize((number + 1) * problem.BLOCK, axis=0)
                    made[name][number * problem.BLOCK :] = values
        return {"": time.perf_counter() - start}

    return run


def ours(commit_bytes: int) -> Callable[[Path], dict[str, float]]:
    """The shard writer, committing whenever so many bytes are pending."""

    def run(folder: Path) -> dict[str, float]:
        usual, writing.COMMIT_BYTES = writing.COMMIT_BYTES, commit_bytes
        try:
            start = time.perf_counter()
            with writing.ShardWriter(folder, problem.plan(ROWS), "train", 0, problem.columns(ROWS)) as writer:
                for number in range(ROWS // problem.BLOCK):
                    writer.write(number, problem.block(number))
                writer.commit()
                committed = time.perf_counter()
                writer.finish()
            return {"commits alone": committed - start, "with verify and rename": time.perf_counter() - start}
        finally:
            writing.COMMIT_BYTES = usual

    return run


APPENDS = ("h5py append, its own chunks", "h5py append, chunks of a block")
RUNNERS: dict[str, Callable[[Path], dict[str, float]]] = {
    APPENDS[0]: append(chunked=False),
    APPENDS[1]: append(chunked=True),
    "a commit every block": ours(0),
    "as by default": ours(writing.COMMIT_BYTES),
}
