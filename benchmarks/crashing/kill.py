"""The process is killed at every file operation, and the work is gone on with."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from .disks import ALL, NOTHING, PART, TEARABLE, Dying, Killed, on
from .inspection import Acknowledged, Tally, go_on, left_open, open_handles, strange_files
from .scenarios import Scenario, operations


def points(scenario: Scenario, work: Path) -> list[tuple[int, str]]:
    """Every operation of an uninterrupted run with every amount that can be done of it."""
    return [
        (at, tear)
        for at, name in enumerate(operations(scenario, work), start=1)
        for tear in ((NOTHING, PART, ALL) if name in TEARABLE else (NOTHING, ALL))
    ]


def killed_everywhere(scenario: Scenario, work: Path, where: Iterable[tuple[int, str]]) -> Tally:
    """Kill one run at each of the points, each time from the beginning."""
    tally, cache = Tally(), work / "cache"
    for at, tear in where:
        tally.points += 1
        scenario.begin(cache)
        commits, place = Acknowledged(), f"{scenario.name}, operation {at}, {tear}"
        _die(scenario, cache, Dying(at, tear), commits, tally, place)
        go_on(scenario, cache, tally, place)
    return tally


def killed_again_and_again(scenario: Scenario, work: Path, chains: int, seed: int) -> tuple[Tally, int]:
    """Kill runs at random operations until one gets through, many times; also how many kills there were."""
    tally, cache, kills = Tally(), work / "cache", 0
    reach = len(operations(scenario, work))
    for chain in range(chains):
        tally.points += 1
        draws = random.Random(seed + chain)
        scenario.begin(cache)
        commits = Acknowledged()
        for place in _places(scenario, chain, seed):
            dying = Dying(int(draws.triangular(1, reach, 1)), draws.choice((NOTHING, PART, ALL)))
            if not _die(scenario, cache, dying, commits, tally, place):
                break
            kills += 1
        go_on(scenario, cache, tally, f"{scenario.name}, chain {chain} of seed {seed}")
    return tally, kills


def _places(scenario: Scenario, chain: int, seed: int) -> Iterator[str]:
    for kill in range(1, 1000):
        yield f"{scenario.name}, chain {chain} of seed {seed}, kill {kill}"


def _die(scenario: Scenario, cache: Path, disk: Dying, commits: Acknowledged, tally: Tally, place: str) -> bool:
    """Run until the process dies, and look at what is there; whether it did die."""
    handles = open_handles()
    with on(disk), commits.watched(), suppress(Killed):
        scenario.run(cache)
    tally.expect(not left_open(handles), "runs that leave files open", place)
    tally.expect(not (found := strange_files(cache, scenario)), "wrong files", f"{place}: {found}")
    tally.stake(commits, place)
    return disk.dead
