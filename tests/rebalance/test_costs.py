"""Costs are a square of finite numbers, by label and prediction; a file may name its rows and columns."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rebalance import evaluate
from rebalance.costs import check_costs, read_costs

SQUARES = st.integers(2, 5).flatmap(lambda size: arrays(np.float64, (size, size), elements=st.floats(-1e100, 1e100)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any) -> Path:
    made: Path = tmp_path_factory.mktemp("costs")
    return made


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "costs.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def names_of(kind: str, size: int) -> list[str]:
    return [f"class {k}, the {k}th" if kind == "name" else str(k) for k in range(size)]


def lines(costs: Any, rows: list[str] | None, columns: list[str] | None) -> str:
    """The costs as a file, with names of the rows and the columns where there are any."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    if columns:
        writer.writerow([*([""] if rows else []), *columns])
    for k, row in enumerate(costs):
        writer.writerow([*([rows[k]] if rows else []), *(repr(float(value)) for value in row)])
    return file.getvalue()


@given(SQUARES)
def test_what_was_written_is_read(folder: Path, costs: Any) -> None:
    found = read_costs(written(folder, lines(costs, None, None)), len(costs))
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, costs)


@given(SQUARES, st.sampled_from([None, "name", "id"]), st.sampled_from([None, "name", "id"]), st.integers(0, 99))
def test_named_rows_and_columns_stand_in_any_order(
    folder: Path, costs: Any, rows: str | None, columns: str | None, seed: int
) -> None:
    size = len(costs)
    rng = np.random.default_rng(seed)
    down = rng.permutation(size) if rows else np.arange(size)
    across = rng.permutation(size) if columns else np.arange(size)
    side = [names_of(rows, size)[k] for k in down] if rows else None
    top = [names_of(columns, size)[k] for k in across] if columns else None
    path = written(folder, lines(costs[np.ix_(down, across)], side, top))
    np.testing.assert_array_equal(read_costs(path, size, names_of("name", size)), costs)


@pytest.mark.parametrize(
    "text",
    [
        "0,1\n2,0",
        "0,1\r\n2,0\r\n",
        "\ufeff0,1\n2,0\n",
        "\n0,1\n\n2,0\n\n",
        ' 0 , 1\n"2",0\n',
        ",0,1\n0,0,1\n1,2,0\n",
        "label,1,0\n1,0,2\n0,1,0\n",
        '"a, b",c\n0,1\n2,0\n',
        'c,"a, b"\n1,0\n0,2\n',
    ],
)
def test_files_of_any_editor_are_read(folder: Path, text: str) -> None:
    assert read_costs(written(folder, text), 2, ["a, b", "c"]).tolist() == [[0, 1], [2, 0]]


def test_a_name_that_looks_like_an_id_is_a_name(folder: Path) -> None:
    path = written(folder, "1,0\n0,1\n2,0\n")
    assert read_costs(path, 2, ["1", "0"]).tolist() == [[0, 1], [2, 0]]
    assert read_costs(path, 2).tolist() == [[1, 0], [0, 2]]


def test_rows_are_labels_and_columns_predictions(folder: Path) -> None:
    """The second class is taken for the first, which costs 7; the other way round it would cost 3."""
    costs = read_costs(written(folder, "0,3\n7,0\n"), 2)
    assert evaluate(torch.tensor([[1.0, 0.0]]), [1], costs=costs).cost == 7


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["0 rows", "expected 2 rows of 2"]),
        ("0,1\n", ["1 rows? of 2", "expected 2 rows of 2"]),
        ("0,1,2\n1,0,1\n2,1,0\n", ["'2', which is no class"]),  # of three classes, and no names before it
        ("0,1,1\n1,0,1\n1,1,0\n", ["same class twice", "every class once"]),
        ("0,1,2,3\n1,0,2,3\n2,2,0,3\n3,3,3,0\n", ["4 rows of 4", "expected 2 rows of 2"]),
        ("0,1\n2\n", ["2 rows of 1, 2 numbers", "expected 2 rows of 2"]),
        ("dog,1\n0,1\n2,0\n", ["line 1 stands 'dog', which is no class"]),
        ("0,0,1\nemu,2,0\n", ["first column stands 'emu', which is no class", "0..1"]),
        ("0,0\n0,1\n2,0\n", ["line 1", "same class twice"]),
        ("0,1\n2,x\n", ["line 2", "'x' is no number"]),
        ("0,1\n0,1\n2,\n", ["line 3", "'' is no number"]),
        ("\n\n0,1\n2,=1+1\n", ["line 4", "'=1\\+1' is no number"]),
        ("0,nan\n1,0\n", ["class 0 for 1", "nan", "finite"]),
        ("0,1\n-inf,0\n", ["class 1 for 0", "-inf", "finite"]),
        ("0,1e999\n1,0\n", ["class 0 for 1", "inf", "finite"]),
        ("0;1\n2;0\n", ["expected 2 rows of 2"]),
        (b"\xff\xfe0\x00", ["no text"]),
        ("0,1\n2," + "9x" * 4000 + "\n", ["line 2", "is no number"]),
        ('0,1\n2,"a\nb"\n', ["is no number"]),
    ],
)
def test_a_file_that_is_no_square_of_numbers_is_refused(
    folder: Path, text: Any, parts: list[str], refuses: Any
) -> None:
    with refuses("costs.csv", *parts):
        read_costs(written(folder, text), 2)


@given(SQUARES)
def test_a_square_of_finite_numbers_is_taken_as_it_is(costs: Any) -> None:
    for given_ in (costs, costs.tolist(), torch.from_numpy(costs)):
        found = check_costs(given_, len(costs))
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, costs)


@pytest.mark.parametrize(
    ("costs", "parts"),
    [
        (np.ones((2, 3)), [r"\(2, 3\)", r"expected \(2, 2\)"]),
        (np.ones(4), [r"\(4,\)", r"\(2, 2\)"]),
        (3.0, [r"\(\)", r"\(2, 2\)"]),
        ([[0, 1], [1]], ["no matrix of numbers", r"\(2, 2\)"]),
        ([["a", "b"], ["c", "d"]], ["no matrix of numbers"]),
        ([[0, np.nan], [1, 0]], ["class 0 for 1", "nan", "finite"]),
        ([[0, 1], [np.inf, 0]], ["class 1 for 0", "inf", "finite"]),
    ],
)
def test_what_is_no_square_of_finite_numbers_is_refused(costs: Any, parts: list[str], refuses: Any) -> None:
    with refuses("costs", *parts):
        check_costs(costs, 2)
    with refuses("--costs", *parts):
        check_costs(costs, 2, name="--costs")


def test_costs_whose_sum_would_overflow_are_refused(refuses: Any) -> None:
    with refuses("costs", "1e\\+308", "up to 1e\\+100"):
        check_costs([[0, 1e308], [1, 0]], 2)
