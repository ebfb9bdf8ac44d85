"""The order of a classifier's rows: class ids are column indices, whatever labels a stranger gave."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from featurecache.convert.blocks import check_text
from featurecache.layers import LISTED
from featurecache.quoting import shown


def check_labels(shape: tuple[int, ...], classes: int) -> None:
    """ValueError unless labels of this shape are one a row. classes: K."""
    if shape != (classes,):
        raise ValueError(f"classes_ has shape {shape}; expected ({classes},), the label of every row")


def row_order(
    labels: NDArray[np.generic], class_names: Sequence[str] | None
) -> tuple[list[int], tuple[str, ...] | None]:
    """For every class the row that is its own, and the classes' names if the labels are or the user gave any.

    labels: (K,), of every row: the numbers 0 to K-1, or names.
    class_names: K names in the order of the class ids, as the user said; None: names in `labels` are in that order.
    ValueError when the labels are something else, or others than the names.
    """
    classes = len(labels)
    if labels.dtype.kind in "SU":
        return _named(labels, class_names)
    if labels.dtype.kind not in "fiub":
        raise ValueError(f"classes_ holds {labels.dtype}; expected the numbers 0 to {classes - 1}, or names")
    numbers = labels.astype(np.float64)
    if not np.array_equal(np.sort(numbers), np.arange(classes)):
        listed = ", ".join(f"{number:g}" for number in numbers[:LISTED]) + ", …" * (classes > LISTED)
        raise ValueError(
            f"classes_ is {listed}; expected the numbers 0 to {classes - 1}, for a class id is a row of the head: "
            "fit it on such labels, or save it without classes_ if its rows are in the order of the class ids"
        )
    return np.argsort(numbers).tolist(), None if class_names is None else tuple(class_names)


def _named(labels: NDArray[np.generic], class_names: Sequence[str] | None) -> tuple[list[int], tuple[str, ...]]:
    check_text(labels)
    try:
        own = [each.decode() if isinstance(each, bytes) else str(each) for each in labels.tolist()]
    except UnicodeDecodeError:
        raise ValueError("classes_ holds bytes that are no UTF-8; expected text") from None
    row = {name: i for i, name in enumerate(own)}
    if len(row) != len(own):
        raise ValueError("classes_ has a name twice; expected a name a class")
    wanted = tuple(own if class_names is None else class_names)
    if row.keys() != set(wanted):
        strange = sorted(row.keys() ^ set(wanted))[0]
        raise ValueError(f"classes_ and the class names differ in {shown(strange)}; expected the same names")
    return [row[name] for name in wanted], wanted
