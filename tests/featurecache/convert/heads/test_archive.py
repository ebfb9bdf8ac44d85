"""The arrays of .npz files, honest and hostile."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurecache.convert.heads.archive import Archive

ARRAYS = {
    "weight": np.arange(12.0).reshape(3, 4),
    "fortran": np.asfortranarray(np.arange(6, dtype=">f4").reshape(2, 3)),
    "half": np.ones((2, 2), np.float16),
    "number": np.array(7),
    "text": np.array(["a", "käfer"]),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_back(save: Any, tmp_path: Path) -> None:
    save(tmp_path / "x.npz", **ARRAYS)
    archive = Archive(tmp_path / "x.npz")
    assert archive.shapes == {name: values.shape for name, values in ARRAYS.items()}
    for name, values in ARRAYS.items():
        found = archive.read(name)
        np.testing.assert_array_equal(found, values)
        assert (found.shape, found.dtype) == (values.shape, values.dtype.newbyteorder("="))


def test_python_objects_are_listed_and_never_unpickled(tmp_path: Path, refused: Any) -> None:
    marker = tmp_path / "ran"

    class Payload:
        """Runs when it is unpickled."""

        def __reduce__(self) -> Any:
            return Path.touch, (marker,)

    np.savez(tmp_path / "x.npz", weight=np.ones((2, 2)), evil=np.array([Payload(), None], dtype=object))
    archive = Archive(tmp_path / "x.npz")
    assert set(archive.unreadable) == {"evil"}
    assert archive.read("weight").sum() == 4
    with refused("array 'evil' holds Python objects, which are never unpickled"):
        archive.read("evil")
    assert not marker.exists()


def header(shape: str, descr: str = "<f8") -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode()


def zipped(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize(
    ("members", "part"),
    [
        ({"weight.npy": header("(1000000000, 1000000000)")}, "has not the 8000000000000000000 bytes"),
        ({"weight.npy": header("(2, 2)") + bytes(31)}, "has not the 32 bytes"),
        ({"weight.npy": header("(2, 2)") + bytes(33)}, "has not the 32 bytes"),
        ({"weight.npy": header("(2,)", "|V8") + bytes(16)}, "values of type"),
        ({"weight.npy": header("(2,)", "<M8") + bytes(16)}, "values of type"),
        ({"weight.npy": header("(2,)", "<f99999")}, "values of type"),
        ({"weight.npy": header("(-1,)")}, "header of another kind"),
        ({"weight.npy": pickle.dumps([1])}, "is no NumPy array"),
        ({"weight.npy": b""}, "is no NumPy array"),
    ],
)
def test_headers_that_are_not_true(members: dict[str, bytes], part: str, tmp_path: Path, refused: Any) -> None:
    archive = Archive(zipped(tmp_path / "x.npz", members))
    with refused("array 'weight'", part):
        archive.read("weight")


@pytest.mark.parametrize(
    ("members", "method", "part"),
    [
        ({"weight.npy": header("(100000000,)", "|u1") + bytes(10**8)}, zipfile.ZIP_DEFLATED, "would become"),
        ({"weight.npy": header("(2,)") + bytes(16)}, zipfile.ZIP_BZIP2, "neither stored nor deflated"),
        ({"data.pkl": b""}, zipfile.ZIP_STORED, "no .npy file"),
        ({f"{i}.npy": b"" for i in range(1001)}, zipfile.ZIP_STORED, "1001 arrays"),
        ({f"{'x' * 60000}{i}.npy": b"" for i in range(20)}, zipfile.ZIP_STORED, "larger than that of any head"),
    ],
    ids=["bomb", "method", "pickle", "many", "names"],
)
def test_archives_that_are_none(
    members: dict[str, bytes], method: int, part: str, tmp_path: Path, refused: Any
) -> None:
    with refused(part):
        Archive(zipped(tmp_path / "x.npz", members, method))


def test_two_arrays_of_one_name(tmp_path: Path, refused: Any) -> None:
    path = zipped(tmp_path / "x.npz", {"weight.npy": header("(0,)"), "weighs.npy": header("(0,)")})
    path.write_bytes(path.read_bytes().replace(b"weighs", b"weight"))
    with refused("two of one name"):
        Archive(path)


def test_an_archive_that_says_its_list_lies_elsewhere(tmp_path: Path, refused: Any) -> None:
    data = zipped(tmp_path / "x.npz", {"weight.npy": header("(0,)")}).read_bytes()
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, 0, 1)  # of an archive over 4 GiB
    (tmp_path / "x.npz").write_bytes(data[:-22] + locator + data[-22:])
    with refused("larger than that of any head"):
        Archive(tmp_path / "x.npz")


def test_what_is_no_archive(tmp_path: Path, refused: Any) -> None:
    for data in (b"", b"text", b"PK\3\4" + bytes(100)):
        (tmp_path / "x.npz").write_bytes(data)
        with refused("no .npz file"):
            Archive(tmp_path / "x.npz")


def test_a_changed_byte_is_seen(tmp_path: Path, refused: Any) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, weight=np.full((3, 3), 7.0))
    data = bytearray(path.read_bytes())
    data[data.index(np.full(2, 7.0).tobytes())] ^= 1
    path.write_bytes(data)
    with refused("damaged .npz file", "CRC"):
        Archive(path).read("weight")


@given(data=st.data())
def test_any_file_is_read_or_refused(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory, damaged: Any, read_or_refused: Any
) -> None:
    stream = io.BytesIO()
    np.savez_compressed(stream, weight=np.arange(12.0).reshape(3, 4), bias=np.zeros(3))
    path = tmp_path_factory.mktemp("heads") / "x.npz"
    path.write_bytes(damaged(data, stream.getvalue()))
    archive = read_or_refused(lambda: Archive(path))
    for name in () if archive is None else (*archive.shapes, *archive.unreadable):
        values = read_or_refused(lambda name=name: archive.read(name))  # type: ignore[misc]
        assert values is None or values.nbytes < 10**6
