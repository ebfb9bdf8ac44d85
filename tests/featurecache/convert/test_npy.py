"""Arrays in .npy files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurecache.convert.npy import open_array, read, read_header, write_header


def test_features_and_columns_beside_them(tmp_path: Path, columns: Any, gathered: Any, same_rows: Any) -> None:
    (tmp_path / "more").mkdir()
    np.save(tmp_path / "train.npy", columns["features"])
    np.save(tmp_path / "y.npy", columns["labels"])
    np.save(tmp_path / "more" / "ids.npy", np.array(columns["sample_id"]))
    assert gathered(tmp_path / "train.npy").keys() == {"features"}
    found = gathered(tmp_path / "train.npy", {"labels": "y.npy", "sample_id": "more/ids.npy"})
    same_rows(found, {name: columns[name] for name in ("features", "labels", "sample_id")})


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8", "|i1", ">u4"])
def test_numbers_of_every_size_and_byte_order(dtype: str, tmp_path: Path, gathered: Any) -> None:
    values = np.arange(12).reshape(4, 3).astype(dtype)
    np.save(tmp_path / "x.npy", values)
    found = gathered(tmp_path / "x.npy")["features"]
    np.testing.assert_array_equal(found, values)
    assert found.dtype.kind == "f"
    assert found.dtype.isnative


def test_columns_first_order(tmp_path: Path, columns: Any, gathered: Any) -> None:
    np.save(tmp_path / "x.npy", np.asfortranarray(columns["features"]))
    np.testing.assert_array_equal(gathered(tmp_path / "x.npy")["features"], columns["features"])


def test_blocks_are_bounded(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((9000, 2), np.float32))
    assert [len(block["features"]) for block in read(tmp_path / "x.npy", {})] == [4096, 4096, 808]


def test_the_first_block_needs_no_more_memory_than_itself(tmp_path: Path) -> None:
    with (tmp_path / "x.npy").open("wb") as file:
        write_header(file, (2**24, 1024), np.dtype("<f4"))
        file.truncate(file.tell() + 2**36)  # a hole
    assert next(read(tmp_path / "x.npy", {}))["features"].shape == (4096, 1024)


@pytest.mark.parametrize("shape", [(0, 3), (3,), (2, 3, 4), (3, 0)])
def test_shapes_that_are_no_features(shape: tuple[int, ...], tmp_path: Path, refused: Any) -> None:
    np.save(tmp_path / "x.npy", np.zeros(shape, np.float32))
    with refused("x.npy", "expected"):
        list(read(tmp_path / "x.npy", {}))


@pytest.mark.parametrize(
    "values",
    [
        np.array([[1, "a"]], object),
        np.zeros(3, [("x", "f4")]),
        np.array([["a"]]),
        np.zeros((2, 2), complex),
        np.zeros((2, 2), bool),
        np.zeros((2, 2), "M8[s]"),
    ],
    ids=lambda values: str(values.dtype),
)
def test_values_that_are_no_numbers(values: Any, tmp_path: Path, refused: Any) -> None:
    np.save(tmp_path / "x.npy", values, allow_pickle=True)
    with refused("x.npy"):
        list(read(tmp_path / "x.npy", {}))


def test_a_header_that_claims_more_than_there_is(tmp_path: Path, refused: Any) -> None:
    with (tmp_path / "x.npy").open("wb") as file:
        write_header(file, (10**15, 2048), np.dtype("<f4"))
    with refused("x.npy", "is cut short"):
        list(read(tmp_path / "x.npy", {}))


@pytest.mark.parametrize("name", ["../y.npy", "/etc/hostname", "nothing.npy", "link.npy", "a\0b", "."])
def test_other_columns_lie_in_the_same_folder(name: str, tmp_path: Path, refused: Any) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    np.save(folder / "x.npy", np.zeros((2, 2)))
    np.save(tmp_path / "y.npy", np.zeros(2, int))
    (folder / "link.npy").symlink_to(tmp_path / "y.npy")
    with refused("--map labels=", "expected the name of a .npy file beside it"):
        list(read(folder / "x.npy", {"labels": name}))


def test_rows_that_do_not_fit(tmp_path: Path, refused: Any) -> None:
    np.save(tmp_path / "x.npy", np.zeros((4, 2)))
    np.save(tmp_path / "y.npy", np.zeros(5, int))
    with refused("labels 'y.npy' have shape (5,)", "expected (4,)"):
        list(read(tmp_path / "x.npy", {"labels": "y.npy"}))


def test_a_folder_and_a_pipe(tmp_path: Path, refused: Any) -> None:
    import os

    os.mkfifo(tmp_path / "x.npy")
    with refused("x.npy", "not a regular file"):
        open_array(tmp_path / "x.npy")


@given(
    shape=st.lists(st.integers(0, 2**40), max_size=4).map(tuple),
    dtype=st.sampled_from(["<f4", ">f8", "|u1", "<U7", "|S3", "<i8"]),
)
def test_headers_are_read_as_numpy_writes_them(shape: tuple[int, ...], dtype: str) -> None:
    stream = io.BytesIO()
    write_header(stream, shape, np.dtype(dtype))
    end = stream.tell()
    stream.seek(0)
    header = read_header(stream)
    assert (header.shape, header.dtype, header.fortran, header.size) == (shape, np.dtype(dtype), False, end)
    assert stream.tell() == end


@given(data=st.data())
def test_any_file_is_read_or_refused(
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
    gathered: Any,
    damaged: Any,
    read_or_refused: Any,
    plausible: Any,
) -> None:
    file = tmp_path_factory.mktemp("npy") / "x.npy"
    stream = io.BytesIO()
    np.save(stream, np.arange(12, dtype=np.float32).reshape(4, 3))
    file.write_bytes(damaged(data, stream.getvalue()))
    plausible(read_or_refused(lambda: gathered(file), "x.npy"))
