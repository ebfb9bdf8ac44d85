"""Commits behind the writer's back: in order, all of them, and a failure is the last thing that happens."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurecache import disk
from featurecache.shards.commits import BEHIND, Commits
from featurecache.shards.journal import Journal, recorded


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """The journal of a shard of 50 blocks and one column."""
    made = Journal(tmp_path / "j", 1, 1, 50)
    yield made
    made.close()


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    """The shard."""
    made = disk.create(tmp_path / "part")
    yield made
    os.close(made)


def there(tmp_path: Path) -> list[int]:
    """Blocks that are recorded."""
    return list(recorded(tmp_path / "j", 1, 1, 50))


def test_without_bytes_to_wait_for_every_block_is_committed_at_once(
    journal: Journal, file: int, tmp_path: Path
) -> None:
    commits = Commits(file, journal, every_bytes=0, every_seconds=1e9)
    for block in range(3):
        commits.add(block, (block,), 10)
        assert there(tmp_path) == list(range(block + 1))
    commits.close()


def test_blocks_are_committed_when_there_are_enough_bytes_or_after_a_while(
    journal: Journal, file: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("featurecache.shards.commits.time.monotonic", lambda: now[0])
    commits = Commits(file, journal, every_bytes=100, every_seconds=5)
    commits.add(0, (0,), 99)
    assert there(tmp_path) == []
    commits.add(1, (1,), 1)
    commits.close()
    assert there(tmp_path) == [0, 1]
    commits = Commits(file, journal, every_bytes=100, every_seconds=5)
    commits.add(2, (2,), 1)
    now[0] = 5.0
    commits.add(3, (3,), 1)
    commits.close()
    assert there(tmp_path) == [0, 1, 2, 3]


def test_what_was_added_last_is_committed_when_that_is_asked_for(journal: Journal, file: int, tmp_path: Path) -> None:
    commits = Commits(file, journal, every_bytes=100, every_seconds=1e9)
    commits.add(7, (7,), 1)
    commits.now()
    commits.now()
    assert there(tmp_path) == [7]
    commits.add(8, (8,), 1)
    commits.close()
    assert there(tmp_path) == [7]  # closing alone commits nothing


@given(st.lists(st.integers(1, 300), max_size=50), st.sampled_from([0, 1, 100, 1000]))
def test_all_blocks_are_committed_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], every: int
) -> None:
    folder = tmp_path_factory.mktemp("commits")
    journal, file = Journal(folder / "j", 1, 1, 50), disk.create(folder / "part")
    try:
        commits = Commits(file, journal, every_bytes=every, every_seconds=1e9)
        for block, size in enumerate(sizes):
            commits.add(block, (block,), size)
        commits.now()
        commits.close()
    finally:
        os.close(file)
        journal.close()
    assert there(folder) == list(range(len(sizes)))
    assert (folder / "j").read_bytes().strip(b"\0").count(b"FCJRNL1") == 1


def test_data_are_flushed_before_their_record(
    journal: Journal, file: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, list[int]]] = []
    real = disk.sync

    def sync(handle: int) -> None:
        seen.append((handle == file, there(tmp_path)))
        real(handle)

    monkeypatch.setattr(disk, "sync", sync)
    commits = Commits(file, journal, every_bytes=0, every_seconds=1e9)
    commits.add(4, (4,), 1)
    commits.close()
    assert seen == [(True, []), (False, [4])]


def test_the_writer_does_not_wait_until_it_is_far_ahead(
    journal: Journal, file: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, real, main = threading.Event(), disk.sync, threading.current_thread()
    flushing = threading.Event()

    def sync(handle: int) -> None:
        if threading.current_thread() is not main:
            flushing.set()
            assert go.wait(20)
        real(handle)

    monkeypatch.setattr(disk, "sync", sync)
    commits = Commits(file, journal, every_bytes=10, every_seconds=1e9)
    commits.add(0, (0,), 10)
    assert flushing.wait(20)
    for block in range(1, BEHIND):  # each as much as a commit, and none of them waits
        commits.add(block, (block,), 10)
    assert there(tmp_path) == []
    timer = threading.Timer(0.1, go.set)
    timer.start()
    commits.add(BEHIND, (BEHIND,), 10)  # this one has to
    assert go.is_set()
    commits.now()
    commits.close()
    timer.join()
    assert there(tmp_path) == list(range(BEHIND + 1))


@pytest.mark.parametrize("operation", ["sync", "write_at"])
@pytest.mark.parametrize("every", [0, 10])
def test_a_failure_is_reported_and_nothing_is_committed_after_it(
    operation: str, every: int, journal: Journal, file: int, tmp_path: Path, failing: Any
) -> None:
    commits = Commits(file, journal, every_bytes=every, every_seconds=1e9)

    def go_on() -> None:
        for block in range(9):
            commits.add(block, (block,), 10)
        commits.now()

    with failing(operation, at=1) as calls, pytest.raises(OSError, match="No space left"):
        go_on()
    done, asked = there(tmp_path), calls[0]
    assert done == []
    commits.close()
    assert there(tmp_path) == done
    assert asked == 1  # a disk that failed is not asked again
