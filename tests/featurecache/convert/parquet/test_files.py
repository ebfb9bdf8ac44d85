"""Parquet files, in and out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurecache import FeatureCache
from featurecache.convert.parquet.files import read, save

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def lists(values: Any) -> Any:
    """An array (n, W) as lists of W."""
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("compression", ["snappy", "zstd"])
def test_fixed_size_lists(
    dtype: str, compression: str, tmp_path: Path, columns: Any, gathered: Any, same_rows: Any
) -> None:
    features = columns["features"].astype(dtype)
    table = {"embedding": lists(features), "label": columns["labels"], "path": columns["sample_id"], "lr": [0.1] * 37}
    pq.write_table(pa.table(table), tmp_path / "x.parquet", compression=compression, row_group_size=10)
    expected = {"features": features, "labels": columns["labels"], "sample_id": columns["sample_id"]}
    same_rows(gathered(tmp_path / "x.parquet"), expected)


def test_lists_of_any_size_and_numbered_columns(tmp_path: Path, columns: Any, gathered: Any) -> None:
    features = columns["features"]
    table = {"a": pa.array(features.tolist(), pa.list_(pa.float32())), **{f"dim_{i}": features[:, i] for i in range(5)}}
    pq.write_table(pa.table(table), tmp_path / "x.parquet")
    for name in ("a", "dim_*"):
        np.testing.assert_array_equal(gathered(tmp_path / "x.parquet", {"features": name})["features"], features)


def test_names_that_repeat_are_a_dictionary(tmp_path: Path, columns: Any, gathered: Any) -> None:
    names = pa.array(["a", "b", "a"] * 10).dictionary_encode()
    pq.write_table(pa.table({"x": lists(np.ones((30, 2))), "ids": names}), tmp_path / "x.parquet")
    assert gathered(tmp_path / "x.parquet")["sample_id"] == ["a", "b", "a"] * 10


def test_what_is_saved_is_read_by_pyarrow_and_by_us(
    tmp_path: Path, cache: FeatureCache, columns: Any, gathered: Any, same_rows: Any
) -> None:
    files = save(cache, tmp_path)
    assert [file.name for file in files] == ["train.parquet", "val.parquet", "head.safetensors"]
    table = pq.read_table(tmp_path / "train.parquet")
    assert table.schema.field("features").type == pa.list_(pa.float32(), 5)
    assert table.column_names == ["features", "logits", "label", "index", "sample_id", "status"]
    np.testing.assert_array_equal(np.array(table["features"].to_pylist()), columns["features"])
    assert table["label"].to_pylist() == columns["labels"].tolist()
    same_rows(gathered(tmp_path / "train.parquet"), columns)


def test_every_damaged_value_of_ours_is_noticed(
    tmp_path: Path, cache: FeatureCache, gathered: Any, refused: Any
) -> None:
    file = save(cache, tmp_path)[0]
    original = file.read_bytes()
    place = original.index(np.asarray(cache["train"].features[20]).tobytes())
    file.write_bytes(original[:place] + bytes([original[place] ^ 1]) + original[place + 1 :])
    with refused("train.parquet", "the Parquet library refused it", "CRC"):
        gathered(file)


class TestRefused:
    """Tables that are no features."""

    @pytest.mark.parametrize(
        ("table", "part"),
        [
            ({"x": pa.array([[1.0], [2.0, 3.0], [4.0]]), "y": [0, 1, 2]}, "lists of different lengths"),
            ({"x": pa.array([[1.0], [2.0, 3.0, 4.0]])}, "lists of different lengths"),
            ({"x": pa.array([[1.0], None])}, "'x'"),
            ({"x": pa.array([[1.0, None], [2.0, 3.0]])}, "empty cells"),
            ({"x": lists(np.ones((2, 2))), "y": pa.array([1, None])}, "empty cells"),
            ({"x": lists(np.ones((2, 2))), "ids": pa.array(["a", None])}, "empty cells"),
            ({"x": lists(np.ones((2, 2))), "ids": pa.array(["a", "b" * 5000])}, "more than 4096 bytes"),
            ({"x": lists(np.ones((2, 2))), "y": pa.array(["cat", "dog"])}, "expected class ids"),
            ({"x": lists(np.ones((0, 2)))}, "no columns"),
        ],
    )
    def test_tables(self, table: dict[str, Any], part: str, tmp_path: Path, refused: Any) -> None:
        pq.write_table(pa.table(table), tmp_path / "x.parquet")
        with refused("x.parquet", part):
            list(read(tmp_path / "x.parquet", {}))

    def test_a_bomb(self, tmp_path: Path, refused: Any) -> None:
        pq.write_table(pa.table({"x": lists(np.zeros((50_000, 64)))}), tmp_path / "x.parquet", compression="zstd")
        with refused("x.parquet", "would become"):
            list(read(tmp_path / "x.parquet", {}))

    @pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1\0\0\0\0PAR1", b"PAR1" + b"\xff" * 4 + b"PAR1", b"x" * 99])
    def test_no_table(self, data: bytes, tmp_path: Path, refused: Any) -> None:
        (tmp_path / "x.parquet").write_bytes(data)
        with refused("x.parquet"):
            list(read(tmp_path / "x.parquet", {}))


@settings(max_examples=10)
@given(data=st.data())
def test_any_file_is_read_or_refused(
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
    gathered: Any,
    damaged: Any,
    read_or_refused: Any,
    plausible: Any,
) -> None:
    file = tmp_path_factory.mktemp("parquet") / "x.parquet"
    table = {"x": lists(np.arange(12, dtype=np.float32).reshape(4, 3)), "y": np.arange(4), "ids": list("abcd")}
    pq.write_table(pa.table(table), file)
    file.write_bytes(damaged(data, file.read_bytes()))
    plausible(read_or_refused(lambda: gathered(file), "x.parquet"))
