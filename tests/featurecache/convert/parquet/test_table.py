"""A Parquet file seen through another process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featurecache.convert.parquet import table as reading
from featurecache.convert.parquet.table import Table


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Ends the processes."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def lying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stack: ExitStack) -> Any:
    """The table of a process that says `listing`, then these bytes, whatever it is asked."""
    pytest.importorskip("pyarrow")

    def table(listing: str, data: bytes = b"") -> Table:
        program = tmp_path / "child.py"
        program.write_text(
            f"import sys\nprint({listing!r}, flush=True)\nsys.stdin.readline()\n"
            f"sys.stdout.buffer.write({data!r})\nsys.stdout.flush()\n",
            "utf-8",
        )
        monkeypatch.setattr(reading, "CHILD", program)
        (tmp_path / "x.parquet").write_bytes(b"PAR1" + bytes(100) + b"\0\0\0\0PAR1")
        return Table(tmp_path / "x.parquet", stack)

    return table


def count(number: int) -> bytes:
    """As the process writes it."""
    return number.to_bytes(4, "little")


def test_blocks_of_numbers_and_texts(lying: Any) -> None:
    listing = '{"rows": 3, "columns": {"a": [2, "f4"], "b": [null, "text"], "c_0": [null, "i1"], "c_1": [null, "i1"]}}'
    first = np.arange(4, dtype="<f4").tobytes() + count(1) + count(2) + "xä".encode() + b"\1\2" + b"\3\4"
    second = np.arange(2, dtype="<f4").tobytes() + count(0) + b"\5" + b"\6"
    table = lying(listing, count(2) + first + count(1) + second + count(0))
    assert table.shapes() == {"c_*": (3, 2), "a": (3, 2), "b": (3,), "c_0": (3,), "c_1": (3,)}
    one, two = table.batches({"features": "a", "sample_id": "b", "logits": "c_*"})
    np.testing.assert_array_equal(one["features"], [[0, 1], [2, 3]])
    np.testing.assert_array_equal(one["logits"], [[1, 3], [2, 4]])
    assert (one["sample_id"], two["sample_id"]) == (["x", "ä"], [""])


@pytest.mark.parametrize(
    "listing",
    [
        "[]",
        "{}",
        '{"rows": "3", "columns": {}}',
        '{"rows": 3, "columns": []}',
        '{"rows": 3, "columns": {"a": [2, "O8"]}}',
        '{"rows": 3, "columns": {"a": [-2, "f4"]}}',
        '{"rows": 3, "columns": {"a": [2, "text"]}}',
        '{"rows": 3, "columns": {"a": 2}}',
    ],
)
def test_a_process_that_lies_about_the_columns(listing: str, lying: Any, refused: Any) -> None:
    with refused("x.parquet: "):
        lying(listing)


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (count(4), "4 rows; its footer says 3"),
        (count(10**6), "a block of 1000000 rows"),
        (count(2) + bytes(16) + count(9999) * 2, "a text of 9999 bytes"),
        (count(1) + bytes(8) + count(0) + count(0), "1 rows; its footer says 3"),
        (count(3) + b"short", "stopped on it"),
        (count(2**32 - 1) + count(5) + b"why\n\xff", "refused it: 'why"),
    ],
    ids=["rows", "block", "text", "end", "short", "error"],
)
def test_a_process_that_lies_about_the_rows(data: bytes, part: str, lying: Any, refused: Any) -> None:
    table = lying('{"rows": 3, "columns": {"a": [2, "f4"], "b": [null, "text"]}}', data)
    with refused("x.parquet", part):
        list(table.batches({"features": "a", "sample_id": "b"}))


def test_numbered_columns_need_every_number(lying: Any) -> None:
    columns = {f"a_{i}": [None, "f4"] for i in (0, 2)} | {"b_0": [None, "text"], "c_7": [None, "f4"]}
    listing = str({"rows": 1, "columns": columns}).replace("'", '"').replace("None", "null")
    assert [name for name in lying(listing).shapes() if name.endswith("*")] == []


def test_without_the_library(tmp_path: Path, stack: ExitStack, monkeypatch: Any, refused: Any) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with refused("pip install 'featurecache-rebalance[parquet]'", error=ImportError):
        Table(tmp_path / "x.parquet", stack)
