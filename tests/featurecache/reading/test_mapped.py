"""A shard in memory: nothing is copied, nothing is reserved, and the file is never written to."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featurecache import FeatureCache, layout, write
from featurecache.plan import CachePlan, SplitPlan, read_plan
from featurecache.reading.mapped import MappedShard, checked_header
from featurecache.shards.header import Header
from featurecache.shards.skeleton import lay_out

N, D = 6, 3
FEATURES = np.arange(N * D, dtype=np.float32).reshape(N, D)
LABELS = np.array([0, 1, 2, 3, -1, 0])
COLUMNS = {
    "features": FEATURES.astype("<f2"),
    "labels": LABELS,
    "index": np.arange(N),
    "sample_id": np.array([b"0", b"1", b"2", b"3", b"4", b"5"]),
    "status": np.zeros(N, np.uint8),
}


@pytest.fixture
def shard(tmp_path: Path) -> MappedShard:
    """The only file of a split."""
    write(tmp_path, "train", FEATURES, LABELS)
    return MappedShard(tmp_path, read_plan(tmp_path), "train", 0)


def test_a_column_is_a_view_of_the_file(shard: MappedShard) -> None:
    for name, wanted in COLUMNS.items():
        column = shard.column(name)
        assert not column.flags.owndata
        assert np.shares_memory(column, shard.column(name))
        assert column.dtype == wanted.dtype
        assert np.array_equal(column, wanted)
    with shard.path.open("r+b") as file:  # what another program writes is seen, for nothing was copied
        file.seek(shard.header.columns["labels"].offset)
        file.write((3).to_bytes(8, "little"))
    assert shard.column("labels")[0] == 3


def test_a_column_read_past_the_map_is_the_same(shard: MappedShard) -> None:
    for name, wanted in COLUMNS.items():
        out = np.zeros_like(wanted)
        shard.read(name, out)
        assert np.array_equal(out, wanted)


def test_writing_to_a_column_changes_this_memory_only(shard: MappedShard, tmp_path: Path) -> None:
    before = shard.path.read_bytes()
    for name in COLUMNS:
        shard.column(name)[:] = 1
    assert shard.column("features").tolist() == [[1] * D] * N
    assert shard.path.read_bytes() == before
    assert np.array_equal(MappedShard(tmp_path, read_plan(tmp_path), "train", 0).column("features"), FEATURES)


def test_a_file_cut_short_while_it_is_open_is_refused_by_read(shard: MappedShard, refused: Any) -> None:
    os.truncate(shard.path, shard.header.columns["features"].offset + 1)
    with refused(str(shard.path), "features", "cut short"):
        shard.read("features", np.zeros((N, D), np.float16))


@pytest.mark.parametrize(("start", "stop"), [(0, N), (2, 3), (5, 6), (3, 3)])
def test_any_rows_may_be_announced(start: int, stop: int, shard: MappedShard) -> None:
    for name in COLUMNS:
        shard.will_need(name, start, stop)
        assert np.array_equal(shard.column(name), COLUMNS[name])


def test_the_header_of_another_shard_is_refused(shard: MappedShard, tmp_path: Path, refused: Any) -> None:
    plan = read_plan(tmp_path)
    assert checked_header(shard.path, plan, "train", 0) == shard.header
    with refused(str(shard.path), "expected val 0"):
        checked_header(shard.path, plan.with_split("val", plan.splits["train"]), "val", 0)


WIDE, MANY = 2**18, 100 * 2**10  # 100 GiB of float32


@pytest.fixture
def huge(tmp_path: Path) -> Iterator[Path]:
    """A cache of 100 GiB of zeros in a file that is nearly all hole."""
    split = SplitPlan(MANY, 2**14, (0, MANY), seen=True)
    specification = {"source": "arrays", "features": {"dtype": "float32", "width": WIDE}, "logits": "none"}
    plan = CachePlan(specification, 3, None, {"train": split})
    columns = layout.columns(MANY, WIDE, dtype="float32", classes=None, id_bytes=1, block=split.batch_size)
    blank = Header("train", 0, MANY, split.batch_size, columns, plan.to_json(only="train"))
    skeleton = lay_out(columns, blank.user_block)
    file = layout.shard_path(tmp_path, "train", 0)
    file.parent.mkdir()
    header = Header(
        "train", 0, MANY, blank.block, skeleton.columns, blank.cache, size=skeleton.size, structure=skeleton.crc
    )
    try:
        with file.open("wb") as shard:
            shard.truncate(skeleton.size)
            shard.write(header.pack())
            for place, piece in skeleton.pieces.items():
                shard.seek(place)
                shard.write(piece)
    except OSError as error:
        pytest.skip(f"no file of 100 GiB here: {error}")
    if file.stat().st_blocks * 512 > 2**30:
        pytest.skip("this file system stores holes")
    plan.save(tmp_path)
    yield tmp_path
    file.unlink()


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(sys.platform != "linux", reason="memory is asked of /proc")
def test_a_cache_larger_than_the_memory(huge: Path) -> None:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if total > 90 * 2**30:
        pytest.skip("this machine has more memory than the file")
    before = resident()
    split = FeatureCache(huge)["train"]
    assert split.features.shape == (MANY, WIDE)
    assert split.nbytes > 100 * 2**30
    rows = [MANY - 1, 0, 77]
    assert not np.asarray(split.features[rows]).any()
    split.features[MANY - 1][:] = 3  # a page that is written to is a copy
    assert split.features[MANY - 1][-1] == 3
    last, labels = list(split.blocks(MANY // 4))[-1]
    assert (last.shape, last[-1, -1].item(), len(labels)) == ((MANY // 4, WIDE), 3, MANY // 4)
    assert resident() - before < 2**26
    assert not FeatureCache(huge)["train"].features[MANY - 1].any()


@pytest.fixture
def read_only() -> Iterator[Path]:
    """A cache that this process may not change; root gives up its rights for that long."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c"
        write(path, "train", FEATURES, LABELS, logits=np.ones((N, 4)), head=(np.ones((4, D)), np.ones(4)))
        folders = [Path(folder), path, path / "train"]
        for file in path.rglob("*"):
            file.chmod(0o444)
        for place in folders:
            place.chmod(0o555)
        _ = FeatureCache(path, verify=True).describe()  # whatever is imported late is there
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            yield path
        finally:
            if root:
                os.seteuid(0)
            for place in folders:
                place.chmod(0o755)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions of POSIX")
def test_a_cache_that_may_not_be_written_to(read_only: Path) -> None:
    for target in (read_only / "x", read_only / "train" / "x"):
        with pytest.raises(PermissionError):
            target.touch()
    with pytest.raises(PermissionError):
        (read_only / "train" / "00000.h5").open("r+b")
    cache = FeatureCache(read_only, verify=True)
    split = cache["train"]
    assert np.array_equal(split.features, FEATURES)
    assert np.array_equal(split.read("features"), FEATURES)
    assert split.labels.tolist() == LABELS.tolist()
    split.features[:] = 0
    assert not split.features.any()
    assert cache.head[0].sum() == 4 * D
    assert cache.describe()["splits"]["train"]["complete"]


@pytest.mark.parametrize("number", [1, -5, 10**400])
def test_files_that_were_exchanged_are_told_in_one_line(
    number: int, tmp_path: Path, edit_header: Any, refused: Any
) -> None:
    write(tmp_path, "train", np.ones((3, 2), np.float32), np.zeros(3, int))
    edit_header(tmp_path / "train" / "00000.h5", lambda header: header.update(shard=number))
    with refused("00000.h5", f"it is train {str(number)[:20]}", "expected train 0"):
        _ = FeatureCache(tmp_path)["train"]
