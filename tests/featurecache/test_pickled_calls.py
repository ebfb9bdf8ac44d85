"""Small files that would become gigabytes are refused before PyTorch reads them; honest ones pass."""

from __future__ import annotations

import argparse
import io
import pickle
import struct
import zipfile
from collections import Counter, OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from featurecache.pickled_calls import MAX_KEY, MAX_TUPLE, check_calls

archive_or_not = pytest.mark.parametrize("archive", [True, False])


def saved(value: Any, archive: bool = True) -> io.BytesIO:
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=archive)
    stream.seek(0)
    return stream


def text(letters: str) -> bytes:
    return b"X" + struct.pack("<I", len(letters)) + letters.encode()


def forged(body: bytes, archive: bool = True) -> io.BytesIO:
    """A PyTorch file whose object is this pickle."""
    data = b"\x80\x02" + body + b"."
    if not archive:
        heads = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})  # as PyTorch begins its older files
        return io.BytesIO(b"".join(pickle.dumps(head, 2) for head in heads) + data + pickle.dumps([], 2))
    new = io.BytesIO()
    with zipfile.ZipFile(saved({})) as old, zipfile.ZipFile(new, "w") as made:
        for member in old.infolist():
            made.writestr(member.filename, data if member.filename.endswith("/data.pkl") else old.read(member))
    new.seek(0)
    return new


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def nested(depth: int) -> bytes:
    """The pair of itself with itself, again and again: a few bytes, 2 ** depth values."""
    return b")" + b"q\x01h\x01\x86" * depth


TENSOR = nn.Parameter(torch.ones(2, 3))
TENSOR.note = "an attribute"  # type: ignore[attr-defined]
HONEST = {
    "state": nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).state_dict(),
    "optimizer": torch.optim.Adam([nn.Parameter(torch.ones(2))]).state_dict(),
    "options": argparse.Namespace(sizes=(1, 2), inner=argparse.Namespace(names=["a"] * 5000)),
    "figures": {"curve": np.arange(6.0).reshape(2, 3), "best": np.float64(0.5), "text": np.array(["ü"])},
    "containers": [Counter("abc"), {1, 2}, OrderedDict(a=(1, (2, 3))), torch.Size([1]), 1j, b"bytes", 10**30, None],
    "names": tuple(f"class {i}" for i in range(22_000)),
    "kinds": [torch.ones(2).half(), torch.ones(2, dtype=torch.bfloat16), torch.ones(2, 2).T, torch.float32, "cpu"],
    "parameter": TENSOR,
    "plain": torch.zeros(0),
}


@archive_or_not
@pytest.mark.parametrize("name", HONEST)
def test_honest_files_pass_and_the_stream_is_at_its_start(name: str, archive: bool) -> None:
    stream = saved({name: HONEST[name]}, archive)
    check_calls(stream)
    assert stream.tell() == 0


@archive_or_not
@pytest.mark.parametrize(
    ("body", "part"),
    [
        (b"c__builtin__\nbytearray\n" + number(2**31 - 1) + b"\x85R", "'__builtin__.bytearray'"),
        (b"cbuiltins\nbytearray\n" + number(2**31 - 1) + b"\x85\x81", "'builtins.bytearray'"),
        (b"ctorch\nFloatTensor\n" + number(2**30) + b"\x85R", "'torch.FloatTensor'"),
        (b"ctorch.cuda\nHalfTensor\n" + number(2**30) + b"\x85\x81", "'torch.cuda.HalfTensor'"),
        (b"ctorch\nTensor\n" + number(2**30) + b"\x85R", "without stored values"),
        (b"ctorch\nTensor\nq\x00h\x00" + number(2**30) + b"\x85\x81", "without stored values"),
        (b"ctorch\nTensor\n]" + number(2**30) + b"aR", "without stored values"),
        (b"c_codecs\nencode\n" + text("a") + text("hex_codec") + b"\x86R", "another codec than latin1"),
        (b"c_codecs\nencode\n" + text("a") + text("utf-32") + b"\x86R", "another codec than latin1"),
        (b"c_codecs\nencode\n" + text("a") + b"\x85R", "another codec than latin1"),
        (
            b"ctorch._tensor\n_rebuild_from_type_v2\n(ctorch\nTensor\nq\x00h\x00" + number(2**30) + b"\x85}tR",
            "made by something else",
        ),
        (b"}" + nested(40) + b"Ns", f"more than {MAX_TUPLE} values"),
        (b"}(" + nested(12) + b"Nu", f"a key of more than {MAX_KEY} values"),
        (nested(60), f"more than {MAX_TUPLE} values"),
    ],
)
def test_what_makes_much_of_little_is_refused_by_name(body: bytes, part: str, archive: bool, refused: Any) -> None:
    with refused(part):
        check_calls(forged(body, archive))


def test_a_tensor_of_no_size_may_be_made_for_its_storage() -> None:
    check_calls(forged(b"ctorch\nTensor\n)\x81"))
    check_calls(forged(b"c_codecs\nencode\n" + text("a") + text("latin1") + b"\x86R"))


@archive_or_not
@pytest.mark.parametrize("body", [b"R", b"\x86", b"h\x05", b"s", b"t", b"q\x00", b"cbuiltins\n"])
def test_a_pickle_that_cannot_be_followed_is_refused(body: bytes, archive: bool, refused: Any) -> None:
    with refused("no PyTorch file, or a damaged one"):
        check_calls(forged(body, archive))


def test_what_pytorch_does_not_know_ends_the_check() -> None:
    check_calls(io.BytesIO(b""))
    check_calls(forged(b"(i__builtin__\nbytearray\n"))  # protocol 0, which PyTorch refuses there and then


@archive_or_not
@given(place=st.floats(0, 0.999), byte=st.integers(0, 255), cut=st.floats(0.1, 1))
def test_any_file_passes_or_is_refused_in_one_line(
    archive: bool, place: float, byte: int, cut: float, read_or_refused: Any
) -> None:
    data = bytearray(saved({"a": torch.ones(3), "b": HONEST["options"]}, archive).getvalue())
    data[int(place * len(data))] = byte
    stream = io.BytesIO(bytes(data[: int(cut * len(data))]))
    read_or_refused(lambda: check_calls(stream))
    assert stream.tell() == 0
