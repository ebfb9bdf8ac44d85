"""Does an extraction by several processes survive SIGKILL, again and again, with other numbers of processes?

Run: python benchmarks/sigkill.py [--kills 1000] [--seed 0]
Targets: over 1,000 processes killed at random moments: 0 committed rows lost, 0 computed again or twice, and in the end
the same bytes as without a kill; a second job on the same cache is refused within a second and told who has it.
Needs fork.

Four ranks extract two splits with a small model, every batch a commit. All are killed at one random moment and begun
again in another number (1 to 6), until all is there; then the next chain. A rank tells outside which commits have
returned, so that what counts as committed is not what the journal says but what the extraction was told.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from random import Random

import torch
from killing.checking import Seen, check_commits, check_end, check_once
from killing.ranks import REFUSED, Rank, Record, start
from killing.work import WORLDS, Known, Work
from speed.measure import machine, verdict

RANKS = 4
PACE = 0.002  # seconds a picture takes to load, so that the ranks are at work at the same time
SLOW = 0.02  # the same, where a job has to be met at work
FAST_ENOUGH = 1.0  # seconds until the second job is refused
BY_THE_CLOCK = 0.2  # of the kills: also while ranks start, agree on the plan and lay out their files
PATIENCE = 3.0  # seconds for what takes a fraction of one


class Arena:
    """Where the extractions are: the work, what it gives, the folder, and the random moments."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.work, self.folder, self.rng = Work(), folder, Random(seed)
        self.known: Known = self.work.uninterrupted()
        self.seen = Seen()
        self._caches = 0
        self._seconds, self._said = self._measured()

    def new(self) -> tuple[Path, Record]:
        """A place for a cache, and its record."""
        self._caches += 1
        cache = self.folder / f"{self._caches}"
        return cache, Record(self.folder / f"{self._caches}.record")

    def begin(self, cache: Path, record: Record, world: int, *, seconds: float = PACE) -> list[Rank]:
        """A job: all its ranks."""
        return [start(self.work, cache, rank, world, record, seconds=seconds) for rank in range(world)]

    def moment(self, record: Record) -> None:
        """Wait until some moment of the extraction: by the clock, or by what is written and committed."""
        said, most = record.size, 0.9 * self._said
        if said >= most or self.rng.random() < BY_THE_CLOCK:
            time.sleep(self.rng.uniform(0, self._seconds))
            return
        wanted, deadline = min(said + self.rng.uniform(0, self._said / 3), most), time.monotonic() + PATIENCE
        while record.size < wanted and time.monotonic() < deadline:
            time.sleep(0.0005)
        time.sleep(self.rng.uniform(0, 0.003))

    def end(self, cache: Path, record: Record) -> None:
        """Let one more job finish what is left, and check all."""
        codes = [rank.wait() for rank in self.begin(cache, record, self.rng.choice(WORLDS))]
        if any(codes):
            self.seen.blame("the last job did not finish:", codes)
        self.seen.acknowledged += check_commits(cache, record, self.seen)
        check_once(record, self.seen)
        check_end(cache, self.known, self.seen)
        record.close()

    def _measured(self) -> tuple[float, int]:
        """Seconds of an extraction that nobody stops, and how much its ranks say."""
        cache, record = self.new()
        begun = time.monotonic()
        for rank in self.begin(cache, record, RANKS):
            rank.wait()
        record.close()
        return time.monotonic() - begun, record.size


def chain(arena: Arena) -> None:
    """Kill all ranks at a random moment and begin again with another number of them, until all is there."""
    cache, record = arena.new()
    world, codes = RANKS, [1]
    while any(codes):
        ranks = arena.begin(cache, record, world)
        arena.moment(record)
        killed = [rank.kill() for rank in ranks]
        arena.seen.kills += sum(killed)
        arena.seen.rounds += 1
        check_commits(cache, record, arena.seen)
        codes = killed
        world = arena.rng.choice([other for other in WORLDS if other != world])
    arena.seen.chains += 1
    arena.end(cache, record)


def one_of_four(arena: Arena) -> None:
    """Kill one rank; the others end by themselves, and it alone is begun again."""
    cache, record = arena.new()
    ranks = arena.begin(cache, record, RANKS)
    arena.moment(record)
    victim = arena.rng.randrange(RANKS)
    arena.seen.kills += ranks[victim].kill()
    codes = [rank.wait() for number, rank in enumerate(ranks) if number != victim]
    check_commits(cache, record, arena.seen)
    codes.append(start(arena.work, cache, victim, RANKS, record, seconds=PACE).wait())
    if any(codes):
        arena.seen.blame("one of four:", codes)
    check_end(cache, arena.known, arena.seen)
    arena.end(cache, record)


def second_job(arena: Arena) -> float:
    """Begin a job while another is at work; how long until it was refused."""
    cache, record = arena.new()
    first = arena.begin(cache, record, 1, seconds=SLOW)
    while not any(line[0] == "A" for line in record.lines()):
        time.sleep(0.01)
    world = arena.rng.choice(WORLDS)
    codes = [rank.wait() for rank in arena.begin(cache, record, world)]
    refusals = [line for line in record.lines() if line[0] == "R"]
    told = all(f"process {first[0].pid} " in " ".join(line) for line in refusals)
    if REFUSED not in codes or not set(codes) <= {0, REFUSED} or not told:
        arena.seen.blame("second job:", codes, refusals)
    arena.seen.kills += first[0].kill()
    check_commits(cache, record, arena.seen)
    arena.end(cache, record)
    return max((float(line[2]) for line in refusals), default=0.0)


def both_at_once(arena: Arena) -> None:
    """Begin two jobs at the same moment: each file has one writer, whoever it is."""
    cache, record = arena.new()
    ranks = [rank for world in arena.rng.sample(WORLDS, 2) for rank in arena.begin(cache, record, world)]
    codes = [rank.wait() for rank in ranks]
    if not set(codes) <= {0, REFUSED}:
        arena.seen.blame("both at once:", codes)
    check_commits(cache, record, arena.seen)
    arena.end(cache, record)


def main() -> None:
    """Prints the machine, the figures and the targets; exits 1 where one is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    memory = Path("/dev/shm")
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        arena = Arena(Path(folder), given.seed)
        others = max(1, given.kills // 50)
        while arena.seen.kills < given.kills:
            chain(arena)
        for _ in range(others):
            one_of_four(arena)
            both_at_once(arena)
        refused = max(second_job(arena) for _ in range(others))
    print(machine())
    sys.exit(0 if _report(arena.seen, others, refused, time.monotonic() - begun, given.kills) else 1)


def _report(seen: Seen, others: int, refused: float, seconds: float, kills: int) -> bool:
    print(f"{seen.chains} extractions by {RANKS} processes, killed in {seen.rounds} rounds and resumed by 1 to 6;")
    print(f"{others} in which one of four was killed; {others} of two jobs at once; {others} met by a second job")
    print(f"{seen.acknowledged} commits were acknowledged; {seconds:.0f} s in all\n")
    targets = {
        f"processes killed: {seen.kills}; target {kills}": seen.kills >= kills,
        f"committed blocks lost: {seen.lost}; target 0": not seen.lost,
        f"committed blocks computed again or twice: {seen.again}; target 0": not seen.again,
        f"ends that differ from an extraction nobody stopped: {seen.differing}; target 0": not seen.differing,
        f"a second job is refused after {refused:.2f} s at most; target {FAST_ENOUGH:g} s": refused <= FAST_ENOUGH,
        f"anything else that must not be: {len(seen.wrong)}; target 0": not seen.wrong,
    }
    for what, met in targets.items():
        print(f"  {what}: {verdict(met)}")
    for line in seen.wrong[:50]:
        print(f"  {line}")
    return all(targets.values())


if __name__ == "__main__":
    main()
