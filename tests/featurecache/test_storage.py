"""Values as they are stored: what is refused, and by which name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from featurecache.storage import (
    NumberedIds,
    as_array,
    as_bytes,
    check_dtype,
    check_labels,
    data_digest,
    encode_ids,
    head_digest,
    to_storage,
)

IDS = np.array([b"cat.jpg", "é.jpg".encode(), b"dog.jpg"])


@given(
    arrays.arrays(np.float32, (3, 4), elements=st.floats(-6e4, 6e4, width=32)), st.sampled_from(["float16", "float32"])
)
def test_finite_values_are_rounded_to_the_nearest(values: NDArray[np.float32], dtype: str) -> None:
    stored = to_storage(values, dtype, IDS)
    assert stored.dtype == np.dtype(dtype)
    # Half a unit in the last place of 11 (24) bits, or half the smallest subnormal number.
    half, tiny = (2.0**-11, 2.0**-25) if dtype == "float16" else (0, 0)
    assert (np.abs(stored.astype(np.float64) - values) <= np.maximum(half * np.abs(values), tiny)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_value_that_is_not_finite_names_its_sample(bad: float, dtype: str, refused: Any) -> None:
    values = np.zeros((3, 4), np.float32)
    values[1, 2] = bad
    with refused("features", "'é.jpg'", str(bad), "finite"):
        to_storage(values, dtype, IDS)


def test_a_value_beyond_half_precision_is_named_with_the_way_out(refused: Any) -> None:
    values = np.zeros((3, 4), np.float32)
    values[2, 1] = -70_000
    with refused("'dog.jpg'", "-70000", "float16", "--dtype float32"):
        to_storage(values, "float16", IDS)
    assert to_storage(values, "float32", IDS)[2, 1] == -70_000


def test_the_largest_half_is_stored_and_what_rounds_beyond_is_refused(refused: Any) -> None:
    assert to_storage(np.full((1, 1), 65_519.0), "float16", IDS)[0, 0] == 65_504
    with refused("65520"):
        to_storage(np.full((1, 1), 65_520.0), "float16", IDS)


def test_the_hint_is_never_the_dtype_that_failed(refused: Any) -> None:
    with refused("logits", "1e+300"):
        to_storage(np.full((1, 1), 1e300), "float32", IDS, what="logits")
    with pytest.raises(ValueError, match=r"1e\+300") as caught:
        to_storage(np.full((1, 1), 1e300), "float32", IDS)
    assert "--dtype float32" not in str(caught.value)


def test_a_long_id_is_cut_short(refused: Any) -> None:
    with refused("sample"):
        to_storage(np.full((1, 1), np.nan), "float16", np.array([b"x" * 4000]))


@pytest.mark.parametrize("dtype", ["float64", "int8", "", "<f2", "bfloat16"])
def test_other_dtypes_are_refused(dtype: str, refused: Any) -> None:
    with refused(repr(dtype), "float16", "float32"):
        check_dtype(dtype)
    assert [check_dtype(known) for known in ("float16", "float32")] == ["float16", "float32"]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64, ">i8"])
def test_labels_become_int64(dtype: Any) -> None:
    made = check_labels(np.array([0, 5, 100], dtype))
    assert made.dtype == np.int64
    assert made.tolist() == [0, 5, 100]


@pytest.mark.parametrize(
    "labels",
    [
        np.zeros(3),
        np.zeros((3, 1), int),
        np.array(3),
        np.array([True, False]),
        np.array(["1", "2"]),
        np.array([0, -2]),
        np.array([0, 2**64 - 1], np.uint64),
    ],
    ids=["floats", "one-hot", "scalar", "booleans", "text", "-2", "2**64-1"],
)
def test_labels_that_are_no_class_ids_are_refused(labels: NDArray[Any], refused: Any) -> None:
    with refused("label"):
        check_labels(labels)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), max_size=5))
def test_ids_come_back(names: list[str]) -> None:
    encoded = encode_ids(names)
    assert [name.decode() for name in encoded.tolist()] == names
    assert encoded.dtype.itemsize == max([1, *(len(name.encode()) for name in names)])


def test_a_file_name_that_is_not_unicode_keeps_its_bytes() -> None:
    assert encode_ids(["a\udcff.jpg"]).tolist() == [b"a\xff.jpg"]


@pytest.mark.parametrize("name", ["a\0", "a\0b", "x" * 4097, "é" * 2049, "\ud800"])
def test_ids_that_cannot_be_stored_are_refused(name: str, refused: Any) -> None:
    assert len(encode_ids(["x" * 4096])) == 1
    with refused("sample id"):
        encode_ids(["fine", name])


def test_digests_tell_heads_apart() -> None:
    weight, bias = torch.arange(6.0).reshape(2, 3), torch.zeros(2)
    digest = head_digest(weight, bias)
    assert digest == head_digest(weight.double().t().contiguous().t(), bias.half())
    assert digest != head_digest(weight.reshape(3, 2), bias)
    assert digest != head_digest(weight, bias + 1)
    assert digest != head_digest(weight + 1, bias)


def test_digests_tell_data_apart() -> None:
    labels = np.array([0, 1])
    digest = data_digest([np.array([b"a", b"b"])], labels)
    assert digest == data_digest([np.array([b"a", b"b"])], labels.astype(">i8").astype(np.int64))
    assert digest != data_digest([np.array([b"b", b"a"])], labels)
    assert digest != data_digest([np.array([b"a", b"b"])], labels[::-1])
    assert digest != data_digest([np.array([b"ab", b""])], labels)
    assert digest != data_digest([np.array([b"a", b"b", b"c"])], labels)


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@given(st.lists(NAMES, min_size=1, max_size=9), st.data())
def test_a_digest_does_not_depend_on_the_parts_or_the_width_of_ids(names: list[str], data: st.DataObject) -> None:
    ids, labels = encode_ids(names), np.arange(len(names))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(names)), max_size=3)))
    assert data_digest(np.split(ids.astype("S99"), cuts), labels) == data_digest([ids], labels)


@given(st.integers(1, 300), st.integers(1, 4), st.data())
def test_numbers_as_ids_are_those_of_the_images(images: int, views: int, data: st.DataObject) -> None:
    ids = NumberedIds(images * views, views)
    whole = encode_ids([str(row % images) for row in range(images * views)])
    rows = slice(*sorted(data.draw(st.tuples(st.integers(0, images * views), st.integers(0, images * views)))))
    assert len(ids) == images * views
    assert ids.dtype == whole.dtype
    assert ids[rows].tolist() == whole[rows].tolist()
    assert ids[rows].dtype == ids.dtype


def test_tensors_become_arrays() -> None:
    half = torch.tensor([[1.0, -2.5]], dtype=torch.bfloat16, requires_grad=True)
    assert as_array(half).dtype == np.float32  # NumPy has no bfloat16
    assert as_array(half).tolist() == [[1.0, -2.5]]
    assert as_array(torch.arange(3)).dtype == np.int64
    values = np.arange(3)
    assert as_array(values) is values
    assert as_array([1, 2]).tolist() == [1, 2]


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<i8", "|S3", "|u1"])
def test_the_bytes_of_an_array_are_not_copied(dtype: str) -> None:
    values = np.zeros((2, 3), dtype)
    view = as_bytes(values)
    assert (view.nbytes, view.itemsize) == (values.nbytes, 1)
    assert np.shares_memory(np.frombuffer(view, np.uint8), values)


def test_digests_tell_features_apart() -> None:
    ids, labels = [np.array([b"a", b"b"])], np.array([0, 1])
    values = np.arange(6.0).reshape(2, 3)
    digest = data_digest(ids, labels, [values])
    assert digest == data_digest(ids, labels, [np.asfortranarray(values)])
    assert digest not in {data_digest(ids, labels, other) for other in ([], [values + 1], [values, values])}
