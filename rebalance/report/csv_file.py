"""Tables as CSV files that a spreadsheet can open without running what a stranger wrote into them."""

from __future__ import annotations

import csv
import io
import math
import os
import re
from collections.abc import Iterable, Sequence
from numbers import Real
from pathlib import Path

import numpy as np

from rebalance.whole_file import whole_file

# The signs that begin a formula, their full-width forms too, wherever a spreadsheet would find them after spaces.
_FORMULA = re.compile(r"\s*[=+\-@\t\r＝＋－＠]")
# The same behind a semicolon: spreadsheets that part cells there part ours too, be they quoted or not.
_FORMULA_AFTER = re.compile(r";(?=[\s\"]*[=+\-@\t\r＝＋－＠])")
# Control characters, the marks that turn the reading direction, line separators, and halves of surrogate pairs.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def write_csv(path: str | os.PathLike[str], columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table, under a temporary name that is renamed when the file is whole.

    path: the file; FileNotFoundError when it is a folder or lies in none. columns: their names. rows: one cell a
    column; text, whole numbers, floats (None and NaN are an empty cell) or truth values. They are read one by one.
    ValueError when a row has more or fewer cells than there are columns.
    """
    with whole_file(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([neutral(name) for name in columns])
        for row in rows:
            if len(row) != len(columns):
                raise ValueError(f"a row of {len(row)} cells for {len(columns)} columns of {Path(path).name}")
            writer.writerow([cell(value) for value in row])
        text.detach()  # flushes, and leaves the file to whom it belongs


def cell(value: object) -> str:
    """A value as the text of its cell: a number in its shortest exact form, a text that is no formula."""
    if value is None:
        return ""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, Real | np.number):
        return "" if math.isnan(value) else str(value)
    return neutral(str(value))


def neutral(text: str) -> str:
    """The text such that no spreadsheet takes it for a formula; control characters become what Python writes for them.

    One that begins like a formula gets an apostrophe in front, by which spreadsheets know a text; so does what stands
    behind a semicolon, where a cell begins for spreadsheets of many countries.
    """
    led = _FORMULA_AFTER.sub(";'", f"'{text}" if _FORMULA.match(text) else text)
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode("ascii"), led)
