"""Reading back: every changed byte is found, in its block and column, and nothing else is."""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurecache import disk
from featurecache.shards.checksums import block_crcs, structure, wrong_blocks
from featurecache.shards.header import Header, read_header


@pytest.fixture(scope="module")
def shard(sample: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished shard that nobody changes for good."""
    path: Path = sample.save(tmp_path_factory.mktemp("c"))
    return path


@pytest.fixture(scope="module")
def header(shard: Path) -> Header:
    """Its header."""
    return read_header(shard)


@pytest.fixture(scope="module")
def crcs(shard: Path, header: Header) -> dict[int, list[int]]:
    """Its checksums, by block."""
    column = header.columns["crc"]
    table = np.frombuffer(shard.read_bytes(), column.dtype, header.blocks * len(header.data), column.offset)
    return dict(enumerate(table.reshape(column.shape).tolist()))


def wrong(path: Path, header: Header, crcs: dict[int, list[int]], **given: bool) -> list[tuple[int, str]]:
    """What is wrong with a file."""
    with disk.opened(path) as file:
        return list(wrong_blocks(file.fileno(), header, crcs, **given))


def spans(header: Header) -> Iterator[tuple[int, str, int, int]]:
    """Block, column, first byte and length of every piece of the columns."""
    for block in range(header.blocks):
        for name in header.data:
            yield block, name, *header.span(name, block)


def test_the_crc_column_holds_the_checksums_of_the_blocks(
    sample: Any, shard: Path, header: Header, crcs: dict[int, list[int]]
) -> None:
    for block in range(2):
        values = sample.block(block)
        stored = [values[name].astype(column.dtype).tobytes() for name, column in header.data.items()]
        assert crcs[block] == [zlib.crc32(raw) for raw in stored]
        assert list(block_crcs(map(memoryview, stored))) == crcs[block]
    assert wrong(shard, header, crcs) == []


@given(st.data())
def test_every_changed_bit_is_found_where_it_is(
    tmp_path_factory: pytest.TempPathFactory,
    shard: Path,
    header: Header,
    crcs: dict[int, list[int]],
    data: st.DataObject,
) -> None:
    changes = data.draw(
        st.lists(st.tuples(st.integers(0, header.size - 1), st.integers(0, 7)), unique=True, min_size=1)
    )
    whole = bytearray(shard.read_bytes())
    for place, bit in changes:
        whole[place] ^= 1 << bit
    damaged = tmp_path_factory.getbasetemp() / "damaged.h5"
    damaged.write_bytes(whole)
    # A column whose changes cancel out is not drawn: every (byte, bit) is there once.
    assert wrong(damaged, header, crcs) == [
        (block, name)
        for block, name, start, length in spans(header)
        if any(start <= place < start + length for place, _ in changes)
    ]
    inside = [(c.offset, c.offset + c.nbytes) for c in header.columns.values()]
    outside = [
        place
        for place, _ in changes
        if place >= header.user_block and not any(low <= place < high for low, high in inside)
    ]
    with disk.opened(damaged) as file:
        assert (structure(file.fileno(), header) != header.structure) == bool(outside)


def test_only_the_blocks_that_are_asked_for_are_read(
    shard: Path, header: Header, crcs: dict[int, list[int]], tmp_path: Path
) -> None:
    whole = bytearray(shard.read_bytes())
    whole[header.span("labels", 0)[0]] ^= 1
    (tmp_path / "damaged.h5").write_bytes(whole)
    assert wrong(tmp_path / "damaged.h5", header, {1: crcs[1]}) == []
    assert wrong(tmp_path / "damaged.h5", header, {}) == []
    assert wrong(tmp_path / "damaged.h5", header, {0: crcs[0]}) == [(0, "labels")]


def test_a_file_that_is_too_short_is_wrong_from_there(
    shard: Path, header: Header, crcs: dict[int, list[int]], tmp_path: Path
) -> None:
    start, length = header.span("index", 1)
    (tmp_path / "short.h5").write_bytes(shard.read_bytes()[: start + length - 1])
    lost = [(block, name) for block, name, low, size in spans(header) if low + size > start + length - 1]
    assert (1, "index") in lost
    assert (0, "labels") not in lost
    assert wrong(tmp_path / "short.h5", header, crcs) == lost


def test_a_disk_that_cannot_read_is_wrong_and_no_error(
    shard: Path, header: Header, crcs: dict[int, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, real = header.span("logits", 1)[0], disk.read_at

    def read_at(file: int, buffer: memoryview, offset: int) -> int:
        if offset == bad:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(file, buffer, offset)

    monkeypatch.setattr(disk, "read_at", read_at)
    assert wrong(shard, header, crcs) == [(1, "logits")]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["features", "logits"])
def test_numbers_that_are_not_finite_are_wrong_where_that_is_asked_for(
    name: str, value: float, shard: Path, header: Header, crcs: dict[int, list[int]], tmp_path: Path
) -> None:
    whole = bytearray(shard.read_bytes())
    start, length = header.span(name, 1)
    number = np.array([value], header.columns[name].dtype).tobytes()
    whole[start + length - len(number) : start + length] = number
    (tmp_path / "odd.h5").write_bytes(whole)
    place = list(header.data).index(name)
    crc = zlib.crc32(whole[start : start + length])
    forged = {**crcs, 1: [*crcs[1][:place], crc, *crcs[1][place + 1 :]]}
    assert wrong(tmp_path / "odd.h5", header, forged) == []
    assert wrong(tmp_path / "odd.h5", header, forged, finite=True) == [(1, name)]
    assert wrong(shard, header, crcs, finite=True) == []


def test_blocks_longer_than_a_read_are_compared_whole(
    shard: Path, header: Header, crcs: dict[int, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featurecache.shards.checksums.CHUNK", 4)
    assert wrong(shard, header, crcs, finite=True) == []
    assert wrong(shard, header, {0: [crc ^ 1 for crc in crcs[0]]}) == [(0, name) for name in header.data]
