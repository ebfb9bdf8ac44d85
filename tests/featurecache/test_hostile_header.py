"""The header of a shard: no number and no word of it is believed."""

from __future__ import annotations

import copy
import json
import tracemalloc
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurecache import layout
from featurecache.shards.header import MAGIC, PREFIX, Header, read_header

SIZE = 4096 + 64 * 7  # of the file that HEADER describes

HEADER: dict[str, Any] = {
    "format": "featurecache.shard",
    "schema": [1, 0],
    "split": "train",
    "shard": 0,
    "rows": 3,
    "block": 2,
    "size": SIZE,
    "structure": 7,
    "columns": {
        "features": {"dtype": "<f2", "shape": [3, 2], "offset": 4096},
        "logits": {"dtype": "<f4", "shape": [3, 4], "offset": 4160},
        "labels": {"dtype": "<i8", "shape": [3], "offset": 4224},
        "index": {"dtype": "<i8", "shape": [3], "offset": 4288},
        "sample_id": {"dtype": "|S5", "shape": [3], "offset": 4352},
        "status": {"dtype": "|u1", "shape": [3], "offset": 4416},
        "crc": {"dtype": "<u4", "shape": [2, 6], "offset": 4480},
    },
    "cache": {"hash": "00"},
}
PATH = Path("x/00000.h5")


def packed(text: bytes) -> bytes:
    """The start of a user block that holds this text as its header."""
    return PREFIX.pack(MAGIC, len(text), zlib.crc32(text)) + text


def start_of(header: dict[str, Any]) -> bytes:
    """The user block of a shard with this header, of the smallest size."""
    return packed(json.dumps(header).encode()).ljust(4096, b"\0")


Parse: TypeAlias = Callable[..., Header]


@pytest.fixture(scope="module")
def parse(tmp_path_factory: pytest.TempPathFactory) -> Parse:
    """The reader's answer to a file that starts with these bytes: `parse(start, size)`."""
    file = tmp_path_factory.mktemp("x") / "00000.h5"

    def read(start: bytes, size: int = SIZE) -> Header:
        with file.open("wb") as shard:
            shard.write(start)
            shard.truncate(size)
        return read_header(file)

    return read


def changed(**entries: Any) -> dict[str, Any]:
    """The header with other entries."""
    return {**copy.deepcopy(HEADER), **entries}


def with_column(name: str, **entries: Any) -> dict[str, Any]:
    """The header with other entries in one column."""
    header = copy.deepcopy(HEADER)
    header["columns"][name] |= entries
    return header


def without(name: str) -> dict[str, Any]:
    """The columns but one."""
    return {other: column for other, column in HEADER["columns"].items() if other != name}


@pytest.mark.parametrize(
    "start",
    [b"", b"\x89HDF\r\n\x1a\n".ljust(4096, b"\0"), b"\0" * 4096, b"PK" * 2048],
)
def test_a_file_that_is_no_shard(start: bytes, parse: Parse, refused: Any) -> None:
    with refused("00000.h5", "not a shard"):
        parse(start, len(start))


@pytest.mark.parametrize("start", [b"FCSHARD\n", b"FCSHARD\n" * 511])
def test_a_shard_that_is_cut_short_can_be_made_again(start: bytes, parse: Parse, refused: Any) -> None:
    with refused("00000.h5", "cut short", "delete this file"):
        parse(start, len(start))


def test_a_length_beyond_all_bounds_asks_for_no_more_than_the_largest_user_block(parse: Parse, refused: Any) -> None:
    start = PREFIX.pack(MAGIC, 2**32 - 1, 0)
    tracemalloc.start()
    try:
        with refused("00000.h5", "damaged"):
            parse(start, 2**33)  # a file that is nearly all hole
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * layout.MAX_USER_BLOCK


@pytest.mark.parametrize("text", [b"", b"[]", b"3", b"null", b"{", b"{}}", b"\xff\xfe", b'{"a":' * 100_000, b'"a"'])
def test_json_that_is_no_object(text: bytes, refused: Any) -> None:
    with refused("00000.h5"):
        layout.parse_json(text, PATH)


@pytest.mark.parametrize("schema", [[2, 0], [2, 7], [999, 0], [10**3000, 0]], ids=["2.0", "2.7", "999.0", "digits"])
def test_a_newer_schema_is_refused_with_the_way_out(schema: list[int], parse: Parse, refused: Any) -> None:
    with refused("this release reads version 1", "update featurecache-rebalance"):
        parse(start_of(changed(schema=schema)))


def test_an_older_schema_is_refused_with_the_way_out(parse: Parse, refused: Any) -> None:
    with refused("extract it again"):
        parse(start_of(changed(schema=[0, 9])))


def test_a_newer_minor_version_is_read(parse: Parse) -> None:
    header = parse(start_of(changed(schema=[1, 5], later={"a": [1]}, cache={"hash": "00", "new": 3})))
    assert header.more == {"later": {"a": [1]}}
    assert header.cache == {"hash": "00", "new": 3}
    assert header.rows == 3


def test_what_a_newer_release_wrote_counts_for_the_size_of_the_user_block(parse: Parse) -> None:
    header = {**changed(later="x" * 4000), "size": SIZE + 4096}
    for column in header["columns"].values():
        column["offset"] += 4096
    assert parse(packed(json.dumps(header).encode()), SIZE + 4096).user_block == 8192


DTYPES = (">f4", "<f8", "|O", "|V8", "<c8", "<U4", "|S0", "|S4097", "|S99999999999", "|S-1", "|S1٣", "", None, 3)
WRONG = {
    "format": changed(format="featurecache"),
    "no format": changed(format=None),
    "schema of three": changed(schema=[1, 0, 0]),
    "schema as text": changed(schema="1.0"),
    "schema of booleans": changed(schema=[True, False]),
    "schema of floats": changed(schema=[1.0, 0]),
    "no rows": changed(rows=None),
    "zero rows": changed(rows=0),
    "negative rows": changed(rows=-3),
    "rows as a float": changed(rows=3.0),
    "rows as a boolean": changed(rows=True),
    "huge rows": changed(rows=2**41),
    "other rows": changed(rows=4),
    "no columns": changed(columns=None),
    "columns as a list": changed(columns=[]),
    "empty columns": changed(columns={}),
    "an unknown column": changed(columns={**HEADER["columns"], "path": HEADER["columns"]["index"]}),
    "a column without a checksum": changed(
        columns={"view": {"dtype": "<i4", "shape": [3], "offset": 4528}, **HEADER["columns"]}
    ),
    "crc before the last": changed(columns={"crc": HEADER["columns"]["crc"], **without("crc")}),
    **{f"block {block}": changed(block=block) for block in (None, 0, -2, True, 2.0, 3, 2**41)},
    **{f"size {size}": changed(size=size) for size in (None, 0, SIZE - 1, SIZE + 0.5, str(SIZE), 2**70)},
    **{f"structure {structure}": changed(structure=structure) for structure in (None, "7", 7.0, True)},
    "no split": changed(split=None),
    "a shard as text": changed(shard="0"),
    "no cache": changed(cache=None),
    "a cache as a list": changed(cache=[]),
    "a column with a long name": changed(columns={**HEADER["columns"], "v" * 3000: None}),
    "a column is null": changed(columns={**HEADER["columns"], "labels": None}),
    "a column is a list": changed(columns={**HEADER["columns"], "labels": ["<i8", [3], 4224]}),
    **{f"{name} missing": changed(columns=without(name)) for name in layout.REQUIRED},
    **{f"dtype {dtype} of {name}": with_column(name, dtype=dtype) for name in HEADER["columns"] for dtype in DTYPES},
    **{
        f"shape {shape} of {name}": with_column(name, shape=shape)
        for name in HEADER["columns"]
        for shape in ([], [3, 0], [3, -2], [-3], [4], [3, 2, 1], [3.0], [True], [3, 2**21], ["3"], 3, None, {"0": 3})
    },
    **{
        f"offset {offset} of {name}": with_column(name, offset=offset)
        for name in ("features", "status")
        for offset in (-1, 0, 64, 4095, 2**63, 4096.0, True, None, "4096")
    },
    "an offset of very many digits": with_column("status", offset=10**4300 - 1),
    "float labels": with_column("labels", dtype="<f4"),
    "logits in half precision": with_column("logits", dtype="<f2"),
    "overlap": with_column("index", offset=4224),
    "overlap by one byte": with_column("labels", offset=4207),
    "past the end": with_column("crc", offset=SIZE),
    "features over everything": with_column("features", shape=[3, 80]),
    "a huge shape": changed(
        rows=2**40, columns={k: {**v, "shape": [2**40, *v["shape"][1:]]} for k, v in HEADER["columns"].items()}
    ),
}


@pytest.mark.parametrize("header", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_entry_is_refused(header: dict[str, Any], parse: Parse, refused: Any) -> None:
    with refused("00000.h5"):
        parse(start_of(header))


def test_an_offset_that_is_no_multiple_of_64_is_refused(parse: Parse, refused: Any) -> None:
    with refused("status"):
        parse(start_of(with_column("status", offset=4417)))


def test_a_file_that_is_nearly_all_in_no_column_is_refused(parse: Parse, refused: Any) -> None:
    # What is in no column is read to be compared with its checksum.
    with refused("00000.h5", "no column"):
        parse(start_of(changed(size=2**33)), 2**33)


def test_nested_too_deeply(parse: Parse, refused: Any) -> None:
    # Near the depth at which the parser gives up, whatever handles the value afterwards must not fail instead.
    def nested(depth: int) -> bytes:
        return b'{"a":' + b"[" * depth + b"]" * depth + b"}"

    low, high = 100, 1_000_000
    while high - low > 1:
        middle = (low + high) // 2
        try:
            layout.parse_json(nested(middle), PATH)
            low = middle
        except ValueError:
            high = middle
    template = json.dumps(changed(schema="@", size=2**16))
    column = json.dumps({**with_column("labels", offset="@"), "size": 2**16})
    for depth in range(max(1, low - 40), low + 5):
        for text in (template, column):
            with refused("00000.h5"):
                parse(packed(text.replace('"@"', "[" * depth + "]" * depth).encode()), 2**16)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from([3, 2**40, "<f2"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
PLACES = [
    *[(key,) for key in HEADER],
    *[("columns", name) for name in HEADER["columns"]],
    *[("columns", name, key) for name in HEADER["columns"] for key in ("dtype", "shape", "offset")],
    *[("columns", name, "shape", i) for name in HEADER["columns"] for i in (0, -1)],
    ("schema", 0),
    ("schema", 1),
]


@given(st.lists(st.tuples(st.sampled_from(PLACES), JSON | st.integers(-10, 5000)), min_size=1, max_size=3))
def test_any_header_is_read_or_refused(
    parse: Parse, read_or_refused: Any, changes: list[tuple[tuple[Any, ...], Any]]
) -> None:
    header: Any = copy.deepcopy(HEADER)
    for place, value in changes:
        target = header
        for key in place[:-1]:
            target = target[key] if isinstance(target, dict) and key in target else None
            if not isinstance(target, dict | list):
                break
        if isinstance(target, dict) or (isinstance(target, list) and target):
            try:
                target[place[-1]] = value
            except (TypeError, IndexError):
                continue
    read = read_or_refused(lambda: parse(packed(json.dumps(header).encode())))
    if read is None:
        return
    spans = sorted((column.offset, column.offset + column.nbytes) for column in read.columns.values())
    assert spans[0][0] >= 4096
    assert spans[-1][1] <= SIZE
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    assert {column.shape[0] for column in read.data.values()} == {read.rows}
    assert read.columns["crc"].shape == (read.blocks, len(read.data))
    last, name = read.blocks - 1, next(iter(read.data))
    assert sum(read.span(name, last)) == read.columns[name].offset + read.columns[name].nbytes


@given(st.lists(st.tuples(st.integers(0, 1200), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_user_block_is_refused_or_says_the_same(
    parse: Parse, read_or_refused: Any, flips: list[tuple[int, int]]
) -> None:
    start = bytearray(start_of(HEADER))
    for place, value in flips:
        start[place] = value
    read = read_or_refused(lambda: parse(bytes(start)))
    assert read is None or read == parse(start_of(HEADER))
