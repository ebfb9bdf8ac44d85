"""The rows of the benchmark: all points, and what they come to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from speed.measure import verdict

from .disks import ALL
from .full import FAULTS, fails_everywhere, otherwise, steps, stopped
from .inspection import Tally
from .kill import killed_again_and_again, killed_everywhere, points
from .power import STORIES, cut_anywhere
from .real import BATCH, MEGABYTES, command, extract_too_much, small_file_system
from .scenarios import Scenario, addition, arrays, extraction, shared, small

CHAINS = 300
KILLS, IMAGES = 700, 2000  # targets
# Recordings of a story and images of each.
CUTS = {"one run": (4, 100), "killed, gone on": (60, 8), "failed, gone on": (40, 8), "cut off, gone on": (40, 5)}
FEWER_CUTS = {"killed, gone on": (15, 8), "cut off, gone on": (5, 4)}
IN_BACKGROUND = {"one run": (4, 50), "killed, gone on": (20, 5)}


class Report:
    """Prints what was found. met: whether all targets are."""

    def __init__(self) -> None:
        self.met = True

    def title(self, text: str) -> None:
        """What the lines below are about."""
        print(f"\n{text}")

    def line(self, what: str, tally: Tally) -> None:
        """What was found at some points; nothing wrong is the target."""
        self.state(f"{what}: {tally}", not tally.wrong)

    def state(self, what: str, met: bool) -> None:
        """A condition, and whether it holds."""
        self.met = self.met and met
        print(f"  {what}: {verdict(met)}", flush=True)


def kill(report: Report, work: Path, seed: int) -> None:
    """Killed at every operation, of which nothing, a part or all is done; and again and again."""
    report.title("killed at every file operation x nothing, a part or all of it done, then gone on with")
    with small():
        for make in (extraction, addition, shared, arrays):
            scenario = _made(make, work)
            where = points(scenario, work)
            tally = killed_everywhere(scenario, work, where)
            report.line(f"{scenario.name}, {where[-1][0]} operations", tally)
            if make is extraction:
                report.state(f"{tally.points} points; target {KILLS}", tally.points >= KILLS)
        scenario = _made(extraction, work)
        tally, kills = killed_again_and_again(scenario, work, CHAINS, seed)
        report.line(f"{scenario.name}, {CHAINS} chains of {kills:,} kills at random operations", tally)
    with small(background=True):
        scenario = _made(extraction, work)
        where = [(at, tear) for at, tear in points(scenario, work) if tear != ALL]
        tally = killed_everywhere(scenario, work, where)
        report.line(f"{scenario.name}, commits in a thread of their own, {where[-1][0]} operations", tally)


def full(report: Report, work: Path, seed: int) -> None:
    """Every kind of failure at every operation, reads included; a real full disk; the command."""
    report.title("each operation fails, reads included, then gone on with")
    with small():
        scenario = _made(extraction, work)
        refused = otherwise(stopped(scenario, work / "other", record=1))
        for each in (scenario, stopped(scenario, work), refused, _made(addition, work), _made(arrays, work)):
            count = steps(each, work)
            for fault in FAULTS:
                tally = fails_everywhere(each, work, fault, range(1, count + 1))
                report.line(f"{each.name}, {fault}, {count} operations", tally)
    with small(background=True):
        scenario = _made(extraction, work)
        for fault in FAULTS:
            tally = fails_everywhere(scenario, work, fault, range(1, steps(scenario, work) + 1))
            report.line(f"{scenario.name}, commits in a thread of their own, {fault}", tally)
    _real(report, work)


def _real(report: Report, work: Path) -> None:
    mount = work / "mount"
    mount.mkdir()
    with small_file_system(mount) as mounted:
        if mounted:
            message, read, left = extract_too_much(mount)
            words = f"13 MB into a file system of {MEGABYTES} MB: {message.partition(':')[0]}, {read} rows read"
            report.state(
                f"{words}, {left} bytes of shards left", "No space left" in message and read <= BATCH and not left
            )
        else:
            print("  a file system that is too small: this user may not mount one")
    for fault, at in (("full for good", 40), ("input/output error, once", 60)):
        code, lines = command(work, fault, at)
        report.state(f"the command, {fault}: exit code {code}, {len(lines)} line", (code, len(lines)) == (1, 1))
    code, _ = command(work, "none", 0)
    report.state(f"the command, on a disk that works: exit code {code}", code == 0)


def power(report: Report, work: Path, seed: int) -> None:
    """Power cuts at random moments of all stories."""
    report.title("the power goes at a random moment; what was not flushed is there, dropped, reordered or garbage")
    total = Tally()
    with small():
        _cuts(report, _made(extraction, work), work, CUTS, seed, total)
        for make in (addition, shared, arrays):
            _cuts(report, _made(make, work), work, FEWER_CUTS, seed, total)
    with small(background=True):
        _cuts(report, _made(extraction, work), work, IN_BACKGROUND, seed, total, ", commits in a thread of their own")
    report.state(f"{total.points:,} images, all gone on with; target {IMAGES:,}", total.points >= IMAGES)


def _cuts(
    report: Report,
    scenario: Scenario,
    work: Path,
    cuts: dict[str, tuple[int, int]],
    seed: int,
    total: Tally,
    how: str = "",
) -> None:
    for story in STORIES:
        recordings, images = cuts.get(story, (0, 0))
        if recordings:
            tally = cut_anywhere(scenario, work, story, recordings=recordings, images=images, seed=seed)
            total.points += tally.points
            report.line(f"{scenario.name}, {story}{how}, {recordings} recordings", tally)


def _made(make: Callable[[Path], Scenario], work: Path) -> Scenario:
    return make(work / make.__name__)


ROWS_OF: dict[str, Callable[[Report, Path, int], None]] = {"kill": kill, "full": full, "power": power}
