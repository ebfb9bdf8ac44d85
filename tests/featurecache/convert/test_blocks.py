"""Foreign values as blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from featurecache.convert.blocks import as_block, block_rows, check_inflation, flat, table_blocks

FILE = Path("some.file")


@given(row_bytes=st.integers(0, 2**40))
def test_a_block_is_bounded_in_rows_and_bytes(row_bytes: int) -> None:
    rows = block_rows(row_bytes)
    assert 1 <= rows <= 4096
    assert rows == 1 or rows * row_bytes <= 2**26


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int8, torch.uint8])
def test_features_become_native_floats_of_the_same_values(kind: torch.dtype) -> None:
    values = torch.tensor([[1, 2], [3, 96]]).to(kind)
    found = as_block({"features": values}, FILE)["features"]
    assert found.dtype.kind == "f"
    np.testing.assert_array_equal(found, [[1, 2], [3, 96]])


@pytest.mark.parametrize("kind", ["i1", "u1", ">i8", "u8", "f2", "f4", ">f8"])
def test_labels_become_integers(kind: str) -> None:
    found = as_block({"labels": np.array([0, 5, 3], kind)}, FILE)["labels"]
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, [0, 5, 3])


@pytest.mark.parametrize(
    "labels",
    [[-2], [0.5], [np.nan], [np.inf], [2**63], [10**6], [1e300], ["cat"], [True], [1j]],
    ids=lambda labels: repr(labels[0]),
)
def test_labels_that_are_no_class_ids(labels: list[Any], refused: Any) -> None:
    with refused("some.file: labels", "expected class ids"):
        as_block({"labels": np.array(labels)}, FILE)


@pytest.mark.parametrize("kind", ["U", "S", object])
def test_names_become_texts(kind: Any) -> None:
    assert as_block({"sample_id": np.array(["a", "bc"], kind)}, FILE)["sample_id"] == ["a", "bc"]
    assert as_block({"sample_id": np.array(["ä".encode(), b"b"])}, FILE)["sample_id"] == ["ä", "b"]
    assert as_block({"sample_id": ["ä", "b"]}, FILE)["sample_id"] == ["ä", "b"]
    assert as_block({"sample_id": np.array([3, 4])}, FILE)["sample_id"] == ["3", "4"]


@pytest.mark.parametrize(
    "names",
    [np.array([b"\xff"]), np.array([2**31 - 1], "<u4").view("<U1"), np.array([1.5]), np.array(["a", 1], object)],
    ids=["utf8", "code point", "float", "object"],
)
def test_names_that_are_no_texts(names: Any, refused: Any) -> None:
    with refused("some.file: sample_id"):
        as_block({"sample_id": names}, FILE)


def test_tables_are_cut_in_step() -> None:
    columns = {
        "feats": torch.arange(10_000.0)[:, None],
        "y": list(range(10_000)),
        "paths": [str(i) for i in range(10_000)],
    }
    blocks = list(table_blocks(columns, {}, FILE))
    assert [len(block["labels"]) for block in blocks] == [4096, 4096, 1808]
    for block in blocks:
        np.testing.assert_array_equal(block["features"][:, 0], block["labels"])
        assert block["sample_id"] == [str(i) for i in block["labels"]]


def test_trees_become_columns() -> None:
    array = np.zeros((2, 2))
    root = {"train": {"feats": array, "y": [1, 2]}, 3: torch.ones(2), "names": ["a"], "lr": 0.1, "mixed": ["a", 1]}
    assert flat(root, FILE).keys() == {"train/feats", "train/y", "3", "names"}
    assert flat((array, [0, 1]), FILE).keys() == {"0", "1"}
    assert flat(array, FILE).keys() == {"features"}
    assert flat("text", FILE) == {}


def test_trees_without_an_end(refused: Any) -> None:
    deep: dict[str, Any] = {}
    deep["again"] = deep
    with refused("some.file", "too deep"):
        flat(deep, FILE)
    with refused("some.file", "too many"):
        flat({i: {} for i in range(20_000)}, FILE)


def test_what_was_compressed_too_far(refused: Any) -> None:
    check_inflation(2**20, 0, FILE)
    check_inflation(200 * 10**9, 10**9, FILE)
    with refused("some.file", "1000 bytes would become 3000000"):
        check_inflation(3_000_000, 1000, FILE)
