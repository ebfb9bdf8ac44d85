"""The program that gives a stranger's Parquet file to pyarrow."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from featurecache.convert.parquet import child
from featurecache.convert.parquet.child import leaves, numbers, texts

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

Answer: TypeAlias = Callable[..., bytes]


@pytest.fixture
def answer(tmp_path: Path) -> Answer:
    """What the program writes about a table when it is asked for these columns."""

    def run(table: Any, *columns: str, before: str = "") -> bytes:
        pq.write_table(table, tmp_path / "x.parquet")
        program = f"import runpy, sys\n{before}\nrunpy.run_path({child.__file__!r}, run_name='__main__')"
        with (tmp_path / "x.parquet").open("rb") as file:
            return subprocess.run(
                [sys.executable, "-c", program, str(file.fileno()), "30"],
                input=json.dumps({"columns": columns, "rows": 2}).encode() + b"\n",
                capture_output=True,
                pass_fds=(file.fileno(),),
                check=True,
                timeout=60,
            ).stdout

    return run


def test_a_list_then_blocks(answer: Answer) -> None:
    table = pa.table({"x": [1.5, 2.5, 3.5], "n": ["ä", "", "b"], "when": pa.array([0, 0, 0], pa.timestamp("s"))})
    line, _, data = answer(table, "x", "n").partition(b"\n")
    assert json.loads(line) == {"rows": 3, "columns": {"x": [None, "f8"], "n": [None, "text"]}}
    first = b"\2\0\0\0" + np.array([1.5, 2.5]).tobytes() + b"\2\0\0\0\0\0\0\0" + "ä".encode()
    assert data == first + b"\1\0\0\0" + np.array([3.5]).tobytes() + b"\1\0\0\0b" + b"\0\0\0\0"


def test_an_error_comes_instead_of_a_block(answer: Answer) -> None:
    _, _, data = answer(pa.table({"x": [1.5, None], "y": [1, 2]}), "y", "x").partition(b"\n")
    assert data.startswith(b"\xff\xff\xff\xff")
    assert b"'x' has empty cells" in data


TRIES = """
import json

def tried(value, said=json.dumps):
    try:
        open(sys.executable)
    except OSError as error:
        value["error"] = error.strerror
    return said(value)

json.dumps = tried
"""


def test_no_other_file_can_be_opened_once_the_library_is_there(answer: Answer) -> None:
    assert json.loads(answer(pa.table({"x": [1.5]}), before=TRIES))["error"] == "Too many open files"


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        ("int8", 1),
        ("list<int8>", 1),
        ("struct", 3),
        ("map", 2),
        ("dictionary", 1),
    ],
)
def test_how_many_columns_a_type_takes(kind: str, count: int, tmp_path: Path) -> None:
    kinds = {
        "int8": pa.int8(),
        "list<int8>": pa.large_list(pa.int8()),
        "struct": pa.struct({"a": pa.int8(), "b": pa.struct({"c": pa.int8(), "d": pa.list_(pa.string())})}),
        "map": pa.map_(pa.string(), pa.int8()),
        "dictionary": pa.dictionary(pa.int8(), pa.string()),
    }
    assert leaves(kinds[kind]) == count
    pq.write_table(pa.schema({"x": kinds[kind]}).empty_table(), tmp_path / "x.parquet")
    assert pq.ParquetFile(tmp_path / "x.parquet").metadata.num_columns == count


def test_slices_of_lists(refused: Any) -> None:
    values = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(8.0)), 2)[1:3]
    assert numbers("x", values, 2, "f8") == np.arange(2.0, 6.0).tobytes()
    uneven = pa.array([[1.0], [2.0, 3.0], [4.0], [5.0, 6.0, 7.0]])
    assert numbers("x", uneven[2:3], 1, "f8") == np.array([4.0]).tobytes()
    with refused("lists of different lengths"):
        numbers("x", uneven[1:4], 2, "f8")


def test_texts_of_every_type(refused: Any) -> None:
    for kind in (pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())):
        assert texts("x", pa.array(["a", "bc"]).cast(kind)) == b"\1\0\0\0\2\0\0\0abc"
    with refused("more than 4096 bytes"):
        texts("x", pa.array(["ä" * 2049]))
