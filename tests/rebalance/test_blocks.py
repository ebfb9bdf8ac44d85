"""Rows come out in order, once, in float32, whatever they were stored as."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rebalance.blocks import as_labels, blocks, first_bad_row, product_type, refuse_nonfinite, take, width, window


@given(st.integers(0, 40), st.integers(1, 5), st.integers(1, 50))
def test_blocks_together_are_the_rows(rows: int, columns: int, step: int) -> None:
    features = torch.arange(rows * columns, dtype=torch.float32).view(rows, columns)
    parts = list(blocks(features, rows=step))
    assert [part.start for part, _ in parts] == list(range(0, rows, step))
    assert all(len(block) == part.stop - part.start for part, block in parts)
    joined = torch.cat([block for _, block in parts]) if parts else features
    assert torch.equal(joined, features)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_arrays_of_any_float_type_become_float32(dtype: type[np.floating[Any]]) -> None:
    array = np.arange(12, dtype=dtype).reshape(4, 3) / 4
    ((_, block),) = blocks(array)
    assert block.dtype == torch.float32
    np.testing.assert_array_equal(block.numpy(), array)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_tensors_of_any_float_type_become_float32(dtype: torch.dtype) -> None:
    tensor = (torch.arange(12).view(4, 3) / 4).to(dtype)
    ((_, block),) = blocks(tensor)
    assert torch.equal(block, tensor.float())


def test_a_read_only_map_and_a_slice_only_array_will_do(float16_map: Any, problem: Any, slice_only: Any) -> None:
    for rows in (float16_map, slice_only(float16_map)):
        assert torch.equal(torch.cat([block for _, block in blocks(rows, rows=7)]), problem.features)


def test_a_block_is_8_mebibytes_by_default() -> None:
    wide = torch.zeros(1, 2**18).expand(20, -1)  # 1 MiB a row, no memory behind it
    assert [len(block) for _, block in blocks(wide)] == [8, 8, 4]
    wider = torch.zeros(1, 2**22).expand(2, -1)
    assert [len(block) for _, block in blocks(wider)] == [1, 1]


def test_changing_an_array_block_does_not_change_the_array() -> None:
    array = np.ones((2, 3), np.float32)
    ((_, block),) = blocks(array)
    block.zero_()
    assert (array == 1).all()


@pytest.mark.parametrize("labels", [[0, 2, -1], np.array([0, 2, -1], np.int8), torch.tensor([0, 2, -1])])
def test_integer_labels_become_int64(labels: Any) -> None:
    out = as_labels(labels)
    assert out.dtype == torch.int64
    assert out.tolist() == [0, 2, -1]


def test_unsigned_labels_become_int64() -> None:
    assert as_labels(np.array([0, 200], np.uint8)).tolist() == [0, 200]
    assert as_labels(np.array([0, 60000], np.uint16)).tolist() == [0, 60000]


def test_read_only_labels_are_read(tmp_path: Any) -> None:
    np.arange(5).tofile(tmp_path / "labels.bin")
    assert as_labels(np.memmap(tmp_path / "labels.bin", np.int64, "r")).tolist() == [0, 1, 2, 3, 4]


def test_labels_need_only_shape_len_and_slices(slice_only: Any) -> None:
    assert as_labels(slice_only(np.arange(5))).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("labels", "part"),
    [
        (torch.zeros(2, 2, dtype=torch.int64), r"\(2, 2\)"),
        (torch.tensor(1), r"\(\)"),
        (torch.tensor([0.0, 1.0]), "float32"),
        (np.array([0.0, np.nan]), "float64"),
        (torch.tensor([True, False]), "bool"),
        (np.array(["cat", "dog"]), "integers"),
    ],
)
def test_labels_that_are_no_class_ids(labels: Any, part: str, refuses: Any) -> None:
    with refuses("labels", part):
        as_labels(labels)


def test_width_is_of_two_dimensions(refuses: Any) -> None:
    assert width(torch.zeros(3, 4)) == 4
    for shape in ((3,), (3, 4, 5)):
        with refuses(r"\(N, D\)"):
            width(np.zeros(shape))


@given(st.integers(0, 29), st.integers(0, 3), st.sampled_from([np.nan, np.inf, -np.inf]), st.integers(0, 5))
def test_the_first_bad_row_is_found(row: int, column: int, value: float, more: int) -> None:
    features = np.zeros((30, 4), np.float16)
    features[row, column] = value
    features[min(row + more, 29), 0] = np.nan
    assert first_bad_row(features) == row
    assert first_bad_row(torch.from_numpy(features)) == row


def test_the_bad_row_is_counted_from_the_start_of_the_array(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rebalance.blocks.BLOCK_BYTES", 4 * 4 * 7)
    features = np.zeros((30, 4))
    features[23] = np.nan
    assert first_bad_row(features) == 23


def test_finite_rows_are_not_refused(problem: Any) -> None:
    assert first_bad_row(problem.features) is None
    refuse_nonfinite(problem.features)


def test_the_refusal_names_the_row(refuses: Any) -> None:
    with refuses("row 2 of 3", "NaN or infinity", "float32"):
        refuse_nonfinite(torch.tensor([[0.0], [1.0], [torch.nan]]))


def test_numbers_beyond_float32_are_refused_with_their_row(refuses: Any) -> None:
    with refuses("row 1 of 2", "infinity"):
        refuse_nonfinite(np.array([[1.0], [1e300]]))


KINDS = ["tensor", "float16 tensor", "ndarray", "float16 map", "slices", "window of a map", "window of slices"]


@pytest.fixture(params=KINDS)
def any_rows(request: Any, problem: Any, float16_map: Any, slice_only: Any) -> Any:
    """The rows of the problem from the third to the hundredth, in every form."""
    part = slice(2, 100)
    return {
        "tensor": problem.features[part],
        "float16 tensor": problem.features[part].half(),
        "ndarray": problem.features[part].numpy(),
        "float16 map": float16_map[part],
        "slices": slice_only(float16_map[part]),
        "window of a map": window(float16_map, part),
        "window of slices": window(slice_only(float16_map), part),
    }[request.param]


@pytest.mark.parametrize("rows", [[5], [3, 0, 97, 3], list(range(98))])
def test_rows_are_taken_in_the_order_asked_for(any_rows: Any, rows: list[int], problem: Any) -> None:
    out = take(any_rows, torch.tensor(rows))
    assert out.dtype == torch.float32
    assert torch.equal(out, problem.features[2:100][rows])


def test_no_rows_are_an_empty_block(any_rows: Any) -> None:
    out = take(any_rows, torch.zeros(0, dtype=torch.int64))
    assert (out.shape, out.dtype) == ((0, 8), torch.float32)


def test_what_is_taken_is_a_copy(problem: Any) -> None:
    features = problem.features.clone()
    for rows in (features, features.numpy()):
        take(rows, torch.arange(4)).zero_()
        assert torch.equal(features, problem.features)


def test_taken_rows_carry_no_gradient() -> None:
    assert not take(torch.ones(3, 2, requires_grad=True), torch.tensor([1])).requires_grad


def test_a_window_is_read_like_the_rows_it_shows(any_rows: Any, problem: Any) -> None:
    shown = window(any_rows, slice(10, 40))
    assert (len(shown), tuple(shown.shape)) == (30, (30, 8))
    assert torch.equal(torch.cat([block for _, block in blocks(shown, rows=7)]), problem.features[12:42])
    assert torch.equal(take(shown, torch.tensor([29, 0])), problem.features[[41, 12]])
    inner = window(shown, slice(5, 6))
    assert torch.equal(take(inner, torch.tensor([0])), problem.features[[17]])


def test_a_window_of_everything_is_the_thing_itself(any_rows: Any) -> None:
    assert window(any_rows, slice(0, 98)) is any_rows


def test_a_window_of_nothing_is_empty(any_rows: Any) -> None:
    shown = window(any_rows, slice(7, 7))
    assert (len(shown), tuple(shown.shape)) == (0, (0, 8))
    assert list(blocks(shown)) == []
    assert take(shown, torch.zeros(0, dtype=torch.int64)).shape == (0, 8)


def test_a_window_of_a_map_is_read_at_once(float16_map: Any) -> None:
    """Not row by row: a batch of scattered rows is one read, as it is without the window."""

    class Counting:
        shape = float16_map.shape
        reads = 0

        def __len__(self) -> int:
            return len(float16_map)

        def __getitem__(self, rows: Any) -> Any:
            self.reads += 1
            return float16_map[rows]

    rows = Counting()
    take(window(rows, slice(2, 100)), torch.arange(50))
    assert rows.reads == 1


def test_the_products_are_those_that_are_fast_here(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, kind in (
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True, "avx2": True}, torch.bfloat16),
        ({"avx512_bf16": False, "avx2": True}, torch.float32),
        ({}, torch.float32),
    ):
        monkeypatch.setattr("torch.cpu.get_capabilities", lambda there=there: there)
        assert product_type(torch.device("cpu")) == kind
