"""Pickles, followed without running them."""

from __future__ import annotations

import os
import pickle
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from featurecache.convert.pickles.machine import unpickled

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**100), 2**100) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(), inner, max_size=4),
    max_leaves=12,
)


@given(value=PLAIN, protocol=st.integers(2, 5))
def test_plain_values_are_what_python_reads(value: Any, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    assert unpickled(memoryview(data)) == value


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_shared_and_nested_parts(protocol: int) -> None:
    shared = ["x", (1, 2, 3, 4), ()]
    value = {"a": shared, "b": shared, "c": [shared, {"d": (1.5,)}]}
    found = unpickled(memoryview(pickle.dumps(value, protocol)))
    assert found == value
    assert found["a"] is found["b"]


def test_large_texts_are_not_copied() -> None:
    data = memoryview(pickle.dumps({"x": np.zeros(100_000)}, 4))
    assert np.shares_memory(unpickled(data)["x"], np.frombuffer(data, np.uint8))


class Runs:
    """Something that, unpickled, makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_is_run(protocol: int, tmp_path: Path, refused: Any) -> None:
    with refused():
        unpickled(memoryview(pickle.dumps({"features": Runs(tmp_path / "made")}, protocol)))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (torch.zeros(2), "torch._utils._rebuild_tensor_v2"),
        (OrderedDict(), "collections.OrderedDict"),
        (Path("x"), "pathlib."),
        (np.float64, "numpy.float64"),
        (np.ma.masked_array([1]), "numpy.ma"),
        (1j, "builtins.complex"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_name_that_is_refused_is_said(value: Any, name: str, refused: Any) -> None:
    with refused("asks for", name, "nothing was run"):
        unpickled(memoryview(pickle.dumps({"x": value}, 4)))


def test_the_protocol_of_text(refused: Any) -> None:
    with refused("protocol"):
        unpickled(memoryview(pickle.dumps({"x": 1, "y": "z"}, 0)))


class TestBombs:
    """A few bytes that would take memory or time without end."""

    def test_a_memo_with_a_huge_number(self) -> None:
        assert unpickled(memoryview(b"\x80\x02K\x01r\xff\xff\xff\x7f.")) == 1

    @pytest.mark.parametrize("code", [b"\x8e", b"\x8d", b"\x96"])
    def test_lengths_beyond_the_file(self, code: bytes, refused: Any) -> None:
        with refused("is cut short"):
            unpickled(memoryview(b"\x80\x04" + code + b"\xff" * 7 + b"\x7f."))

    def test_a_key_that_takes_for_ever_to_hash(self, refused: Any) -> None:
        doubled = b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(60))
        started = time.perf_counter()
        with refused():
            unpickled(memoryview(b"\x80\x02}(K\x01" + doubled + b"K\x01u."))
        assert time.perf_counter() - started < 1

    def test_more_containers_than_any_file_needs(self, refused: Any) -> None:
        with refused("more than 1000000 dictionaries"):
            unpickled(memoryview(b"\x80\x02" + b"}" * 2_000_000 + b"."))

    def test_an_integer_of_many_digits(self, refused: Any) -> None:
        with refused("an integer of 255 bytes"):
            unpickled(memoryview(b"\x80\x02\x8a\xff" + bytes(255) + b"."))

    def test_a_list_in_itself(self) -> None:
        found = unpickled(memoryview(b"\x80\x02]q\x00h\x00a."))
        assert found[0] is found


@given(data=st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes, read_or_refused: Any) -> None:
    read_or_refused(lambda: unpickled(memoryview(b"\x80\x04" + data)))


CODES = [code for name in dir(pickle) if name.isupper() and isinstance(code := getattr(pickle, name), bytes)]


@given(parts=st.lists(st.sampled_from([*CODES, b"numpy\nndarray\n", b"\0", b"\1", b"numpy\ndtype\n"]), max_size=40))
def test_any_instructions_are_followed_or_refused(parts: list[bytes], read_or_refused: Any) -> None:
    read_or_refused(lambda: unpickled(memoryview(b"\x80\x04" + b"".join(parts))))
