"""The format: columns, sizes, names, hashes and versions."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurecache import layout

FILE = Path("x/00000.h5")


def test_the_size_of_a_column_does_not_overflow() -> None:
    assert layout.Column(np.dtype("<f4"), (2**40, 2**40)).nbytes == 2**82


def test_columns_are_those_of_the_specification() -> None:
    made = layout.columns(7, 5, dtype="float16", classes=3, id_bytes=0, views=7, block=3)
    assert [(name, column.dtype.str, column.shape) for name, column in made.items()] == [
        ("features", "<f2", (7, 5)),
        ("logits", "<f4", (7, 3)),
        ("labels", "<i8", (7,)),
        ("index", "<i8", (7,)),
        ("sample_id", "|S1", (7,)),
        ("status", "|u1", (7,)),
        ("view", "<i4", (7,)),
        ("crc", "<u4", (3, 7)),
    ]
    assert {column.offset for column in made.values()} == {-1}


def test_logits_and_views_may_be_absent() -> None:
    made = layout.columns(7, 5, dtype="float32", classes=None, id_bytes=9, block=7)
    assert list(made) == ["features", "labels", "index", "sample_id", "status", "crc"]
    assert made["features"].dtype.str == "<f4"
    assert made["sample_id"].dtype.str == "|S9"
    assert made["crc"].shape == (1, 5)


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.booleans(), st.booleans())
def test_every_block_has_a_checksum_of_every_column(rows: int, block: int, logits: bool, views: bool) -> None:
    made = layout.columns(
        rows, 2, dtype="float16", classes=3 if logits else None, id_bytes=4, views=2 if views else 1, block=block
    )
    blocks, columns = made["crc"].shape
    assert (blocks - 1) * block < rows <= blocks * block
    assert columns == len(made) - 1
    assert list(made)[-1] == "crc"


def test_columns_are_of_the_known_names_and_dtypes() -> None:
    for dtype in ("float16", "float32"):
        made = layout.columns(7, 5, dtype=dtype, classes=3, id_bytes=5, views=7, block=3)
        assert set(made) == {*layout.REQUIRED, *layout.OPTIONAL}
        assert all(made[name].dtype.str in known for name, known in layout.DTYPES.items())


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


@pytest.mark.parametrize("name", ["cache.json", "head.safetensors", "cache.json.part", "cache.json.lock"])
def test_split_names_that_are_files_of_the_cache(name: str, refused: Any) -> None:
    with refused("split name", name):
        layout.check_split_name(name)


def test_the_hash_does_not_depend_on_the_order_of_entries() -> None:
    one = layout.specification_hash({"a": 1, "b": {"c": None, "d": "é"}})
    assert one == layout.specification_hash({"b": {"d": "é", "c": None}, "a": 1})
    assert one != layout.specification_hash({"a": 1, "b": {"c": None, "d": "e"}})
    assert one == hashlib.sha256('{"a":1,"b":{"c":null,"d":"é"}}'.encode()).hexdigest()


def test_json_that_is_no_object_is_refused(refused: Any) -> None:
    assert layout.parse_json(b'{"a": [1, "\xc3\xa9"]}', FILE) == {"a": [1, "é"]}
    for text in (b"", b"{", b"\xff", b"[1]", b"null", b'"text"', b"[" * 200_000, b"9" * 5_000):
        with refused(str(FILE), "JSON"):
            layout.parse_json(text, FILE)


def test_a_later_minor_version_is_read() -> None:
    for schema in ([1, 0], [1, 1], [1, 99]):
        layout.check_format({"format": "featurecache", "schema": schema}, "featurecache", FILE)


@pytest.mark.parametrize(
    ("document", "parts"),
    [
        ({"format": "featurecache", "schema": [2, 0]}, ["version 2", "reads version 1", "update"]),
        ({"format": "featurecache", "schema": [0, 9]}, ["version 0", "extract it again"]),
        ({"format": "featurecache", "schema": [1]}, ["schema", "two integers"]),
        ({"format": "featurecache", "schema": [True, 0]}, ["schema", "two integers"]),
        ({"format": "featurecache", "schema": [1.0, 0]}, ["schema", "two integers"]),
        ({"format": "featurecache"}, ["schema", "None"]),
        ({"format": "x" * 9999, "schema": [1, 0]}, ["format", "not a feature cache"]),
        ({"schema": [1, 0]}, ["format"]),
    ],
)
def test_another_format_or_version_is_refused(document: dict[str, Any], parts: list[str], refused: Any) -> None:
    with refused(str(FILE), *parts):
        layout.check_format(document, "featurecache", FILE)


def test_a_path_of_several_lines_is_quoted() -> None:
    assert layout.shown(Path("a/é b")) == "a/é b"
    assert layout.shown(Path("a\nb\x1b[31m")).isprintable()
