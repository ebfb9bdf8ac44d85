"""The journal: exact bytes, and whatever happens to it, no block counts as written that was not recorded."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurecache import disk
from featurecache.shards.journal import Journal, recorded

KEY, BLOCKS = 0x01020304, 9
START, RECORD = 20, 4 + 2 * 4 + 4  # bytes, with two columns


def write(path: Path, *commits: Mapping[int, Sequence[int]], key: int = KEY) -> dict[int, tuple[int, ...]]:
    """Open the journal, append these commits, close it; what it holds then."""
    journal = Journal(path, key, 2, BLOCKS)
    try:
        for blocks in commits:
            journal.append(blocks)
        return journal.done
    finally:
        journal.close()


def crcs(block: int) -> tuple[int, int]:
    """Two numbers that tell a block."""
    return block * 1_000_003 % 2**32, 2**32 - 1 - block


def test_a_journal_has_these_bytes(tmp_path: Path) -> None:
    write(tmp_path / "j", {3: (1, 2)}, {0: (2**32 - 1, 0)})
    begin = b"FCJRNL1\n" + struct.pack("<II", KEY, 2)
    start = begin + struct.pack("<I", zlib.crc32(begin))
    first = struct.pack("<III", 3, 1, 2)
    second = struct.pack("<III", 0, 2**32 - 1, 0)
    first += struct.pack("<I", zlib.crc32(start[-12:] + struct.pack("<Q", 20) + first))
    second += struct.pack("<I", zlib.crc32(start[-12:] + struct.pack("<Q", 36) + second))
    assert (tmp_path / "j").read_bytes() == start + first + second + bytes(RECORD * (BLOCKS - 2))


@pytest.mark.usefixtures("handles")
def test_what_was_recorded_comes_back(tmp_path: Path) -> None:
    assert write(tmp_path / "j") == {}
    assert write(tmp_path / "j", {2: crcs(2), 0: crcs(0)}, {8: crcs(8)}) == {0: crcs(0), 2: crcs(2), 8: crcs(8)}
    before = (tmp_path / "j").read_bytes()
    assert recorded(tmp_path / "j", KEY, 2, BLOCKS) == {0: crcs(0), 2: crcs(2), 8: crcs(8)}
    assert write(tmp_path / "j") == {0: crcs(0), 2: crcs(2), 8: crcs(8)}
    assert (tmp_path / "j").read_bytes() == before
    assert write(tmp_path / "j", {2: (7, 7)})[2] == (7, 7)  # it was damaged and is computed again: the last one holds
    assert recorded(tmp_path / "j", KEY, 2, BLOCKS) == {0: crcs(0), 2: (7, 7), 8: crcs(8)}


def test_a_record_is_flushed_before_the_block_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "j", KEY, 2, BLOCKS)
    done: list[Any] = []

    def sync(_: int) -> None:
        done.append((recorded(tmp_path / "j", KEY, 2, BLOCKS), dict(journal.done)))

    monkeypatch.setattr(disk, "sync", sync)
    journal.append({4: crcs(4)})
    journal.close()
    assert done == [({4: crcs(4)}, {})]


@pytest.mark.parametrize("cut", range(START + 3 * RECORD + 1))
def test_cut_anywhere_it_holds_what_came_before(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "j"
    write(path, {0: crcs(0)}, {1: crcs(1), 2: crcs(2)})
    path.write_bytes(path.read_bytes()[:cut])
    whole = max(0, cut - START) // RECORD
    wanted = {block: crcs(block) for block in range(whole)}
    assert recorded(path, KEY, 2, BLOCKS) == wanted
    assert write(path, {5: crcs(5)}) == {**wanted, 5: crcs(5)}
    assert recorded(path, KEY, 2, BLOCKS) == {**wanted, 5: crcs(5)}


@given(
    st.lists(st.tuples(st.integers(0, START + 4 * RECORD), st.integers(0, 255)), min_size=1, max_size=3),
    st.integers(0, 4),
)
def test_damaged_anywhere_it_holds_a_beginning_of_it_and_goes_on(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], records: int
) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    write(path, {block: crcs(block) for block in range(records)})
    data = bytearray(path.read_bytes())
    for place, value in changes:
        data[place] = value
    path.write_bytes(data)
    left = recorded(path, KEY, 2, BLOCKS)
    assert left == {block: crcs(block) for block in range(len(left))}
    assert len(left) <= records
    # What stood behind the damage does not come to life behind a new record.
    assert write(path, {7: crcs(7)}) == {**left, 7: crcs(7)}
    assert recorded(path, KEY, 2, BLOCKS) == {**left, 7: crcs(7)}


def test_a_record_holds_only_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "j"
    write(path, {0: crcs(0)}, {1: crcs(1)}, {2: crcs(2)})
    data = path.read_bytes()
    first, second, third = (data[START + i * RECORD :][:RECORD] for i in range(3))
    for records, left in [
        (first + first + third, {0: crcs(0)}),
        (second + first + third, {}),
        (first + third, {0: crcs(0)}),
    ]:
        path.write_bytes(data[:START] + records)
        assert recorded(path, KEY, 2, BLOCKS) == left


@pytest.mark.parametrize("content", [b"", b"FCJRNL1\n", bytes(500), b"garbage" * 99])
def test_garbage_is_begun_anew(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "j").write_bytes(content)
    assert recorded(tmp_path / "j", KEY, 2, BLOCKS) == {}
    assert write(tmp_path / "j", {1: crcs(1)}) == {1: crcs(1)}
    assert recorded(tmp_path / "j", KEY, 2, BLOCKS) == {1: crcs(1)}
    assert (tmp_path / "j").stat().st_size == START + BLOCKS * RECORD


def test_the_journal_of_another_shard_is_begun_anew(tmp_path: Path) -> None:
    write(tmp_path / "j", {0: crcs(0)}, key=KEY + 1)
    assert recorded(tmp_path / "j", KEY, 2, BLOCKS) == {}
    assert recorded(tmp_path / "j", KEY + 1, 3, BLOCKS) == {}  # of another number of columns
    assert write(tmp_path / "j") == {}
    assert recorded(tmp_path / "j", KEY + 1, 2, BLOCKS) == {}


def test_a_block_that_the_shard_does_not_have_is_left_out(tmp_path: Path) -> None:
    write(tmp_path / "j", {0: crcs(0), 8: crcs(8)})
    assert recorded(tmp_path / "j", KEY, 2, 8) == {0: crcs(0)}


def test_no_journal_records_nothing(tmp_path: Path) -> None:
    assert recorded(tmp_path / "j", KEY, 2, BLOCKS) == {}
    assert not (tmp_path / "j").exists()


def test_a_journal_that_cannot_be_read_is_not_taken_for_none(tmp_path: Path, refused: Any) -> None:
    (tmp_path / "j").mkdir()
    with refused("j", error=OSError):
        recorded(tmp_path / "j", KEY, 2, BLOCKS)


@pytest.mark.usefixtures("handles")
@pytest.mark.parametrize("operation", ["create", "allocate", "write_at", "sync", "sync_folder"])
def test_a_full_disk_at_its_beginning(operation: str, tmp_path: Path, failing: Any) -> None:
    with pytest.raises(OSError, match="No space left"), failing(operation, at=1):
        write(tmp_path / "j")
    assert write(tmp_path / "j", {1: crcs(1)}) == {1: crcs(1)}


@pytest.mark.usefixtures("handles")
@pytest.mark.parametrize("operation", ["truncate", "allocate", "sync"])
def test_a_full_disk_when_a_torn_record_is_cut_off(operation: str, tmp_path: Path, failing: Any) -> None:
    path = tmp_path / "j"
    write(path, {0: crcs(0)}, {1: crcs(1)})
    data = bytearray(path.read_bytes())
    data[START + 2 * RECORD] = 1
    path.write_bytes(data)
    with pytest.raises(OSError, match="No space left"), failing(operation, at=1):
        write(path)
    assert write(path, {2: crcs(2)}) == {block: crcs(block) for block in range(3)}


@pytest.mark.usefixtures("handles")
@pytest.mark.parametrize("operation", ["write_at", "sync"])
def test_a_commit_that_failed_does_not_count(operation: str, tmp_path: Path, failing: Any) -> None:
    journal = Journal(tmp_path / "j", KEY, 2, BLOCKS)
    journal.append({0: crcs(0)})
    with pytest.raises(OSError, match="No space left"), failing(operation, at=1):
        journal.append({1: crcs(1)})
    assert journal.done == {0: crcs(0)}
    journal.close()
    assert recorded(tmp_path / "j", KEY, 2, BLOCKS).items() >= {0: crcs(0)}.items()


def test_it_is_at_its_full_size_from_the_start(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", KEY, 2, BLOCKS)
    size = os.path.getsize(tmp_path / "j")
    journal.append({block: crcs(block) for block in range(BLOCKS)})
    journal.close()
    assert os.path.getsize(tmp_path / "j") == size == START + BLOCKS * RECORD
