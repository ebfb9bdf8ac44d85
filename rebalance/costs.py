"""What a wrong decision costs: a matrix by label and prediction."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
LARGEST = 1e100  # the sum of such costs over any number of rows is still finite


def check_costs(costs: ArrayLike, num_classes: int, *, name: str = "costs") -> Floats:
    """The costs (K, K) by label (row) and prediction (column), float64.

    num_classes: K. name: what a refusal calls them. ValueError for another shape or a number that is not finite.
    """
    try:
        array = np.asarray(costs, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} are no matrix of numbers; expected ({num_classes}, {num_classes})") from None
    if array.shape != (num_classes, num_classes):
        raise ValueError(
            f"{name} have shape {array.shape}; expected ({num_classes}, {num_classes}), one row a label, one column a "
            "prediction"
        )
    wrong = np.argwhere(~np.isfinite(array))
    if len(wrong):
        label, prediction = wrong[0]
        raise ValueError(
            f"{name}: taking class {label} for {prediction} costs {array[label, prediction]}; expected finite numbers"
        )
    if np.abs(array).max() > LARGEST:
        raise ValueError(f"{name} hold {array.flat[np.abs(array).argmax()]:.3g}; expected costs up to {LARGEST:g}")
    return array


def read_costs(path: str | os.PathLike[str], num_classes: int, class_names: Sequence[str] | None = None) -> Floats:
    """The costs (K, K) of a CSV file of K rows of K numbers.

    A first row of names, and a first column, may stand before the numbers: class names or ids in any order, by which
    rows and columns are put in theirs. num_classes: K. class_names: K names, where there are any.
    ValueError naming the file, and the line and cell that is no number or the name that is no class.
    """
    name = os.fspath(path)
    shown = name if name.isprintable() else repr(name)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = [(number, row) for number, row in enumerate(csv.reader(file), start=1) if any(map(str.strip, row))]
    except (UnicodeDecodeError, csv.Error):
        raise ValueError(
            f"{shown}: no text of comma-separated numbers; expected {num_classes} rows of {num_classes}"
        ) from None
    head = lines.pop(0)[1] if len(lines) == num_classes + 1 else None
    named = bool(lines) and all(len(row) == num_classes + 1 for _, row in lines)
    side = [row[0] for _, row in lines] if named else None
    if named:
        lines = [(number, row[1:]) for number, row in lines]
    widths = {len(row) for _, row in lines}
    if len(lines) != num_classes or widths != {num_classes}:
        lengths = ", ".join(str(each) for each in sorted(widths)[:3]) or "no"
        raise ValueError(
            f"{shown}: {len(lines)} rows of {lengths} numbers; expected {num_classes} rows of {num_classes}, one row a "
            "label, one column a prediction (a first row and a first column of class names may stand before)"
        )
    numbers = [[_number(cell, shown, number) for cell in row] for number, row in lines]
    rows = _order(side, num_classes, class_names, f"{shown}: in the first column")
    columns = _order(None if head is None else head[-num_classes:], num_classes, class_names, f"{shown}: in line 1")
    return check_costs(np.array(numbers)[np.ix_(rows, columns)], num_classes, name=shown)


def _order(given: list[str] | None, num_classes: int, names: Sequence[str] | None, where: str) -> list[int]:
    """Which of the given names (K) stands for each class; without any they come in order."""
    if given is None:
        return list(range(num_classes))
    found = {name.strip(): place for place, name in enumerate(given)}
    for classes in ([] if names is None else [list(names)]) + [[str(k) for k in range(num_classes)]]:
        if found.keys() == {name.strip() for name in classes}:
            return [found[name.strip()] for name in classes]
    known = {name.strip() for name in names or ()} | {str(k) for k in range(num_classes)}
    strange = next((name for name in found if name not in known), None)
    which = "the same class twice" if strange is None else f"{strange[:40]!r}, which is no class"
    raise ValueError(f"{where} stands {which}; expected every class once, by name or by id 0..{num_classes - 1}")


def _number(cell: str, path: str, line: int) -> float:
    try:
        return float(cell)
    except ValueError:
        raise ValueError(f"{path}, line {line}: {cell[:40]!r} is no number; expected the cost of a decision") from None
