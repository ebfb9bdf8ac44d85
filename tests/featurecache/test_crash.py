"""Killed, full, failing and without power: a part of the points of benchmarks/crash.py.

About 150 of 2,400 kills, 5 of 300 chains of kills, 340 of 5,500 failures, and 144 of 2,120 power cuts. The disk
that fails lies in benchmarks/crashing and is loaded by its path: what is run there at length is what is run here, and
neither can import the other by name.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from featurecache import disk
from featurecache.shards.commits import Commits
from featurecache.writer import ShardWriter

FOLDER = Path(__file__).parents[2] / "benchmarks" / "crashing"
MAKERS = ("extraction", "addition", "shared", "arrays")
FAULTS = ("full for good", "input/output error, once", "input/output error for good", "interrupted")
STORIES = ("one run", "killed, gone on", "failed, gone on", "cut off, gone on")


class Harness:
    """The modules of benchmarks/crashing as attributes."""

    def __getattr__(self, name: str) -> ModuleType:
        return importlib.import_module(f"{FOLDER.name}.{name}")


@pytest.fixture(scope="module")
def harness() -> Iterator[Any]:
    """benchmarks/crashing, loaded by its path."""
    known = set(sys.modules)
    spec = importlib.util.spec_from_file_location(
        FOLDER.name, FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules[FOLDER.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield Harness()
    for name in set(sys.modules) - known:
        if name.partition(".")[0] == FOLDER.name:
            del sys.modules[name]


@pytest.fixture
def small(harness: Any) -> Iterator[None]:
    """Small shards, every block committed."""
    with harness.scenarios.small():
        yield


def check(tally: Any, points: int) -> None:
    """Nothing went wrong at so many points."""
    assert not tally.wrong, str(tally)
    assert tally.points >= points


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("maker", "every"), list(zip(MAKERS, (9, 18, 30, 40), strict=True)))
def test_a_killed_process_loses_no_committed_row(maker: str, every: int, harness: Any, tmp_path: Path) -> None:
    scenario = getattr(harness.scenarios, maker)(tmp_path / "made")
    where = harness.kill.points(scenario, tmp_path)
    check(harness.kill.killed_everywhere(scenario, tmp_path, where[::every]), len(where) // every)


@pytest.mark.usefixtures("small")
def test_killed_again_and_again(harness: Any, tmp_path: Path) -> None:
    scenario = harness.scenarios.extraction(tmp_path / "made")
    tally, kills = harness.kill.killed_again_and_again(scenario, tmp_path, 5, 0)
    check(tally, 5)
    assert kills >= 5
    assert tally.stakes > 0


def test_killed_while_a_commit_runs_in_its_thread(harness: Any, tmp_path: Path) -> None:
    with harness.scenarios.small(background=True):
        scenario = harness.scenarios.extraction(tmp_path / "made")
        where = harness.kill.points(scenario, tmp_path)[150::25]  # from where batches are written
        check(harness.kill.killed_everywhere(scenario, tmp_path, where), 20)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_failing_disk_is_refused_in_one_line_and_gone_on_with(fault: str, harness: Any, tmp_path: Path) -> None:
    full, scenario = harness.full, harness.scenarios.extraction(tmp_path / "made")
    stopped = full.stopped(scenario, tmp_path)
    for each, first, every in ((scenario, 1, 12), (stopped, 2, 9), (harness.scenarios.arrays(tmp_path / "a"), 3, 40)):
        where = range(first, full.steps(each, tmp_path) + 1, every)
        check(full.fails_everywhere(each, tmp_path, fault, where), 6)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("fault", FAULTS)
def test_rows_are_not_thrown_away_for_other_settings(fault: str, harness: Any, tmp_path: Path) -> None:
    full = harness.full
    scenario = full.otherwise(full.stopped(harness.scenarios.extraction(tmp_path / "made"), tmp_path, record=1))
    tally = full.fails_everywhere(scenario, tmp_path, fault, range(1, full.steps(scenario, tmp_path) + 1))
    check(tally, 5)
    assert tally.stakes >= tally.points


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("maker", ["extraction", "addition"])
def test_a_power_cut_loses_no_committed_row(maker: str, story: str, harness: Any, tmp_path: Path) -> None:
    scenario = getattr(harness.scenarios, maker)(tmp_path / "made")
    recordings = 1 if story == "one run" else 3
    images = 24 if maker == "extraction" else 12
    tally = harness.power.cut_anywhere(
        scenario, tmp_path, story, recordings=recordings, images=images // recordings, seed=1
    )
    check(tally, images)


def test_a_real_full_disk_is_found_before_the_second_batch(harness: Any, tmp_path: Path) -> None:
    with harness.real.small_file_system(tmp_path) as mounted:
        if not mounted:
            pytest.skip("this user may not mount a file system here")
        message, read, left = harness.real.extract_too_much(tmp_path)
        assert "No space left on device" in message
        assert "00000.h5.part" in message
        assert 0 < read <= harness.real.BATCH
        assert left == 0


def test_the_command_says_it_in_one_line_and_goes_on(harness: Any, tmp_path: Path) -> None:
    code, lines = harness.real.command(tmp_path, "full for good", 40)
    assert (code, len(lines)) == (1, 1), lines
    assert lines[0].startswith("rebalance: ")
    assert "No space left on device" in lines[0]
    assert harness.real.command(tmp_path, "none", 0) == (0, [])
    assert sorted(path.name for path in (tmp_path / "c" / "train").iterdir()) == ["00000.h5"]


# The harness itself: it sees what it is there to see.


@pytest.mark.usefixtures("small")
def test_a_writer_that_does_not_flush_is_found_out(harness: Any, tmp_path: Path) -> None:
    scenario = harness.scenarios.extraction(tmp_path / "made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harness.recording.Recording, "_flushed", lambda *_: None)
        tally = harness.power.cut_anywhere(scenario, tmp_path, "one run", recordings=1, images=20, seed=0)
    assert tally.wrong["committed blocks lost"] > 0
    assert tally.wrong["wrong files"] > 0


@pytest.mark.usefixtures("small")
def test_a_record_before_its_data_is_found_out(harness: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hasty(commits: Any, blocks: Any) -> None:
        commits._journal.append(blocks)
        disk.sync(commits._file)

    monkeypatch.setattr(Commits, "_commit", hasty)
    scenario = harness.scenarios.extraction(tmp_path / "made")
    tally = harness.power.cut_anywhere(scenario, tmp_path, "one run", recordings=1, images=60, seed=0)
    assert tally.wrong["committed blocks lost"] > 0


@pytest.mark.usefixtures("small")
def test_a_file_under_its_final_name_before_it_is_whole_is_found_out(
    harness: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = harness.scenarios.arrays(tmp_path / "made")
    monkeypatch.setattr(disk, "part_name", lambda path: path)
    tally = harness.kill.killed_everywhere(scenario, tmp_path, [(30, harness.disks.ALL)])
    assert tally.wrong["wrong files"] == 1


@pytest.mark.usefixtures("small")
def test_a_writer_that_forgets_is_found_out(harness: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = harness.full.stopped(harness.scenarios.extraction(tmp_path / "made"), tmp_path)
    monkeypatch.setattr(ShardWriter, "_is_ours", lambda _: False)
    tally = harness.kill.killed_everywhere(scenario, tmp_path, [(1, harness.disks.NOTHING)])
    assert tally.wrong["rows computed again"] == 1


@pytest.mark.usefixtures("small")
def test_a_commit_after_a_failed_flush_is_found_out(
    harness: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = Commits._commit

    def stubborn(commits: Any, blocks: Any) -> None:
        try:
            commit(commits, blocks)
        except OSError:
            commit(commits, blocks)

    scenario = harness.scenarios.extraction(tmp_path / "made")
    monkeypatch.setattr(Commits, "_commit", stubborn)
    where = range(170, 190)  # the first batches
    tally = harness.full.fails_everywhere(scenario, tmp_path, "input/output error, once", where)
    assert tally.wrong["commits after a failed flush"] > 0


@pytest.mark.usefixtures("small")
def test_what_does_not_pass_through_the_disk_is_found_out(harness: Any, tmp_path: Path) -> None:
    recording = harness.recording.Recording(tmp_path / "root")
    (tmp_path / "root").mkdir()
    with harness.disks.on(harness.disks.Disk(recording)):
        disk.write_bytes(tmp_path / "root" / "seen", b"x" * 5000)
        harness.power.check_faithful(recording)
        (tmp_path / "root" / "unseen").write_bytes(b"y")
    with pytest.raises(ValueError, match="unseen"):
        harness.power.check_faithful(recording)


@pytest.mark.parametrize(
    ("offset", "length", "there"),
    [(0, 20, 10), (100, 500, 412), (0, 4096, 2048), (4000, 200, 96), (0, 4096 * 3, 4096), (1, 8192, 4095)],
)
def test_a_torn_write_ends_at_a_boundary(offset: int, length: int, there: int, harness: Any) -> None:
    assert harness.disks.torn(offset, length) == there
