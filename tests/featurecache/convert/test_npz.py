"""Archives of arrays."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurecache import FeatureCache
from featurecache.convert.npz import read, save


@pytest.mark.parametrize("savez", [np.savez, np.savez_compressed])
def test_stored_and_deflated(
    savez: Callable[..., None], tmp_path: Path, columns: Any, gathered: Any, same_rows: Any
) -> None:
    savez(tmp_path / "x.npz", **{**columns, "weight": np.zeros((3, 5))})
    same_rows(gathered(tmp_path / "x.npz"), columns)


def test_other_names_and_left_out_columns(tmp_path: Path, columns: Any, gathered: Any, same_rows: Any) -> None:
    np.savez(tmp_path / "x.npz", a=columns["features"], b=columns["labels"], scores=columns["logits"])
    found = gathered(tmp_path / "x.npz", {"features": "a", "labels": "b", "logits": ""})
    same_rows(found, {"features": columns["features"], "labels": columns["labels"]})


def test_blocks_are_bounded_and_in_step(tmp_path: Path) -> None:
    rows = 9000
    np.savez_compressed(tmp_path / "x.npz", x=np.random.default_rng(0).normal(size=(rows, 2)), y=np.arange(rows))
    blocks = list(read(tmp_path / "x.npz", {}))
    assert [len(block["features"]) for block in blocks] == [4096, 4096, 808]
    np.testing.assert_array_equal(np.concatenate([block["labels"] for block in blocks]), np.arange(rows))


def test_what_is_saved_is_read_by_numpy_and_by_us(
    tmp_path: Path, cache: FeatureCache, columns: Any, gathered: Any, same_rows: Any
) -> None:
    assert save(cache, tmp_path) == [tmp_path / "train.npz", tmp_path / "val.npz"]
    with np.load(tmp_path / "train.npz") as found:
        same_rows(
            dict(found),
            {**columns, "index": np.arange(37), "weight": cache.head[0].numpy(), "bias": cache.head[1].numpy()},
        )
    same_rows(gathered(tmp_path / "train.npz"), columns)
    assert len(gathered(tmp_path / "val.npz")["features"]) == 20


def test_equal_caches_are_saved_as_equal_bytes(tmp_path: Path, cache: FeatureCache) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save(cache, tmp_path / name)
    assert (tmp_path / "a" / "train.npz").read_bytes() == (tmp_path / "b" / "train.npz").read_bytes()


@pytest.mark.parametrize("savez", [np.savez, np.savez_compressed])
def test_every_damaged_value_is_noticed(
    savez: Callable[..., None], tmp_path: Path, columns: Any, gathered: Any, refused: Any
) -> None:
    file = tmp_path / "x.npz"
    savez(file, **columns)
    with zipfile.ZipFile(file) as archive:
        places = [info.header_offset + 250 for info in archive.infolist()]
    original = file.read_bytes()
    for place in places:
        file.write_bytes(original[:place] + bytes([original[place] ^ 8]) + original[place + 1 :])
        with refused("x.npz", "damaged"):
            gathered(file)


def test_python_objects_are_never_unpickled(tmp_path: Path, columns: Any, gathered: Any, refused: Any) -> None:
    np.savez(tmp_path / "x.npz", features=columns["features"], labels=np.array([1, "a"], object))
    for names in ({"labels": "labels"}, {}):  # asked for, and what would have been taken
        with refused("x.npz", "'labels'", "never unpickled"):
            gathered(tmp_path / "x.npz", names)
    assert gathered(tmp_path / "x.npz", {"labels": ""}).keys() == {"features"}
    np.savez(tmp_path / "y.npz", features=columns["features"], others=np.array([1, "a"], object))
    assert gathered(tmp_path / "y.npz").keys() == {"features"}


def write_members(file: Path, members: dict[str, bytes], compression: int) -> None:
    """A zip archive."""
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def array_bytes(values: Any) -> bytes:
    """A .npy file."""
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


class TestRefused:
    """Archives that np.savez would not have made."""

    def test_a_bomb(self, tmp_path: Path, refused: Any) -> None:
        np.savez_compressed(tmp_path / "x.npz", features=np.zeros((2**12, 2**12), np.float32))
        with refused("x.npz", "would become"):
            next(read(tmp_path / "x.npz", {}))

    def test_lengths_that_differ_from_the_header(self, tmp_path: Path, refused: Any) -> None:
        data = array_bytes(np.zeros((4, 3)))
        for name, bad in {"long": data + b"x", "short": data[:-1]}.items():
            write_members(tmp_path / f"{name}.npz", {"features.npy": bad}, zipfile.ZIP_STORED)
            with refused(f"{name}.npz", "features have"):
                next(read(tmp_path / f"{name}.npz", {}))

    @pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_compression_without_a_bound(self, compression: int, tmp_path: Path, refused: Any) -> None:
        write_members(tmp_path / "x.npz", {"features.npy": array_bytes(np.zeros((4, 3)))}, compression)
        with refused("x.npz", "neither stored nor deflated"):
            next(read(tmp_path / "x.npz", {}))

    def test_two_of_one_name_and_other_files(self, tmp_path: Path, refused: Any) -> None:
        write_members(tmp_path / "x.npz", {"readme.txt": b""}, zipfile.ZIP_STORED)
        with refused("x.npz", "'readme.txt'"):
            next(read(tmp_path / "x.npz", {}))
        write_members(tmp_path / "y.npz", {"x.npy": b"", "y.npy": b""}, zipfile.ZIP_STORED)
        data = (tmp_path / "y.npz").read_bytes()
        (tmp_path / "y.npz").write_bytes(data.replace(b"y.npy", b"x.npy"))
        with refused("y.npz", "two of one name"):
            next(read(tmp_path / "y.npz", {}))

    def test_column_by_column(self, tmp_path: Path, refused: Any) -> None:
        np.savez(tmp_path / "x.npz", x=np.asfortranarray(np.ones((4, 3))))
        with refused("x.npz", "np.ascontiguousarray"):
            next(read(tmp_path / "x.npz", {}))

    def test_a_directory_that_fills_the_memory(self, tmp_path: Path, refused: Any) -> None:
        with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
            for i in range(40):
                archive.writestr(zipfile.ZipInfo(f"{i}" * 15_000), b"")
        with refused("x.npz", "its directory has"):
            next(read(tmp_path / "x.npz", {}))

    @pytest.mark.parametrize("data", [b"", b"PK", b"PK\5\6" + bytes(18), b"\0" * 5000])
    def test_no_archive(self, data: bytes, tmp_path: Path, refused: Any) -> None:
        (tmp_path / "x.npz").write_bytes(data)
        with refused("x.npz"):
            next(read(tmp_path / "x.npz", {}))


@pytest.mark.parametrize("savez", [np.savez, np.savez_compressed])
@given(data=st.data())
def test_any_file_is_read_or_refused(
    savez: Callable[..., None],
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
    gathered: Any,
    damaged: Any,
    read_or_refused: Any,
    plausible: Any,
) -> None:
    file = tmp_path_factory.mktemp("npz") / "x.npz"
    stream = io.BytesIO()
    savez(stream, features=np.arange(12, dtype=np.float32).reshape(4, 3), y=np.arange(4), ids=np.array(list("abcd")))
    file.write_bytes(damaged(data, stream.getvalue()))
    plausible(read_or_refused(lambda: gathered(file), "x.npz"))
