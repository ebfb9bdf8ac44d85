"""A shard whose writing was stopped: what was committed stays, what is damaged is made again, to the same bytes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from featurecache import disk
from featurecache.plan import CachePlan, SplitPlan
from featurecache.shards.header import read_header
from featurecache.shards.lock import BeingWritten, Lock
from featurecache.writer import Finished, ShardWriter, committed_rows, discard, tidy


@pytest.fixture
def whole(sample: Any, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The shard as it is when nothing stops it."""
    data: bytes = sample.save(tmp_path_factory.mktemp("whole")).read_bytes()
    return data


def interrupted(opened: ShardWriter, sample: Any, *blocks: int) -> Path:
    """Write these blocks and be interrupted; the place of the shard."""

    def write() -> None:
        with opened as writer:
            for block in blocks:
                writer.write(block, sample.block(block))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    return opened.final


def stop_after(sample: Any, cache: Path, *blocks: int) -> Path:
    """The place of the shard of which these blocks were written."""
    return interrupted(sample.writer(cache), sample, *blocks)


def of_another_making(sample: Any, cache: Path) -> ShardWriter:
    """The writer of a shard that differs in nothing but its specification."""
    plan = CachePlan({"source": "else"}, 4).with_split("train", SplitPlan(3, 2, (0, 3), True))
    return ShardWriter(cache, plan, "train", 0, sample.columns)


def go_on(sample: Any, cache: Path) -> list[int]:
    """Finish the shard; the blocks that had to be written."""
    with sample.writer(cache) as writer:
        missing: list[int] = writer.missing
        for block in missing:
            writer.write(block, sample.block(block))
        writer.finish()
    return missing


def beside(final: Path) -> list[str]:
    """The endings of the files of a shard."""
    return sorted(path.name.removeprefix("00000.h5") for path in final.parent.iterdir())


@pytest.mark.usefixtures("handles")
@pytest.mark.parametrize("blocks", [(0,), (1,), (0, 1)])
def test_what_was_written_before_an_interruption_is_kept(
    blocks: tuple[int, ...], sample: Any, whole: bytes, tmp_path: Path, tree: Any
) -> None:
    final = stop_after(sample, tmp_path, *blocks)
    assert beside(final) == [".journal", ".part"]
    assert committed_rows(tmp_path, sample.plan, "train", 0) == sum(2 - block for block in blocks)
    assert go_on(sample, tmp_path) == [block for block in range(2) if block not in blocks]
    assert tree(tmp_path) == {"train/00000.h5": whole}


@pytest.mark.usefixtures("handles")
def test_an_interruption_before_the_first_block_leaves_nothing(sample: Any, tmp_path: Path, tree: Any) -> None:
    stop_after(sample, tmp_path)
    assert tree(tmp_path) == {}


@pytest.mark.usefixtures("handles")
def test_what_is_not_to_be_resumed_leaves_nothing(sample: Any, tmp_path: Path, tree: Any) -> None:
    interrupted(sample.writer(tmp_path, resume=False), sample, 0)
    assert tree(tmp_path) == {}


def damage(path: Path, place: int) -> None:
    """Change one byte."""
    data = bytearray(path.read_bytes())
    data[place] ^= 0x10
    path.write_bytes(data)


@pytest.mark.parametrize("column", ["features", "logits", "labels", "index", "sample_id", "status"])
def test_a_committed_block_that_was_damaged_is_written_again(
    column: str, sample: Any, whole: bytes, tmp_path: Path, tree: Any
) -> None:
    part = disk.part_name(stop_after(sample, tmp_path, 0, 1))
    damage(part, read_header(part).span(column, 0)[0])
    assert go_on(sample, tmp_path) == [0]
    assert tree(tmp_path) == {"train/00000.h5": whole}


def test_a_damaged_structure_and_padding_are_repaired(sample: Any, whole: bytes, tmp_path: Path, tree: Any) -> None:
    part = disk.part_name(stop_after(sample, tmp_path, 0))
    data, header = part.read_bytes(), read_header(part)
    inside = {
        place for column in header.columns.values() for place in range(column.offset, column.offset + column.nbytes)
    }
    outside = [place for place in range(len(header.pack()), len(data)) if place not in inside]
    for place in (*outside[:: len(outside) // 20], header.user_block, outside[-1], header.columns["crc"].offset):
        damage(part, place)
    assert go_on(sample, tmp_path) == [1]
    assert tree(tmp_path) == {"train/00000.h5": whole}


Spoil = Callable[[Path, Path], object]  # of the part and the journal
SPOILED: dict[str, tuple[Spoil, list[int]]] = {
    "no journal": (lambda part, journal: journal.unlink(), [0, 1]),
    "an empty journal": (lambda part, journal: journal.write_bytes(b""), [0, 1]),
    "a journal of garbage": (lambda part, journal: journal.write_bytes(b"garbage" * 99), [0, 1]),
    "a journal cut in its last record": (lambda part, journal: os.truncate(journal, 20 + 32 + 31), [1]),
    "a journal damaged in its last record": (lambda part, journal: damage(journal, 20 + 32 + 5), [1]),
    "a journal damaged in its first record": (lambda part, journal: damage(journal, 20 + 5), [0, 1]),
    "no part": (lambda part, journal: part.unlink(), [0, 1]),
    "a part cut short": (lambda part, journal: os.truncate(part, part.stat().st_size - 1), [0, 1]),
    "a part that grew": (lambda part, journal: os.truncate(part, part.stat().st_size + 1), [0, 1]),
    "a part with a damaged header": (lambda part, journal: damage(part, 99), [0, 1]),
    "an empty part": (lambda part, journal: part.write_bytes(b""), [0, 1]),
    "a lock": (lambda part, journal: part.with_name("00000.h5.lock").write_bytes(b"of a dead one"), []),
}


@pytest.mark.usefixtures("handles")
@pytest.mark.parametrize(("spoil", "missing"), SPOILED.values(), ids=SPOILED.keys())
def test_whatever_is_found_the_shard_becomes_the_same(
    spoil: Spoil, missing: list[int], sample: Any, whole: bytes, tmp_path: Path, tree: Any
) -> None:
    final = stop_after(sample, tmp_path, 0, 1)
    spoil(disk.part_name(final), final.with_name("00000.h5.journal"))
    assert go_on(sample, tmp_path) == missing
    assert tree(tmp_path) == {"train/00000.h5": whole}


def test_a_journal_of_another_shard_does_not_vouch_for_this_one(sample: Any, tmp_path: Path) -> None:
    interrupted(of_another_making(sample, tmp_path / "o"), sample, 0)
    final = stop_after(sample, tmp_path / "c", 0)
    foreign = (tmp_path / "o" / "train" / "00000.h5.journal").read_bytes()
    final.with_name("00000.h5.journal").write_bytes(foreign)
    assert committed_rows(tmp_path / "c", sample.plan, "train", 0) == 0
    with sample.writer(tmp_path / "c") as resumed:
        assert resumed.missing == [0, 1]
        resumed.write(0, sample.block(0))


def test_a_part_of_another_making_is_replaced(sample: Any, whole: bytes, tmp_path: Path, tree: Any) -> None:
    interrupted(of_another_making(sample, tmp_path), sample, 0)
    assert go_on(sample, tmp_path) == [0, 1]
    assert tree(tmp_path) == {"train/00000.h5": whole}


@pytest.mark.usefixtures("handles")
@pytest.mark.parametrize(
    "where", ["shards.checksums.wrong_blocks", "shards.journal.Journal._replay", "writer.read_header"]
)
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(5, "Input/output error")])
def test_an_error_while_it_is_opened_again_loses_nothing(
    where: str, error: BaseException, sample: Any, whole: bytes, tmp_path: Path, tree: Any
) -> None:
    stop_after(sample, tmp_path, 0)
    before = tree(tmp_path)

    def stop(*_: Any, **__: Any) -> Any:
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"featurecache.{where}", stop)
        with pytest.raises((KeyboardInterrupt, OSError)):
            sample.writer(tmp_path)
    assert tree(tmp_path) == before
    assert go_on(sample, tmp_path) == [1]
    assert tree(tmp_path) == {"train/00000.h5": whole}


OPERATIONS = ["create", "allocate", "write_at", "sync", "sync_folder", "rename"]


@pytest.mark.usefixtures("handles", "commit_each")
@pytest.mark.parametrize("sticky", [False, True])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_full_disk_at_any_operation_is_reported_and_gone_on_from(
    operation: str, sticky: bool, sample: Any, whole: bytes, tmp_path: Path, tree: Any, failing: Any
) -> None:
    with failing(operation, at=0) as calls:
        sample.save(tmp_path / "counted")
    assert calls[0]
    for at in range(1, calls[0] + 1):
        cache = tmp_path / str(at)
        with pytest.raises(OSError, match="No space left"), failing(operation, at, sticky):
            sample.save(cache)
        left = {name: data for name, data in tree(cache).items() if not name.endswith("/")}
        # Nothing, what can be gone on with, or the whole shard with what is swept up by the next run.
        assert {Path(name).suffix for name in left} <= {".part", ".journal", ".h5"}
        assert left.get("train/00000.h5", whole) == whole
        if "train/00000.h5" in left:
            tidy(cache / "train" / "00000.h5")
        else:
            assert len(left) in (0, 2)
            kept = committed_rows(cache, sample.plan, "train", 0)
            assert bool(kept) == bool(left)
            go_on(sample, cache)
        assert tree(cache) == {"train/00000.h5": whole}


@pytest.mark.usefixtures("handles")
def test_a_disk_that_failed_is_not_asked_to_commit(sample: Any, tmp_path: Path, failing: Any, tree: Any) -> None:
    def write() -> None:
        with sample.writer(tmp_path) as writer:
            writer.write(0, sample.block(0))
            before.append(synced[0])
            with failing("write_at", at=len(sample.values)):  # the last column of the second block
                writer.write(1, sample.block(1))

    before: list[int] = []
    with failing("sync", at=0) as synced, pytest.raises(OSError, match="No space left"):
        write()
    assert before == synced
    assert tree(tmp_path) == {}


def test_a_shard_that_another_process_writes_is_refused_and_left_alone(
    sample: Any, whole: bytes, tmp_path: Path, tree: Any, refused: Any
) -> None:
    with sample.writer(tmp_path) as writer:
        writer.write(0, sample.block(0))
        before = tree(tmp_path)
        with refused("00000.h5", f"process {os.getpid()} ", error=BeingWritten):
            sample.writer(tmp_path)
        with refused(error=BeingWritten):
            discard(writer.final)
        assert tree(tmp_path) == before
        writer.write(1, sample.block(1))
        writer.finish()
    assert tree(tmp_path) == {"train/00000.h5": whole}


@pytest.mark.usefixtures("handles")
def test_a_shard_that_is_finished_is_not_written_again(sample: Any, tmp_path: Path, tree: Any) -> None:
    sample.save(tmp_path)
    before = tree(tmp_path)
    with pytest.raises(Finished, match=r"00000\.h5"):
        sample.writer(tmp_path)
    assert tree(tmp_path) == before


def test_what_a_crash_left_beside_a_finished_shard_is_swept_up(
    sample: Any, whole: bytes, tmp_path: Path, tree: Any
) -> None:
    final = sample.save(tmp_path)
    for ending in (".journal", ".lock"):
        final.with_name(final.name + ending).write_bytes(b"x")
    lock = Lock(final)
    final.with_name("00000.h5.journal").write_bytes(b"x")
    tidy(final)  # somebody else is there: theirs
    assert beside(final) == ["", ".journal", ".lock"]
    lock.release()
    tidy(final)
    assert tree(tmp_path) == {"train/00000.h5": whole}


def test_discarding_removes_everything_but_a_finished_shard(sample: Any, tmp_path: Path) -> None:
    final = stop_after(sample, tmp_path, 0)
    final.with_name("00000.h5.new").touch()
    discard(final)
    assert beside(final) == []
    discard(final)
    assert beside(sample.save(tmp_path)) == [""]
    discard(final)
    assert beside(final) == [""]


def test_committed_rows_of_nothing(sample: Any, tmp_path: Path) -> None:
    assert committed_rows(tmp_path, sample.plan, "train", 0) == 0
    sample.save(tmp_path)
    assert committed_rows(tmp_path, sample.plan, "train", 0) == 0  # finished: there is nothing unfinished of it
    disk.part_name(tmp_path / "train" / "00000.h5").write_bytes(b"garbage")
    assert committed_rows(tmp_path, sample.plan, "train", 0) == 0
