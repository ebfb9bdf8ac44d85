"""Read mutated caches in processes that may die: whoever crashes or hangs is counted, and another goes on behind it."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import resource
import struct
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

from mutating.caches import Files, Sound
from mutating.judging import BAD, GOOD, Bench
from mutating.mutations import NAMES, mutated

CRASHED, HUNG = "CRASHED", "HUNG"
OUTCOMES = (*GOOD, *BAD, CRASHED, HUNG)
PATIENCE = 10.0  # seconds for one cache; the machine may be busy
MEMORY = 2**30  # bytes of address space that a worker may take beyond what it starts with
MARK = struct.Struct("qd")  # the number at work and the most seconds so far, each written in one go
LOOK = 0.05  # seconds between two looks at the workers


@dataclass(frozen=True)
class Found:
    """What came of all.

    outcomes: how often, by (family, outcome). repaired: caches whose headers' checksums are right. slowest: seconds
    of the slowest. findings: a line for every bad one.
    """

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    repaired: int = 0
    slowest: float = 0.0
    findings: list[str] = field(default_factory=list)

    def of(self, *outcomes: str) -> int:
        """How many had one of these outcomes."""
        return sum(count for (_, outcome), count in self.outcomes.items() if outcome in outcomes)


class _Shared:
    """What the workers tell: two bytes a cache, a mark a worker, and a file of findings."""

    def __init__(self, folder: Path, count: int, workers: int) -> None:
        self.codes, self.marks = mmap.mmap(-1, 2 * count), mmap.mmap(-1, MARK.size * workers)
        self.findings = folder / "findings.txt"
        self.findings.touch()

    def record(self, number: int, family: int, repaired: bool, outcome: str) -> None:
        """Of one cache."""
        self.codes[2 * number] = 1 + family + 100 * repaired
        self.codes[2 * number + 1] = OUTCOMES.index(outcome)

    def mark(self, worker: int) -> tuple[int, float]:
        """Of one worker."""
        number, slowest = MARK.unpack_from(self.marks, worker * MARK.size)
        return number, slowest

    def set_mark(self, worker: int, number: int, slowest: float) -> None:
        """Whoever dies now died of this number."""
        MARK.pack_into(self.marks, worker * MARK.size, number, slowest)

    def tell(self, line: str) -> None:
        """Keep a finding."""
        with self.findings.open("a") as file:
            file.write(line + "\n")


def watched(caches: list[tuple[Sound, Files]], folder: Path, seed: int, count: int, workers: int) -> Found:
    """Mutate and read so many caches.

    folder: an empty one, best in memory. seed: of the mutations.
    """
    shared = _Shared(folder, count, workers)
    context = multiprocessing.get_context("fork")

    def start(worker: int, first: int) -> BaseProcess:
        shared.set_mark(worker, first, shared.mark(worker)[1])
        given = (worker, range(first, count, workers), shared, caches, folder / str(worker), seed)
        process = context.Process(target=_work, args=given, daemon=True)
        process.start()
        return process

    running = {worker: start(worker, worker) for worker in range(min(workers, count))}
    seen = dict.fromkeys(running, (-1, 0.0))  # at which number, since when
    try:
        while running:
            time.sleep(LOOK)
            for worker, process in list(running.items()):
                number, _ = shared.mark(worker)
                if number != seen[worker][0]:
                    seen[worker] = number, time.monotonic()
                alive = process.is_alive()
                hangs = alive and time.monotonic() - seen[worker][1] > PATIENCE
                if alive and not hangs:
                    continue
                process.kill()
                process.join()
                del running[worker]
                number, _ = shared.mark(worker)  # it no longer moves
                if number < count:
                    change = mutated(seed, number, caches)
                    outcome = HUNG if hangs else CRASHED
                    shared.record(number, NAMES.index(change.family), change.repaired, outcome)
                    shared.tell(f"{number} {change.family}: {change.what[:200]}: {outcome} {process.exitcode}")
                    if number + workers < count:
                        running[worker] = start(worker, number + workers)
    finally:
        for process in running.values():
            process.kill()
            process.join()
    return _gathered(shared, count, workers)


def _work(
    worker: int, numbers: range, shared: _Shared, caches: list[tuple[Sound, Files]], folder: Path, seed: int
) -> None:
    _limit_memory()
    bench = Bench(folder / str(numbers.start), caches)
    slowest = shared.mark(worker)[1]
    for number in numbers:
        shared.set_mark(worker, number, slowest)
        change = mutated(seed, number, caches)
        begun = time.monotonic()
        outcome, words = bench.judge(change)
        slowest = max(slowest, time.monotonic() - begun)
        shared.record(number, NAMES.index(change.family), change.repaired, outcome)
        if outcome in BAD:
            kind = caches[change.kind][0].kind
            shared.tell(f"{number} {kind}, {change.family}: {change.what[:200]}: {outcome} {words[:400]}")
    shared.set_mark(worker, numbers.stop, slowest)


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _gathered(shared: _Shared, count: int, workers: int) -> Found:
    outcomes: Counter[tuple[str, str]] = Counter()
    repaired = 0
    for number in range(count):
        family, outcome = shared.codes[2 * number], shared.codes[2 * number + 1]
        if not family:
            raise RuntimeError(f"mutated cache {number} was never read")
        repaired += family > 100
        outcomes[NAMES[(family - 1) % 100], OUTCOMES[outcome]] += 1
    slowest = max(shared.mark(worker)[1] for worker in range(workers))
    return Found(outcomes, repaired, slowest, shared.findings.read_text().splitlines())
