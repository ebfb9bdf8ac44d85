"""The header of a shard: its exact bytes, its room, and where a block lies."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurecache import layout
from featurecache.shards.header import Header, read_header
from featurecache.shards.skeleton import lay_out

COLUMNS = layout.columns(3, 2, dtype="float16", classes=4, id_bytes=5, block=2)
PLACED = {name: replace(column, offset=4096 + 64 * i) for i, (name, column) in enumerate(COLUMNS.items())}
HEADER = Header("val", 7, 3, 2, PLACED, {"hash": "é"}, size=4096 + 64 * 7, structure=99)


def save(header: Header, path: Path, **entries: Any) -> Path:
    """A file that is nothing but this header."""
    path.write_bytes(header.pack().ljust(entries.get("size", header.size), b"\0"))
    return path


def test_the_header_has_these_bytes() -> None:
    text = (
        '{"format":"featurecache.shard","schema":[1,0],"split":"val","shard":7,"rows":3,"block":2,'
        '"size":4544,"structure":99,"columns":{"features":{"dtype":"<f2","shape":[3,2],"offset":4096},'
        '"logits":{"dtype":"<f4","shape":[3,4],"offset":4160},"labels":{"dtype":"<i8","shape":[3],"offset":4224},'
        '"index":{"dtype":"<i8","shape":[3],"offset":4288},"sample_id":{"dtype":"|S5","shape":[3],"offset":4352},'
        '"status":{"dtype":"|u1","shape":[3],"offset":4416},"crc":{"dtype":"<u4","shape":[2,6],"offset":4480}},'
        '"cache":{"hash":"é"}}'
    ).encode()
    assert (
        HEADER.pack()
        == bytes.fromhex("46 43 53 48 41 52 44 0A") + struct.pack("<II", len(text), zlib.crc32(text)) + text
    )


def test_a_header_comes_back(tmp_path: Path) -> None:
    found = read_header(save(HEADER, tmp_path / "00000.h5"))
    assert found == HEADER
    assert list(found.columns) == list(HEADER.columns)
    assert found.pack() == HEADER.pack()
    assert list(found.data) == ["features", "logits", "labels", "index", "sample_id", "status"]


def test_the_user_block_is_the_smallest_power_of_two_that_holds_the_header() -> None:
    sizes = []
    for names in (0, 40, *range(260, 360), *range(600, 740), 8_000):
        header = replace(HEADER, cache={"class_names": ["é" * 4] * names})
        size = header.user_block
        assert size & (size - 1) == 0
        for offset in (-1, 64 * size, 2**63 - 64):  # the places are only known when the file has been laid out
            columns = {name: replace(column, offset=offset) for name, column in COLUMNS.items()}
            whole = replace(header, columns=columns, size=2**62, structure=2**32 - 1)
            assert whole.user_block == size
            assert len(whole.pack()) <= size
        assert size == 4096 or len(header.pack()) > size // 2 - 256
        sizes.append(size)
    assert sorted(set(sizes)) == [4096, 8192, 16384, 2**17]


def test_a_long_header_comes_back(tmp_path: Path) -> None:
    long = replace(HEADER, cache={"class_names": ["wolf"] * 5_000})
    room = long.user_block
    assert room > 2 * 4096
    placed = {name: replace(column, offset=column.offset - 4096 + room) for name, column in PLACED.items()}
    long = replace(long, columns=placed, size=room + 64 * 7)
    assert read_header(save(long, tmp_path / "00000.h5")) == long


def test_a_header_beyond_all_user_blocks_is_refused(monkeypatch: pytest.MonkeyPatch, refused: Any) -> None:
    monkeypatch.setattr("featurecache.shards.header.MAX_USER_BLOCK", 8192)
    with refused("8192", "class names"):
        _ = replace(HEADER, cache={"class_names": ["name"] * 3_000}).user_block


@given(rows=st.integers(1, 300), block=st.integers(1, 400), width=st.integers(1, 9))
def test_the_blocks_of_a_column_tile_it(rows: int, block: int, width: int) -> None:
    columns = layout.columns(rows, width, dtype="float32", classes=2, id_bytes=3, views=2, block=block)
    header = Header("train", 0, rows, block, lay_out(columns, 4096).columns, {})
    for name, column in header.data.items():
        spans = [header.span(name, number) for number in range(header.blocks)]
        assert spans[0][0] == column.offset
        assert sum(length for _, length in spans) == column.nbytes
        assert all(start + length == after for (start, length), (after, _) in pairwise(spans))
        assert all(length == column.nbytes // rows * block for _, length in spans[:-1])


def test_a_file_of_another_size_than_its_header_says_is_refused(tmp_path: Path, refused: Any) -> None:
    for size in (HEADER.size - 1, HEADER.size + 1):
        with refused("00000.h5", str(size), str(HEADER.size)):
            read_header(save(HEADER, tmp_path / "00000.h5", size=size))


def test_every_changed_byte_of_the_header_is_refused(tmp_path: Path, refused: Any) -> None:
    whole = bytearray(save(HEADER, tmp_path / "00000.h5").read_bytes())
    for place in range(0, len(HEADER.pack()), 7):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        (tmp_path / "00000.h5").write_bytes(damaged)
        with refused("00000.h5"):
            read_header(tmp_path / "00000.h5")


@pytest.mark.usefixtures("handles")
@pytest.mark.parametrize("content", [b"", b"FCSHARD\n", b"x" * 5000, b"FCSHARD\n" + b"\xff" * 5000])
def test_what_is_no_shard_is_refused(content: bytes, tmp_path: Path, refused: Any) -> None:
    (tmp_path / "00000.h5").write_bytes(content)
    with refused("00000.h5"):
        read_header(tmp_path / "00000.h5")


def test_a_later_minor_version_may_say_more(sample: Any, tmp_path: Path, edit_header: Any, refused: Any) -> None:
    path = sample.save(tmp_path)
    before = read_header(path)
    edit_header(path, lambda header: header.update(schema=[1, 9], more="…"))
    assert replace(read_header(path), more={}) == before
    edit_header(path, lambda header: header.update(schema=[2, 0]))
    with refused("00000.h5", "version 2", "update"):
        read_header(path)
