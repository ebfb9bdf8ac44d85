"""What must hold of a cache whatever happened to it: no committed row lost, nothing half under a final name."""

from __future__ import annotations

import gc
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias
from unittest.mock import patch

from featurecache import layout
from featurecache.plan import read_plan
from featurecache.shards import checksums
from featurecache.shards.header import read_header
from featurecache.shards.journal import Journal, recorded
from featurecache.writer import committed_rows

from .disks import Disk, on
from .scenarios import Scenario, tree

Blocks: TypeAlias = dict[int, tuple[int, ...]]

LOST = "committed blocks lost"
UNFINISHED = (".new", ".part", ".journal", ".lock")


@dataclass
class Tally:
    """What was found at many points. first: of every kind of failure the first one, in words."""

    points: int = 0
    stakes: int = 0  # committed blocks that could have been lost
    wrong: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def expect(self, good: bool, what: str, where: str, times: int = 1) -> None:
        """Count a failure unless `good`."""
        if not good:
            self.wrong[what] += times
            self.first.setdefault(what, where)

    def stake(self, commits: Acknowledged, where: str) -> None:
        """Count the committed blocks, and those that are lost."""
        lost = commits.lost()
        self.stakes += sum(map(len, commits.blocks.values()))
        self.expect(not lost, LOST, where, lost)

    def __str__(self) -> str:
        others = "; ".join(f"{count} {what}" for what, count in self.wrong.items() if what != LOST) or "nothing wrong"
        first = "".join(f"; {what} first at {where}" for what, where in self.first.items())
        return f"{self.points:,} points, {self.wrong[LOST]} of {self.stakes:,} committed blocks lost, {others}{first}"


class Acknowledged:
    """The blocks that were committed, which is when Journal.append has returned.

    then: is told of the shard right after every commit. blocks: checksums by block, by the shard's path.
    """

    def __init__(self, then: Callable[[Path], None] | None = None) -> None:
        self.blocks: dict[Path, Blocks] = {}
        self._paths: dict[int, Path] = {}
        self._then = then

    def find(self, cache: Path) -> None:
        """Add what an earlier run has committed to shards that are begun."""
        for part in cache.rglob("*.part"):
            final = part.with_name(part.name.removesuffix(".part"))
            self.blocks[final] = _recorded(final)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Inside the block every commit is noted."""
        begin, append = Journal.__init__, Journal.append

        def begun(journal: Journal, path: Path, key: int, columns: int, blocks: int) -> None:
            begin(journal, path, key, columns, blocks)
            self._paths[id(journal)] = path.with_name(path.name.removesuffix(".journal"))

        def appended(journal: Journal, blocks: Mapping[int, Sequence[int]]) -> None:
            append(journal, blocks)
            final = self._paths[id(journal)]
            self.blocks.setdefault(final, {}).update({block: tuple(crcs) for block, crcs in blocks.items()})
            if self._then:
                self._then(final)

        with patch.object(Journal, "__init__", begun), patch.object(Journal, "append", appended):
            yield

    def lost(self) -> int:
        """Committed blocks that are neither in a finished shard nor, with the bytes they had, in one that is begun."""
        lost = 0
        for final, blocks in self.blocks.items():
            if not final.exists():
                there = _recorded(final)
                lost += sum(there.get(block) != crcs for block, crcs in blocks.items())
        return lost


def _recorded(final: Path) -> Blocks:
    """The blocks in an unfinished shard that are recorded and have the bytes of their checksums."""
    part, journal = (final.with_name(final.name + ending) for ending in (".part", ".journal"))
    try:
        header = read_header(part)
    except (OSError, ValueError):
        return {}
    done = recorded(journal, zlib.crc32(header.pack()), len(header.data), header.blocks)
    with part.open("rb") as file:
        wrong = {block for block, _ in checksums.wrong_blocks(file.fileno(), header, done)}
    return {block: crcs for block, crcs in done.items() if block not in wrong}


def rows_done(cache: Path, scenario: Scenario) -> int:
    """Rows that need not be computed again: of finished shards, and recorded ones."""
    if not (cache / layout.CACHE_FILE).exists():
        return 0
    plan, done = read_plan(cache), 0
    for name in set(scenario.splits) & set(plan.splits):
        bounds = plan.splits[name].bounds
        for shard in range(len(bounds) - 1):
            whole = layout.shard_path(cache, name, shard).exists()
            done += bounds[shard + 1] - bounds[shard] if whole else committed_rows(cache, plan, name, shard)
    return done


def strange_files(cache: Path, scenario: Scenario) -> list[str]:
    """Files under a final name that are not byte for byte what an uninterrupted run, or the state before, has there."""
    before = {} if scenario.base is None else tree(scenario.base)
    return [
        name
        for name, content in (tree(cache) if cache.exists() else {}).items()
        if not name.endswith((*UNFINISHED, "/")) and content not in (scenario.wanted.get(name), before.get(name))
    ]


def differences(cache: Path, scenario: Scenario) -> list[str]:
    """What is not as after an uninterrupted run: files that differ, are missing, or lie beside."""
    there, wanted = tree(cache), scenario.wanted
    found = sorted(name for name in {*there, *wanted} if there.get(name) != wanted.get(name))
    # What is whole is not written again, so nobody takes the lock file of a dead process away. It locks nothing.
    return [name for name in found if scenario.keeps or not name.endswith(".lock")]


def go_on(scenario: Scenario, cache: Path, tally: Tally, place: str) -> None:
    """Do what is left on a disk that works; nothing is computed twice, and all is as after an uninterrupted run."""
    try:
        done = rows_done(cache, scenario)
        with on(Disk()):
            computed = scenario.resume(cache)
    except (OSError, ValueError) as error:
        tally.expect(False, "caches that cannot be gone on with", f"{place}: {error}")
        return
    if scenario.keeps:
        tally.expect(computed == scenario.rows - done, "rows computed again", f"{place}: {computed}, {done} were there")
    tally.expect(not (found := differences(cache, scenario)), "results that differ", f"{place}: {found}")


def open_handles() -> int | None:
    """How many files this process has open; None where the system does not say."""
    folder = Path("/proc/self/fd")
    return len(os.listdir(folder)) if folder.exists() else None


def left_open(before: int | None) -> bool:
    """Whether this process has more files open than before, once what nobody refers to any more is gone.

    Only where the number differs: a collection takes longer than a run. Files of an earlier test may wait for one too.
    """
    if open_handles() == before:
        return False
    gc.collect()
    now = open_handles()
    return now is not None and before is not None and now > before
