"""Can a damaged or forged cache crash the reader, hang it, or be read as something it is not?

Run: python benchmarks/mutations.py [--caches 100000] [--seed 0] [--workers 2]
Targets: of 100,000 mutated caches, the checksum of the header repaired in most, 0 crash, 0 hang, 0 are read as anything
else than before, and every refusal is a ValueError of one line. Needs Linux.

A cache is opened with verify=True and everything in it is looked at: all columns in every way, head, class names,
counts, descriptions. "The same" is then equal to before in all of that. Where every checksum was repaired, in
cache.json and in all files alike, nobody could know better: such a cache must be refused or be a possible one (rows in
their places, labels among the classes, finite, of the shapes it names), and is counted for itself.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

import torch
from mutating.caches import sound_caches
from mutating.judging import BAD, DIFFERENT, FOREIGN, GOOD, IMPLAUSIBLE, UGLY
from mutating.mutations import NAMES
from mutating.watching import CRASHED, HUNG, MEMORY, PATIENCE, Found, watched
from speed.measure import machine, verdict

TARGETS = {
    "crashes": (CRASHED,),
    f"hangs (over {PATIENCE:g} s) ": (HUNG,),
    "silently different": (DIFFERENT, IMPLAUSIBLE),
    "other exceptions, warnings, or refusals that are not one line": (FOREIGN, UGLY),
}


def main() -> None:
    """Prints the machine, the outcomes by what was changed, and the targets; exits 1 where one is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--caches", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(1)
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    try:
        caches = sound_caches(folder / "sound")
        begun = time.perf_counter()
        found = watched(caches, folder, given.seed, given.caches, given.workers)
        seconds = time.perf_counter() - begun
    finally:
        shutil.rmtree(folder)
    print(machine())
    print(f"{given.caches} mutated caches of {len(caches)} kinds, seed {given.seed}, in {given.workers} processes")
    print(f"{given.caches / seconds:.0f} a second, the slowest {found.slowest:.2f} s, at most {MEMORY >> 20} MiB each")
    sys.exit(0 if _report(found, given.caches) else 1)


def _report(found: Found, count: int) -> bool:
    print(f"the checksum of every header is right in {100 * found.repaired / count:.1f} %\n")
    print(f"{'changed':<36}" + "".join(f"{outcome.split(',')[0]:>16}" for outcome in GOOD) + f"{'bad':>8}")
    for family in NAMES:
        row = [found.outcomes[family, outcome] for outcome in GOOD]
        bad = sum(found.outcomes[family, outcome] for outcome in (*BAD, CRASHED, HUNG))
        print(f"{family:<36}" + "".join(f"{number:>16}" for number in row) + f"{bad:>8}")
    print(f"{'all':<36}" + "".join(f"{found.of(outcome):>16}" for outcome in GOOD) + "\n")
    met = True
    for what, outcomes in TARGETS.items():
        number = found.of(*outcomes)
        met &= not number
        print(f"  {what.strip()}: {number}; target 0: {verdict(not number)}")
    for line in found.findings[:50]:
        print(f"  {line}")
    return met


if __name__ == "__main__":
    main()
