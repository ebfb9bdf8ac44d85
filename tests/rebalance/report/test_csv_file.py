"""A table's file says what the table says, and is no program."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rebalance.report.csv_file import cell, neutral, write_csv

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\n=1", "＝1", "=cmd|' /C calc'!A0"]


def read(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", ["name", "value"], iter([('a "b", c', 0.1), ("ü", None), ("猫", 3)]))
    assert read(tmp_path / "a.csv") == [["name", "value"], ['a "b", c', "0.1"], ["ü", ""], ["猫", "3"]]
    assert b"\r" not in (tmp_path / "a.csv").read_bytes()


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_becomes_a_text(text: str, tmp_path: Path) -> None:
    assert neutral(text).startswith("'")
    write_csv(tmp_path / "a.csv", [text], [[text]])
    assert all(row[0].startswith("'") for row in read(tmp_path / "a.csv"))


@given(st.text())
def test_texts_begin_no_formula_and_hold_no_control_character(text: str) -> None:
    out = neutral(text)
    out.encode("utf-8")
    assert not out.lstrip().startswith(("=", "+", "-", "@"))
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in out)
    if text.isprintable() and ";" not in text and not text.lstrip().startswith(tuple("=+-@＝＋－＠")):
        assert out == text


@pytest.mark.parametrize("text", ["x;=1+1", "x; @SUM(A1)", 'x;"=1"', ";-1", "=1;+1", "a;b;＝1"])
def test_no_formula_begins_behind_a_semicolon(text: str, tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", ["id", text], [["k", text], [text, "k"]])
    assert ";'" in neutral(text)
    begins_none(tmp_path / "a.csv", ";")


@given(st.lists(st.lists(st.text("ab=+-@;, \"'\t"), min_size=3, max_size=3), max_size=3))
def test_no_cell_is_a_formula_whatever_parts_them(tmp_path_factory: pytest.TempPathFactory, rows: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    write_csv(path, ["a", "b", "c"], rows)
    begins_none(path, ",")
    begins_none(path, ";")


def begins_none(path: Path, delimiter: str) -> None:
    """No cell begins a formula for a program that parts cells there."""
    with path.open(encoding="utf-8", newline="") as file:
        cells = [cell for row in csv.reader(file, delimiter=delimiter) for cell in row]
    assert not [cell for cell in cells if cell.lstrip().startswith(tuple("=+-@＝＋－＠"))]


@given(st.floats(allow_nan=False))
def test_numbers_are_exact_and_stay_numbers(value: float) -> None:
    assert float(cell(value)) == value
    assert float(cell(np.float64(value))) == value


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_single_precision_is_written_short(value: float) -> None:
    assert np.float32(cell(np.float32(value))) == np.float32(value)
    assert len(cell(np.float32(value))) <= 15


def test_other_values() -> None:
    assert [cell(value) for value in (None, math.nan, np.float32("nan"))] == ["", "", ""]
    assert [cell(value) for value in (-3, np.int64(-3), True, np.False_)] == ["-3", "-3", "true", "false"]
    assert cell(np.float32(0.1)) == "0.1"


def test_a_row_of_another_length_leaves_no_file(tmp_path: Path, refuses: Any) -> None:
    with refuses("2 cells", "1 columns"):
        write_csv(tmp_path / "a.csv", ["a"], [[1], [1, 2]])
    assert list(tmp_path.iterdir()) == []


def test_a_failure_keeps_the_old_file(tmp_path: Path) -> None:
    def rows() -> Any:
        yield [1]
        raise KeyError("broken")

    (tmp_path / "a.csv").write_text("old")
    with pytest.raises(KeyError, match="broken"):
        write_csv(tmp_path / "a.csv", ["a"], rows())
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    assert (tmp_path / "a.csv").read_text() == "old"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a file's name in a folder"):
        write_csv(tmp_path / "none" / "a.csv", ["a"], [])
