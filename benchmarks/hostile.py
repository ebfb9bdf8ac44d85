"""What does a hostile HDF5 file do to the cache's reader and to `rebalance convert`?

Run: python benchmarks/hostile.py    (about half a minute; Linux)

Every file of the corpus is given to both: in the place of a shard of an honest cache, and as a foreign file. Asked of
each: is it refused with one line (or, where it is only odd, read with the right numbers), in what time, with how much
anonymous memory beyond that of the process, and was the file it points at opened? That file is a pipe whose other end
notices a reader. The corpus is the one of the tests, taken from its script with runpy because nothing is imported from
tests.
"""

from __future__ import annotations

import resource
import runpy
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from speed.measure import anonymous_bytes, machine, verdict, watched

from featurecache import FeatureCache, write
from featurecache.convert import convert_in

CORPUS = Path(__file__).parent.parent / "tests" / "featurecache" / "convert"
FILES = runpy.run_path(str(CORPUS / "hostile_files.py"))
UNOPENED = runpy.run_path(str(CORPUS / "canary.py"))["unopened"]
MOST_SECONDS = {"as a shard": 1.0, "in convert": 10.0}
MOST_BYTES = 64 * 2**20
LONGEST = 800  # characters of a refusal


@dataclass(frozen=True)
class Outcome:
    """What became of one file. says: the refusal, or nothing where it was read. grown: bytes of anonymous memory."""

    says: str
    seconds: float
    grown: int
    opened: bool


def observed(work: Callable[[], Any], canary: Path) -> Outcome:
    """The outcome of some work that may not open the canary; any error but a refusal ends the benchmark."""
    before, start, says = anonymous_bytes(), time.perf_counter(), ""
    with UNOPENED(canary) as opened, watched() as highest:
        try:
            work()
        except (ValueError, OSError) as error:
            says = str(error)
        return Outcome(says, time.perf_counter() - start, max(0, highest() - before), opened.is_set())


def read_as_shard(file: Path, honest: Path, canary: Path) -> Outcome:
    """The file in the place of the only shard of a copy of an honest cache."""
    cache = file.with_name("copy.cache")
    shutil.copytree(honest, cache)
    shard = cache / "train" / "00000.h5"
    shard.unlink()
    file.rename(shard)
    try:
        return observed(lambda: FeatureCache(cache)["train"], canary)
    finally:
        shard.rename(file)
        shutil.rmtree(cache)


def converted(file: Path, says: tuple[str, ...], canary: Path) -> tuple[Outcome, bool]:
    """What `convert` makes of the file, and whether that is right."""
    cache = file.with_name("new.cache")
    outcome = observed(lambda: convert_in(file, cache, "train"), canary)
    if says:
        return outcome, bool(outcome.says) and all(each in outcome.says for each in says)
    if outcome.says:
        return outcome, False
    split = FeatureCache(cache)["train"]
    same = np.array_equal(split.features, FILES["FEATURES"]) and np.array_equal(split.labels, FILES["LABELS"])
    return outcome, same


def is_one_line(outcome: Outcome, folder: Path) -> bool:
    """Whether a refusal is one line of a length that fits on a screen, beside the path in it."""
    return outcome.says.splitlines() in ([], [outcome.says]) and len(outcome.says.replace(str(folder), "")) < LONGEST


def main() -> None:
    """Prints the machine, one line a file, and whether the targets were met."""
    print(machine())
    print(f"h5py {h5py.version.version}, HDF5 {h5py.version.hdf5_version}")
    print("\neach file: seconds and MB of memory as a shard, then in convert, then what convert says\n")
    outcomes: list[Outcome] = []
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as place:
        honest = Path(place) / "honest.cache"
        write(honest, "train", torch.zeros(6, 4), torch.tensor([0, 1, 2, 0, 1, 2]))
        for number, (name, (build, *says)) in enumerate(FILES["CASES"].items()):
            folder = Path(place) / str(number)
            folder.mkdir()
            file, canary = folder / "foreign.h5", folder / "canary"
            build(file, canary)
            shard = read_as_shard(file, honest, canary)
            foreign, right = converted(file, tuple(says), canary)
            outcomes += [shard, foreign]
            if not (right and shard.says and is_one_line(shard, folder) and is_one_line(foreign, folder)):
                wrong.append(name)
            said = foreign.says.replace(f"{file}: ", "").replace(str(file), "the file") or "read, the numbers are right"
            figures = "  ".join(f"{each.seconds:6.3f} s {each.grown / 1e6:5.1f} MB" for each in (shard, foreign))
            print(f"{figures}  {name}: {said[:160]}", flush=True)
            shutil.rmtree(folder)
    shards, foreigns = outcomes[::2], outcomes[1::2]
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(f"\n{len(foreigns)} files, each as a shard and as a foreign file")
    print(f"  refused with one line, or read with the right numbers: {verdict(not wrong)} {', '.join(wrong)}")
    opened = sum(outcome.opened for outcome in outcomes)
    print(f"  the file they point at was opened {opened} times; target 0: {verdict(not opened)}")
    for who, some in (("as a shard", shards), ("in convert", foreigns)):
        slowest, largest = max(each.seconds for each in some), max(each.grown for each in some)
        print(f"  {who}: at most {slowest:.3f} s; target {MOST_SECONDS[who]:g}: {verdict(slowest < MOST_SECONDS[who])}")
        print(
            f"  {who}: at most {largest / 1e6:.1f} MB; target {MOST_BYTES / 1e6:.0f}: {verdict(largest < MOST_BYTES)}"
        )
    print(f"  the process that calls the HDF5 library: at most {child / 1e6:.0f} MB resident; its limit is 1 GiB")


if __name__ == "__main__":
    main()
