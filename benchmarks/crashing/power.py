"""The power goes at any moment of a run, of one that goes on after a kill, or of one whose disk failed to flush."""

from __future__ import annotations

import errno
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from .disks import ALL, NOTHING, PART, SYNCS, Disk, Dying, Failing, Killed, on
from .inspection import Acknowledged, Tally, differences, go_on, strange_files
from .recording import Recording
from .replay import after_power_cut, unharmed
from .scenarios import Scenario, operations, tree

STORIES = ("one run", "killed, gone on", "failed, gone on", "cut off, gone on")


def cut_anywhere(scenario: Scenario, work: Path, story: str, *, recordings: int, images: int, seed: int) -> Tally:
    """Record a story several times, and look at what the disk may hold after a power cut at random moments of each.

    images: so many a recording. Every one is gone on with.
    """
    tally, names = Tally(), operations(scenario, work)
    for number in range(recordings):
        draws = random.Random(f"{story} {seed} {number}")
        place = f"{scenario.name}, {story}, recording {number} of seed {seed}"
        begun = _begun(scenario, work / "recorded")
        if story == "cut off, gone on":
            begun = _cut_off(scenario, begun, work / "recorded", draws)
        recording = _recorded(scenario, begun, _first(story, names, draws), tally, place)
        for image in range(images):
            at = draws.randint(0, len(recording.events))
            _after_cut(scenario, recording, at, draws, work / "image", tally, f"{place}, image {image} at {at}")
    return tally


def _begun(scenario: Scenario, root: Path) -> Recording:
    """The first state of a scenario, of which nothing is recorded yet."""
    _empty(root)
    scenario.begin(root / "cache")
    return Recording(root)


def _cut_off(scenario: Scenario, recording: Recording, root: Path, draws: random.Random) -> Recording:
    """What a power cut at a random moment leaves of an uninterrupted run, as the beginning of another recording."""
    _run(scenario.run, recording, Disk(recording))
    image = after_power_cut(recording, draws.randint(0, len(recording.events)), draws)
    _empty(root)
    image.write_to(root)
    begun = Recording(root)
    for shard, blocks in image.committed.items():
        begun.committed(root / shard, blocks)
    return begun


def _first(story: str, names: list[str], draws: random.Random) -> Callable[[Recording], Disk]:
    """The disk of the first run. Every second one that fails does so at a flush, where most is at stake."""
    flushes = [at for at, name in enumerate(names, start=1) if name in SYNCS]
    at = draws.choice((draws.choice(flushes), draws.randint(1, len(names))))
    if story == "killed, gone on":
        return partial(Dying, at, draws.choice((NOTHING, PART, ALL)))
    return partial(Failing, at, errno.EIO, False) if story == "failed, gone on" else Disk


def _recorded(
    scenario: Scenario, recording: Recording, first: Callable[[Recording], Disk], tally: Tally, place: str
) -> Recording:
    """A run on the first disk, and what is left of it on one that works; all that happened to them."""
    with suppress(Killed, OSError, ValueError):
        _run(scenario.run, recording, first(recording))
    _run(scenario.resume, recording, Disk(recording))
    recording.returned()
    found = differences(recording.root / "cache", scenario)
    tally.expect(not found, "results that differ", f"{place}: {found}")
    check_faithful(recording)
    return recording


def _run(work: Callable[[Path], int], recording: Recording, disk: Disk) -> None:
    done = Acknowledged(lambda final: recording.committed(final, done.blocks[final]))
    with on(disk), done.watched():
        work(recording.root / "cache")


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def check_faithful(recording: Recording) -> None:
    """ValueError unless the recorded events make exactly what is in the recorded folder."""
    copy = recording.root.with_name("faithful")
    _empty(copy)
    unharmed(recording).write_to(copy)
    made, there = tree(copy), tree(recording.root)
    if made != there:
        odd = sorted(name for name in {*made, *there} if made.get(name) != there.get(name))
        raise ValueError(f"{odd} changed in a way that did not pass through featurecache.disk")


def _after_cut(
    scenario: Scenario, recording: Recording, at: int, draws: random.Random, root: Path, tally: Tally, place: str
) -> None:
    """One image: what is in it, and whether it can be gone on with."""
    tally.points += 1
    _empty(root)
    image = after_power_cut(recording, at, draws)
    image.write_to(root)
    cache, commits = root / "cache", Acknowledged()
    commits.blocks = {root / shard: blocks for shard, blocks in image.committed.items()}
    tally.stake(commits, place)
    tally.expect(not (found := strange_files(cache, scenario)), "wrong files", f"{place}: {found}")
    if image.returned:
        found = sorted(set(scenario.wanted) - set(tree(cache)))
        tally.expect(not found, "files missing after the end", f"{place}: {found}")
    go_on(scenario, cache, tally, place)
