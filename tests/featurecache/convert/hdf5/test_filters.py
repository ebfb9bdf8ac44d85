"""Filters undone: what the library wrote comes back, and nothing else gets longer than it may."""

from __future__ import annotations

import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurecache.convert.hdf5 import filters
from featurecache.convert.hdf5.filters import DEFLATE, FLETCHER32, LZF, SHUFFLE, undo


@pytest.mark.parametrize("dtype", ["u1", "<i2", "<f4", "<f8"])
@pytest.mark.parametrize("packed", [None, "gzip", "lzf"])
@pytest.mark.parametrize("length", [1, 2, 3, 1000])
def test_what_the_library_packed(tmp_path: Path, dtype: str, packed: str | None, length: int) -> None:
    values = (np.arange(length) ** 2 % 50).astype(dtype)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        item = file.create_dataset(
            "x", data=values, chunks=(length,), compression=packed, shuffle=True, fletcher32=True
        )
        left_out, data = item.id.read_direct_chunk((0,))
    used = [(SHUFFLE, values.itemsize), *({"gzip": [(DEFLATE, 4)], "lzf": [(LZF, 0)]}.get(packed or "", []))]
    used = [each for i, each in enumerate([*used, (FLETCHER32, 0)]) if not left_out >> i & 1]
    assert undo(data, used, values.nbytes) == values.tobytes()


@given(
    st.binary(max_size=300),
    st.sampled_from([DEFLATE, LZF, SHUFFLE, FLETCHER32]),
    st.integers(0, 400),
    st.integers(0, 9),
)
def test_any_bytes_give_the_length_or_are_refused(data: bytes, code: int, length: int, parameter: int) -> None:
    try:
        out = undo(data, [(code, parameter)], length)
    except ValueError:
        return
    assert len(out) == length


@given(st.binary(min_size=1, max_size=200), st.integers(0, 10**6), st.integers(1, 255))
def test_a_checksum_sees_a_changed_byte(data: bytes, place: int, change: int) -> None:
    body = data + b"\0" * (len(data) % 2)
    words = [int.from_bytes(body[i : i + 2], "big") for i in range(0, len(body), 2)]
    first = second = 0
    for word in words:
        first = (first + word) % 65535
        second = (second + first) % 65535
    stored = data + (second << 16 | first).to_bytes(4, "little")
    assert undo(stored, [(FLETCHER32, 0)], len(data)) == data
    place %= len(data)
    damaged = stored[:place] + bytes([stored[place] ^ change]) + stored[place + 1 :]
    with pytest.raises(ValueError, match="checksum"):
        undo(damaged, [(FLETCHER32, 0)], len(data))


def test_a_sum_in_pieces_is_the_sum(monkeypatch: Any) -> None:
    data = np.random.default_rng(0).bytes(10_001)
    stored = next(data + end.to_bytes(4, "little") for end in [_sum(data)])
    monkeypatch.setattr(filters, "PIECE", 64)
    assert undo(stored, [(FLETCHER32, 0)], len(data)) == data


def _sum(data: bytes) -> int:
    first = second = 0
    for i in range(0, len(data), 2):
        first = (first + int.from_bytes(data[i : i + 2].ljust(2, b"\0"), "big")) % 65535
        second = (second + first) % 65535
    return second << 16 | first


@pytest.mark.parametrize("code", [DEFLATE, LZF])
def test_a_bomb_is_not_inflated(code: int) -> None:
    # One literal zero, then copies of 264 bytes each.
    bombs = {DEFLATE: zlib.compress(bytes(2**26)), LZF: b"\0\0" + b"\xe0\xff\0" * 2**18}
    tracemalloc.start()
    with pytest.raises(ValueError, match="more than"):
        undo(bombs[code], [(code, 0)], 1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**17


def test_a_stream_without_its_end_is_refused() -> None:
    data = zlib.compress(b"1234" * 100)
    for cut in range(1, len(data)):
        with pytest.raises(ValueError, match="inflate"):
            undo(data[:cut], [(DEFLATE, 4)], 400)
