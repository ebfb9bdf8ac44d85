"""The process that asks the HDF5 library: what it may do, and what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from featurecache.convert.hdf5 import child

CHILD = Path(child.__file__)


def run(code: str, *given: str) -> str:
    """What a Python program prints that has the child's functions in `child`."""
    start = f"import runpy, sys\nchild = runpy.run_path({str(CHILD)!r})\n"
    done = subprocess.run(
        [sys.executable, "-P", "-c", start + code, *given], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def ask(file: Path, *wanted: str, chosen: tuple[str, ...] = ()) -> tuple[dict[str, Any], bytes]:
    """(list, what follows it) of a file."""
    lines = "".join(json.dumps(line) + "\n" for line in (wanted, chosen))
    with file.open("rb") as handle:
        done = subprocess.run(
            [sys.executable, "-P", str(CHILD), str(handle.fileno())],
            input=lines.encode(),
            capture_output=True,
            pass_fds=(handle.fileno(),),
            timeout=60,
        )
    listing, _, rest = done.stdout.partition(b"\n")
    return json.loads(listing), rest


def test_no_file_can_be_opened_once_the_library_is_there() -> None:
    code = """
child["limit_after_loading"]()
for flags in "r", "w":
    try:
        open("/dev/null", flags)
    except OSError as error:
        print(error.errno)
"""
    assert run(code).split() == ["24", "24"]  # EMFILE


def test_no_file_can_be_written_and_memory_has_an_end(tmp_path: Path) -> None:
    code = """
child["limit_before_loading"]()
with open(sys.argv[1], "wb", buffering=0) as file:
    try:
        file.write(b"1")
    except OSError as error:
        print(error.errno)
try:
    bytearray(2**31)
except MemoryError:
    print("memory")
"""
    assert run(code, str(tmp_path / "new")).split() == ["27", "memory"]  # EFBIG
    assert (tmp_path / "new").stat().st_size == 0


def test_it_loads_neither_torch_nor_the_project() -> None:
    code = """
import h5py
print(sorted({"torch", "featurecache"} & {name.split(".")[0] for name in sys.modules}))
"""
    assert run(code) == "[]"


def test_what_it_lists(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["train/feats"] = np.zeros((3, 2), "f4")
        file["train/feats"].attrs["note"] = "never read"
        file.create_dataset("c", (5, 7), "i2", chunks=(2, 7), compression="gzip", shuffle=True)
        file["train/soft"] = h5py.SoftLink("/c")
        file["train/up"] = file["/"]
        file["type"] = np.dtype("f4")
    listing, _ = ask(tmp_path / "a.h5")
    assert set(listing["datasets"]) == {"c", "train/feats", "train/soft"}
    assert listing["datasets"]["c"] | {"dtype": ""} == {
        "shape": [5, 7], "chunk": [2, 7], "filters": [[2, 2], [1, 4]], "layout": "chunked", "dtype": "",
    }  # fmt: skip
    assert listing["datasets"]["c"]["dtype"] == "<i2"
    assert listing["datasets"]["train/feats"]["layout"] == "contiguous"
    assert "soft link" in listing["datasets"]["train/soft"]["refused"]
    assert not listing["more"]


def test_a_table_has_one_record_a_chunk_in_row_order(tmp_path: Path) -> None:
    values = np.arange(35, dtype="i2").reshape(5, 7)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("c", data=values, chunks=(2, 4))
    _, table = ask(tmp_path / "a.h5", chosen=("c",))
    assert len(table) == 16 * 3 * 2
    data = (tmp_path / "a.h5").read_bytes()
    records = [child.CHUNK.unpack_from(table, 16 * i) for i in range(6)]
    firsts = [int.from_bytes(data[address : address + 2], "little") for address, _, _ in records]
    assert firsts == [0, 4, 14, 18, 28, 32]
    assert {size for _, size, _ in records} == {16}


def test_a_chunk_that_is_not_there_says_so(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("c", (4,), "i2", chunks=(2,))[2:] = 1
    _, table = ask(tmp_path / "a.h5", chosen=("c",))
    assert table[:16] == child.MISSING
    assert table[16:] != child.MISSING


def test_a_wanted_name_is_found_among_many_and_far_down(tmp_path: Path) -> None:
    deep = "/".join("abcdefghijkl")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for i in range(1200):
            file.create_group(f"a{i}")
        file["zz"], file[deep] = np.zeros(3), np.zeros(4)
    listing, _ = ask(tmp_path / "a.h5", "zz", deep, "nothing", "zz/inside", "../zz")
    assert listing["datasets"]["zz"]["shape"] == [3]
    assert listing["datasets"][deep]["shape"] == [4]
    assert "nothing" not in listing["datasets"]
    assert listing["more"]


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(4096)])
def test_what_is_no_hdf5_file_gives_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.h5").write_bytes(content)
    listing, rest = ask(tmp_path / "a.h5")
    assert set(listing) == {"error"}
    assert rest == b""


def test_a_link_on_the_way_is_not_followed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["real/features"] = np.zeros((3, 2))
        file["soft"] = h5py.SoftLink("/real")
    listing, _ = ask(tmp_path / "a.h5", "soft/features")
    assert "soft link" in listing["datasets"]["soft/features"]["refused"]
