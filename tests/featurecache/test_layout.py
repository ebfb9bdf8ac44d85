"""The format: exact bytes of a header, sizes, names and hashes."""

from __future__ import annotations

import copy
import hashlib
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featurecache import layout

FILE = Path("x/00000.h5")
SIZE = 4096 + 64 * 6  # of the file that HEADER describes

HEADER: dict[str, Any] = {
    "format": "featurecache.shard",
    "schema": [1, 0],
    "split": "train",
    "shard": 0,
    "rows": 3,
    "columns": {
        "features": {"dtype": "<f2", "shape": [3, 2], "offset": 4096},
        "logits": {"dtype": "<f4", "shape": [3, 4], "offset": 4160},
        "labels": {"dtype": "<i8", "shape": [3], "offset": 4224},
        "index": {"dtype": "<i8", "shape": [3], "offset": 4288},
        "sample_id": {"dtype": "|S5", "shape": [3], "offset": 4352},
        "status": {"dtype": "|u1", "shape": [3], "offset": 4416},
    },
    "cache": {"hash": "00"},
}


def start_of(header: dict[str, Any]) -> bytes:
    """The user block of a shard with this header, of the smallest size."""
    return layout.pack_header(header).ljust(4096, b"\0")


def parse(start: bytes) -> tuple[dict[str, Any], dict[str, layout.Column]]:
    """What the reader does with the first bytes of a file."""
    end = layout.header_end(start, FILE)
    header = layout.unpack_header(start[:end], FILE)
    return header, layout.parse_columns(header, SIZE, FILE)


def changed(**entries: Any) -> dict[str, Any]:
    """The header with other entries."""
    return {**copy.deepcopy(HEADER), **entries}


def with_column(name: str, **entries: Any) -> dict[str, Any]:
    """The header with other entries in one column."""
    header = copy.deepcopy(HEADER)
    header["columns"][name] |= entries
    return header


def test_the_header_has_these_bytes() -> None:
    packed = layout.pack_header({"a": "é", "b": [1, 2]})
    text = b'{"a":"\xc3\xa9","b":[1,2]}'
    assert packed == b"FCSHARD\n" + struct.pack("<II", len(text), zlib.crc32(text)) + text


def test_a_header_comes_back() -> None:
    header, columns = parse(start_of(HEADER))
    assert header == HEADER
    assert list(columns) == ["features", "logits", "labels", "index", "sample_id", "status"]
    assert columns["features"] == layout.Column(np.dtype("<f2"), (3, 2), 4096)
    assert columns["sample_id"].nbytes == 15


def test_logits_may_be_absent() -> None:
    header = copy.deepcopy(HEADER)
    del header["columns"]["logits"]
    assert "logits" not in layout.parse_columns(header, SIZE, FILE)


def test_the_size_of_a_column_does_not_overflow() -> None:
    assert layout.Column(np.dtype("<f4"), (2**40, 2**40)).nbytes == 2**82


def test_columns_are_those_of_the_specification() -> None:
    made = layout.columns(7, 5, dtype="float16", classes=3, id_bytes=0)
    assert [(name, column.dtype.str, column.shape) for name, column in made.items()] == [
        ("features", "<f2", (7, 5)),
        ("logits", "<f4", (7, 3)),
        ("labels", "<i8", (7,)),
        ("index", "<i8", (7,)),
        ("sample_id", "|S1", (7,)),
        ("status", "|u1", (7,)),
    ]
    assert "logits" not in layout.columns(7, 5, dtype="float32", classes=None, id_bytes=9)


@pytest.mark.parametrize("names", [0, 40, 100, 300, 301, 302, 303, 304, 305, 8_000])
def test_the_user_block_is_the_smallest_power_of_two_that_holds_the_header(names: int) -> None:
    header = changed(cache={"class_names": ["é" * 4] * names})
    size = layout.user_block_size(header)
    assert size >= 4096
    assert size & (size - 1) == 0
    for offset in (-1, size, 2**62):  # the offsets are only known when the file has been laid out
        for column in header["columns"].values():
            column["offset"] = offset
        assert len(layout.pack_header(header)) <= size
    assert size == 4096 or len(layout.pack_header(header)) > size // 2 - 256


def test_a_header_beyond_all_user_blocks_is_refused(monkeypatch: pytest.MonkeyPatch, refused: Any) -> None:
    monkeypatch.setattr(layout, "MAX_USER_BLOCK", 8192)
    with refused("8192", "class names"):
        layout.user_block_size(changed(cache={"class_names": ["name"] * 3_000}))


@pytest.mark.parametrize("name", ["train", "val", "test-2.b_c", "0", "A" * 64])
def test_split_names(name: str) -> None:
    assert layout.check_split_name(name) == name
    assert layout.shard_path(Path("c"), name, 12) == Path("c") / name / "00012.h5"


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", "/etc", "a\\b", ".hidden", "-x", "_", "a b", "a\n", "tr\0", "é", "A" * 65, "C:"],
)
def test_split_names_that_are_no_plain_folder(name: str, refused: Any) -> None:
    with refused("split name"):
        layout.check_split_name(name)
    with refused("split name"):
        layout.shard_path(Path("c"), name, 0)


@pytest.mark.parametrize("name", ["cache.json", "head.safetensors", "cache.json.part"])
def test_split_names_that_are_files_of_the_cache(name: str, refused: Any) -> None:
    with refused("split name", name):
        layout.check_split_name(name)


def test_the_hash_does_not_depend_on_the_order_of_entries() -> None:
    one = layout.specification_hash({"a": 1, "b": {"c": None, "d": "é"}})
    assert one == layout.specification_hash({"b": {"d": "é", "c": None}, "a": 1})
    assert one != layout.specification_hash({"a": 1, "b": {"c": None, "d": "e"}})
    assert one == hashlib.sha256('{"a":1,"b":{"c":null,"d":"é"}}'.encode()).hexdigest()
