"""The disk is full, or fails once or for good, or the user interrupts, at every file operation.

Reads are among them where they pass through featurecache.disk: headers, journals, plans, and every block that is
compared with its checksum.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from .disks import PART, Dying, Failing, Killed, on
from .inspection import UNFINISHED, Acknowledged, Tally, go_on, left_open, open_handles, rows_done, strange_files
from .scenarios import BATCH, Scenario, Source, operations, tree

FAULTS: dict[str, tuple[int | None, bool]] = {
    "full for good": (errno.ENOSPC, True),
    "input/output error, once": (errno.EIO, False),
    "input/output error for good": (errno.EIO, True),
    "interrupted": (None, False),
}
LONGEST = 800  # characters of a message


def steps(scenario: Scenario, work: Path) -> int:
    """How many operations a run has, those that read counted too."""
    count = Failing(0, None)
    scenario.begin(work / "cache")
    with on(count), suppress(ValueError):
        scenario.run(work / "cache")
    return count.every


def stopped(scenario: Scenario, work: Path, record: int = 4) -> Scenario:
    """The same from where a run was killed, with rows that could be lost.

    record: which of the records in the journals, and of the checksums at the end of a shard, from 0, is torn.
    """
    names = operations(scenario, work)
    flushed_writes = [at for at in range(2, len(names)) if names[at - 2 : at + 1] == ["sync", "write_at", "sync"]]
    base = work / "stopped"
    scenario.begin(base)
    with on(Dying(flushed_writes[record], PART)), suppress(Killed):
        scenario.run(base)
    return replace(scenario, name=f"{scenario.name}, gone on", base=base)


def otherwise(scenario: Scenario) -> Scenario:
    """The same, but asked for in larger batches, which has to be refused while rows are there."""
    run = partial(Source().extract, names=scenario.splits, batch_size=2 * BATCH)
    return replace(scenario, name=f"{scenario.name}, in larger batches", run=run, ran={})


def fails_everywhere(scenario: Scenario, work: Path, fault: str, where: Iterable[int]) -> Tally:
    """Let one run fail at each of the operations, each time from the beginning."""
    tally, cache = Tally(), work / "cache"
    error, sticky = FAULTS[fault]
    for at in where:
        tally.points += 1
        scenario.begin(cache)
        place = f"{scenario.name}, {fault}, operation {at}"
        _fail(scenario, cache, Failing(at, error, sticky), tally, place)
        go_on(scenario, cache, tally, place)
    return tally


def _fail(scenario: Scenario, cache: Path, disk: Failing, tally: Tally, place: str) -> None:
    """A run that is refused in one line or does all it should, and harms nothing that was there."""
    late: list[Path] = []

    def committed(final: Path) -> None:
        files = (final.with_name(final.name + ending) for ending in (".part", ".journal"))
        if any(file.stat().st_ino in disk.broken for file in files):
            late.append(final)  # a flush may report success after one that failed, and mean nothing

    commits, handles = Acknowledged(committed), open_handles()
    commits.find(cache)
    done = rows_done(cache, scenario)
    with on(disk), commits.watched():
        refusal, computed = _outcome(scenario, cache)
    if scenario.keeps:
        unreadable = BATCH * disk.failed.count("read_at")  # what cannot be read is rightly made again
        again = computed - (scenario.rows - done)
        tally.expect(again <= unreadable, "runs that computed rows again", f"{place}: {again}")
    if refusal is None:
        whole = {name: content for name, content in tree(cache).items() if not name.endswith(UNFINISHED)}
        tally.expect(whole == scenario.ran, "runs that succeeded wrongly", place)
    else:
        one_line = 0 < len(refusal) < LONGEST and refusal.splitlines() == [refusal]
        tally.expect(one_line, "messages of more than a line", f"{place}: {refusal!r}")
    tally.expect(not left_open(handles), "runs that leave files open", place)
    tally.expect(not late, "commits after a failed flush", place)
    tally.expect(not (found := strange_files(cache, scenario)), "wrong files", f"{place}: {found}")
    tally.stake(commits, place)


def _outcome(scenario: Scenario, cache: Path) -> tuple[str | None, int]:
    """What the user is told, None when all was done; and how many rows were computed by then."""
    try:
        return None, scenario.run(cache)
    except (OSError, ValueError) as error:
        return str(error), 0
    except KeyboardInterrupt:
        return "interrupted", 0
