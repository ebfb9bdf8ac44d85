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
    """128 blocks, 400 MB: h5py append without any flush; ours committing every block, and as it does by default."""
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
    append = timings["h5py append, no flush"].median
    for policy in ("a commit every block", "as by default"):
        alone, whole = (timings[f"{policy}, {part}"].median for part in ("commits alone", "with verify and rename"))
        state(f"{policy}: commits alone {append / alone:.2f} times faster; target 1.4", append / alone >= 1.4)
        state(f"{policy}: with verify and rename {whole / append:.2f} of its time; target 1.25", whole / append <= 1.25)


def append(folder: Path) -> dict[str, float]:
    """h5py, chunks of a block, no flush before the end."""
    start = time.perf_counter()
    with h5py.File(folder / "a.h5", "w") as file:
        made = {}
        for name, values in problem.block(0).items():
            shape = (problem.BLOCK, *values.shape[1:])
            made[name] = file.create_dataset(
                name, (0, *shape[1:]), values.dtype, maxshape=(None, *shape[1:]), chunks=shape
            )
        for number in range(ROWS // problem.BLOCK):
            for name, values in problem.block(number).items():
                made[name].resize((number + 1) * problem.BLOCK, axis=0)
                made[name][number * problem.BLOCK :] = values
    return {"": time.perf_counter() - start}


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


RUNNERS: dict[str, Callable[[Path], dict[str, float]]] = {
    "h5py append, no flush": append,
    "a commit every block": ours(0),
    "as by default": ours(writing.COMMIT_BYTES),
}
