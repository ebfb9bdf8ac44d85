"""Whatever is wrong with a split is found and named: the file, the rows and the column."""

from __future__ import annotations

import errno
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from featurecache import FeatureCache, disk, layout, write
from featurecache.reading.verification import Damage, damages
from featurecache.shards.header import Header, read_header

N, D, K = 12, 3, 4  # two views of six images, in two files of three blocks of two rows
FEATURES = np.arange(1, N * D + 1, dtype=np.float32).reshape(N, D)
LABELS = np.array([0, 1, 2, 3, -1, 0] * 2)
HEAD = (torch.arange(12.0).reshape(K, D), torch.arange(4.0))
COLUMNS = ["features", "logits", "labels", "index", "sample_id", "status", "view"]
STRUCTURE = "the HDF5 structure"


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache to read and never to change."""
    path = tmp_path_factory.mktemp("sample") / "c"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("featurecache.writing.table.BLOCK_ROWS", 2)
        patch.setattr("featurecache.plan.SHARD_BYTES", 300)
        write(path, "train", FEATURES, LABELS, logits=np.ones((N, K)), head=HEAD, views=2)
    header = read_header(path / "train" / "00001.h5")
    assert (header.rows, header.block, list(header.data)) == (6, 2, COLUMNS)
    return path


@pytest.fixture
def cache(sample: Path, tmp_path: Path) -> Path:
    """A cache to damage."""
    return shutil.copytree(sample, tmp_path / "c")


def found(cache: Path) -> list[tuple[str, int, int, str]]:
    """What is wrong with train: file, rows from and to, column."""
    every = damages(FeatureCache(cache)["train"])
    return [(damage.file.name, damage.start, damage.stop, damage.column) for damage in every]


def patch_file(file: Path, place: int, data: bytes) -> None:
    """Overwrite some bytes."""
    with file.open("r+b") as shard:
        shard.seek(place)
        shard.write(data)


Value: TypeAlias = int | float


def lie(file: Path, column: str, row: int, value: Value) -> None:
    """Change a value and repair the checksums, so that only its meaning is wrong. row: of the file."""
    header = read_header(file)
    kind = header.columns[column].dtype
    width = header.columns[column].nbytes // header.rows
    patch_file(file, header.columns[column].offset + row * width, kind.type(value).astype(kind).tobytes())
    repair(file, header)


def repair(file: Path, header: Header) -> None:
    """Write the checksums that its columns have now."""
    data = file.read_bytes()
    table = np.zeros(header.columns["crc"].shape, "<u4")
    for block in range(header.blocks):
        for place, name in enumerate(header.data):
            start, length = header.span(name, block)
            table[block, place] = zlib.crc32(data[start : start + length])
    patch_file(file, header.columns["crc"].offset, table.tobytes())


def culprit(header: Header, place: int) -> tuple[int, int, str] | None:
    """First row, end and column that a changed byte of the file shows as; None where the header itself is changed."""
    if place < len(header.pack()):
        return None
    for name, column in header.columns.items():
        if column.offset <= place < column.offset + column.nbytes:
            if name == "crc":
                block, number = divmod((place - column.offset) // 4, len(header.data))
                name = list(header.data)[number]
            else:
                block = (place - column.offset) // (column.nbytes // header.rows) // header.block
            return block * header.block, min((block + 1) * header.block, header.rows), name
    return 0, 0, STRUCTURE


def test_a_whole_split_has_no_damage(sample: Path) -> None:
    assert found(sample) == []
    FeatureCache(sample, verify=True)


@given(st.data())
def test_every_byte_of_a_file_counts(sample: Path, tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    shard = data.draw(st.sampled_from([0, 1]))
    name = f"0000{shard}.h5"
    header = read_header(sample / "train" / name)
    spans = [(column.offset, column.offset + column.nbytes - 1) for column in header.columns.values()]
    place = data.draw(st.integers(0, header.size - 1) | st.one_of([st.integers(*span) for span in spans]))
    cache = shutil.copytree(sample, tmp_path_factory.mktemp("damaged") / "c")
    file = cache / "train" / name
    patch_file(file, place, bytes([file.read_bytes()[place] ^ data.draw(st.integers(1, 255))]))
    wanted = culprit(header, place)
    if wanted is None:
        with pytest.raises(ValueError, match=name):
            FeatureCache(cache)["train"]
        return
    start, stop, column = wanted
    first = 6 * shard if stop else 0
    assert found(cache) == [(name, first + start, first + stop, column)]
    with pytest.raises(ValueError, match=f"{name}.*{column}"):
        FeatureCache(cache, verify=True)


@pytest.mark.parametrize("column", COLUMNS)
def test_neighbouring_blocks_are_one_damage(column: str, cache: Path) -> None:
    for name, blocks in {"00000.h5": [0, 1, 2], "00001.h5": [0, 2]}.items():
        file = cache / "train" / name
        header = read_header(file)
        for block in blocks:
            start, length = header.span(column, block)
            patch_file(file, start, bytes(255 - byte for byte in file.read_bytes()[start : start + length]))
    assert found(cache) == [
        ("00000.h5", 0, 6, column),
        ("00001.h5", 6, 8, column),
        ("00001.h5", 10, 12, column),
    ]


LIES: dict[str, tuple[list[tuple[str, int, Value]], tuple[int, int, str]]] = {
    "a label beyond the classes": ([("labels", 3, K)], (9, 10, "labels")),
    "a label below -1": ([("labels", 0, -2)], (6, 7, "labels")),
    "a huge label": ([("labels", 5, 2**63 - 1)], (11, 12, "labels")),
    "rows exchanged": ([("index", 1, 8), ("index", 2, 7)], (7, 8, "index")),
    "a row twice": ([("index", 4, 9)], (10, 11, "index")),
    "a row beyond the split": ([("index", 5, N)], (11, 12, "index")),
    "an unknown status": ([("status", 4, 2)], (10, 11, "status")),
    "a label of a sample that could not be read": ([("status", 0, 1)], (6, 7, "status")),
    "the other view": ([("view", 2, 0)], (8, 9, "view")),
    "a view that is not there": ([("view", 2, 2)], (8, 9, "view")),
    "nan": ([("features", 5, np.nan)], (10, 12, "features")),
    "infinity": ([("logits", 0, -np.inf)], (6, 8, "logits")),
}


@pytest.mark.parametrize(("lies", "wanted"), LIES.values(), ids=LIES.keys())
def test_values_that_cannot_be(
    lies: list[tuple[str, int, Value]], wanted: tuple[int, int, str], cache: Path, refused: Any
) -> None:
    file = cache / "train" / "00001.h5"
    for change in lies:
        lie(file, *change)
    assert found(cache) == [("00001.h5", *wanted)]
    with refused(str(file), wanted[2], f"{wanted[0]}..{wanted[1] - 1}", "delete this file"):
        FeatureCache(cache).verify()


def test_a_sample_that_could_not_be_read_is_no_damage(cache: Path) -> None:
    file = cache / "train" / "00000.h5"
    for column, value in {"status": 1, "labels": -1}.items():
        lie(file, column, 1, value)
    assert found(cache) == []
    assert FeatureCache(cache)["train"].status.tolist() == [0, 1, *[0] * 10]


def test_several_damages_are_all_listed(cache: Path) -> None:
    lie(cache / "train" / "00000.h5", "labels", 0, K)
    lie(cache / "train" / "00000.h5", "index", 3, 0)
    header = read_header(cache / "train" / "00001.h5")
    patch_file(cache / "train" / "00001.h5", header.columns["status"].offset, b"\7")
    patch_file(cache / "train" / "00001.h5", header.size - 1, b"\7")
    assert found(cache) == [
        ("00000.h5", 0, 1, "labels"),
        ("00000.h5", 3, 4, "index"),
        ("00001.h5", 6, 8, "status"),
        ("00001.h5", 0, 0, STRUCTURE),
    ]


def test_columns_exchanged_in_the_header_are_found(cache: Path, edit_header: Any) -> None:
    def exchange(header: dict[str, Any]) -> None:
        one, two = (header["columns"][name] for name in ("labels", "index"))
        one["offset"], two["offset"] = two["offset"], one["offset"]

    edit_header(cache / "train" / "00001.h5", exchange)
    assert found(cache) == [("00001.h5", 6, 12, "labels"), ("00001.h5", 6, 12, "index")]


def test_opening_reads_no_values(cache: Path) -> None:
    file = cache / "train" / "00000.h5"
    lie(file, "features", 0, 7.0)
    header = read_header(file)
    patch_file(file, header.columns["crc"].offset, b"\0" * header.columns["crc"].nbytes)
    split = FeatureCache(cache)["train"]
    assert split.features[0][0] == 7
    assert len(list(damages(split))) == len(COLUMNS)


def test_what_was_verified_is_not_read_again(cache: Path, refused: Any) -> None:
    opened = FeatureCache(cache, verify=True)
    lie(cache / "train" / "00000.h5", "labels", 0, K)
    opened.verify()
    opened.verify(["train"])
    with refused("00000.h5", "labels"):
        FeatureCache(cache).verify(["train"])


def test_the_head_is_verified_with_all_splits_and_not_with_some(cache: Path, refused: Any) -> None:
    (cache / "head.safetensors").write_bytes(b"")
    FeatureCache(cache).verify(["train"])
    with refused("head.safetensors"):
        FeatureCache(cache).verify()


def test_an_unfinished_split_is_passed_over_and_an_unknown_one_refused(cache: Path, refused: Any) -> None:
    (cache / "train" / "00000.h5").rename(cache / "train" / "00000.h5.part")
    opened = FeatureCache(cache, verify=True)
    assert opened.complete == []
    with refused("'train'", "incomplete"):
        opened.verify(["train"])
    with refused("no split 'test'"):
        opened.verify(["test"])


@contextmanager
def broken_disk(at: Callable[[int], bool]) -> Iterator[None]:
    """Reads whose first byte satisfies this fail."""
    real = disk.read_at

    def fault(file: int, buffer: memoryview, offset: int) -> int:
        if at(offset):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(file, buffer, offset)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk, "read_at", fault)
        yield


@pytest.mark.parametrize("column", [*COLUMNS, "crc"])
def test_a_disk_that_cannot_read_is_damage(column: str, sample: Path, refused: Any) -> None:
    header = read_header(sample / "train" / "00000.h5")
    start = header.columns["crc"].offset if column == "crc" else header.span(column, 1)[0]
    rows = (0, 6) if column == "crc" else (2, 4)
    both = [("00000.h5", *rows, column), ("00001.h5", rows[0] + 6, rows[1] + 6, column)]  # of equal layout
    with broken_disk(lambda offset: offset == start):
        assert found(sample) == both
        with refused("00000.h5", column, "read"):
            FeatureCache(sample, verify=True)


@pytest.mark.parametrize("size", [0, 10, 4096, 6000, -1])
def test_a_file_that_is_cut_short_while_it_is_open(size: int, cache: Path, refused: Any) -> None:
    # A map of what is no longer there ends the process that touches it.
    file = cache / "train" / "00000.h5"
    opened = FeatureCache(cache)
    split = opened["train"]
    header = read_header(file)
    end = header.columns["crc"].offset + header.columns["crc"].nbytes
    os.truncate(file, end - 1 if size < 0 else size)
    assert [(damage.file, damage.column) for damage in damages(split)] == [(file, "crc")]
    with refused(str(file), "crc"):
        opened.verify()


def test_a_file_that_is_gone_while_it_is_open(cache: Path) -> None:
    split = FeatureCache(cache)["train"]
    (cache / "train" / "00001.h5").unlink()
    (damage,) = damages(split)
    assert (damage.file.name, damage.start, damage.stop, damage.column) == ("00001.h5", 6, 12, "crc")
    assert len(damage.message.splitlines()) == 1


def test_a_message_is_one_line_whatever_the_file_is_called() -> None:
    damage = Damage(Path("a\nb/00000.h5"), 4, 9, "labels", "bad")
    assert damage.message == f"'a\\nb/00000.h5': labels of rows 4..8: bad; {layout.MEND}"
    assert "of rows" not in Damage(Path("c"), 0, 0, STRUCTURE, "bad").message


def test_processes_share_the_files_and_find_together_what_one_finds(cache: Path) -> None:
    header = read_header(cache / "train" / "00001.h5")
    patch_file(cache / "train" / "00001.h5", header.columns["features"].offset, b"\xff")
    split = FeatureCache(cache)["train"]
    assert [list(damages(split, rank, 2)) for rank in (0, 1)] == [[], list(damages(split))]
    with pytest.raises(ValueError, match=r"00001\.h5: features of rows 6\.\.7"):
        FeatureCache(cache).verify(["train"], rank=1, world_size=2)
