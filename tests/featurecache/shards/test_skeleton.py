"""The HDF5 file around the columns: plain, deterministic, complete, and made without the columns' bytes."""

from __future__ import annotations

import re
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurecache import layout
from featurecache.shards.skeleton import Skeleton, gaps, lay_out

COLUMNS = layout.columns(3, 2, dtype="float16", classes=4, id_bytes=5, views=3, block=2)


def save(skeleton: Skeleton, path: Path) -> Path:
    """The file, with zeros for the user block and for the columns."""
    with path.open("wb") as file:
        file.truncate(skeleton.size)
        for start, piece in skeleton.pieces.items():
            file.seek(start)
            file.write(piece)
    return path


@pytest.mark.parametrize("user_block", [4096, 2**19])
def test_hdf5_reads_the_columns_where_they_are(user_block: int, tmp_path: Path) -> None:
    skeleton = lay_out(COLUMNS, user_block)
    with h5py.File(save(skeleton, tmp_path / "file.h5"), "r") as file:
        assert file.userblock_size == user_block
        assert sorted(file) == sorted(COLUMNS)
        for name, dataset in file.items():
            assert dataset.shape == COLUMNS[name].shape
            assert dataset.dtype.itemsize == COLUMNS[name].dtype.itemsize
            assert dataset.id.get_offset() == skeleton.columns[name].offset
            assert dataset.id.get_storage_size() == COLUMNS[name].nbytes
            if name != "sample_id":
                assert dataset.dtype == COLUMNS[name].dtype


def test_its_datasets_are_as_plain_as_can_be(tmp_path: Path) -> None:
    with h5py.File(save(lay_out(COLUMNS, 4096), tmp_path / "file.h5"), "r") as file:
        assert len(file.attrs) == 0
        for dataset in file.values():
            made = dataset.id.get_create_plist()
            assert made.get_layout() == h5py.h5d.CONTIGUOUS
            assert made.get_nfilters() == 0
            assert made.get_alloc_time() == h5py.h5d.ALLOC_TIME_EARLY
            assert made.get_fill_time() == h5py.h5d.FILL_TIME_NEVER
            assert not made.get_obj_track_times()
            assert dataset.external is None
            assert not dataset.is_virtual
            assert len(dataset.attrs) == 0
        text = h5py.check_string_dtype(file["sample_id"].dtype)
        assert text is not None
        assert (text.encoding, text.length) == ("utf-8", 5)


def test_no_object_holds_the_time_and_the_superblock_is_version_2(tmp_path: Path) -> None:
    data = save(lay_out(COLUMNS, 4096), tmp_path / "file.h5").read_bytes()
    assert data[4096:4105] == b"\x89HDF\r\n\x1a\n\x02"
    # An object header of version 2 is OHDR, the version and flags; bit 5: "access, modification, change and birth
    # times are stored" (HDF5 File Format Specification 4.0, IV.A.1.b).
    flags = [data[place.end()] for place in re.finditer(b"OHDR\x02", data)]
    assert len(flags) == 1 + len(COLUMNS)  # the root group and its datasets
    assert [flag & 0x20 for flag in flags] == [0] * len(flags)


@given(
    rows=st.integers(1, 10**6),
    width=st.integers(1, 4096),
    classes=st.none() | st.integers(1, 10**5),
    id_bytes=st.integers(0, 99),
    views=st.integers(1, 2),
    block=st.integers(1, 10**6),
    power=st.integers(12, 20),
)
def test_pieces_and_columns_tile_the_file(
    rows: int, width: int, classes: int | None, id_bytes: int, views: int, block: int, power: int
) -> None:
    columns = layout.columns(rows, width, dtype="float16", classes=classes, id_bytes=id_bytes, views=views, block=block)
    skeleton = lay_out(columns, 2**power)
    assert [*skeleton.columns] == [*columns]
    assert all(column.offset % layout.ALIGNMENT == 0 for column in skeleton.columns.values())
    spans = [(column.offset, column.nbytes) for column in skeleton.columns.values()]
    spans += [(start, len(piece)) for start, piece in skeleton.pieces.items()]
    end = 2**power
    for start, length in sorted(spans):
        assert start == end
        end += length
    assert end == skeleton.size
    assert gaps(skeleton.columns, 2**power, skeleton.size) == [
        (start, len(piece)) for start, piece in skeleton.pieces.items()
    ]


def test_the_checksum_is_that_of_all_pieces() -> None:
    skeleton = lay_out(COLUMNS, 4096)
    assert skeleton.crc == zlib.crc32(b"".join(skeleton.pieces.values()))


def test_two_are_equal_in_any_process() -> None:
    first = lay_out(COLUMNS, 4096)
    assert lay_out(COLUMNS, 4096) == first
    code = (
        "from featurecache import layout; from featurecache.shards.skeleton import lay_out\n"
        "columns = layout.columns(3, 2, dtype='float16', classes=4, id_bytes=5, views=3, block=2)\n"
        "print('CRC', lay_out(columns, 4096).crc)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.split() == ["CRC", str(first.crc)]


def test_a_huge_shard_is_laid_out_in_little_memory() -> None:
    columns = layout.columns(2**25, 2048, dtype="float32", classes=10**4, id_bytes=200, block=256)
    tracemalloc.start()
    try:
        skeleton = lay_out(columns, 4096)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert skeleton.size > 2**40
    assert sum(map(len, skeleton.pieces.values())) < 10_000
    assert peak < 2**20


def test_values_at_the_offsets_are_what_hdf5_reads(tmp_path: Path) -> None:
    skeleton = lay_out(COLUMNS, 4096)
    path = save(skeleton, tmp_path / "file.h5")
    labels = np.array([5, -1, 2**40], "<i8")
    with path.open("r+b") as file:
        file.seek(skeleton.columns["labels"].offset)
        file.write(labels.tobytes())
        file.seek(skeleton.columns["sample_id"].offset)
        file.write("é1".encode().ljust(5, b"\0") + b"12345" + bytes(5))
    with h5py.File(path, "r") as read:
        assert read["labels"][()].tolist() == labels.tolist()
        assert read["sample_id"].asstr()[()].tolist() == ["é1", "12345", ""]
        assert not read["features"][()].any()
