"""scikit-learn's handwritten digits: 1,797 real grey images of 8 x 8 pixels, and a fixed long-tailed split.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI repository (1998), the copy that
scikit-learn ships.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from featurecache.datasets.classes import columns
from featurecache.datasets.images import ImageFiles, Transform
from featurecache.datasets.long_tail import falling
from featurecache.datasets.tables import TableRows
from featurecache.quoting import shown

SEED = 0
VAL_ROWS = 20
TEST_ROWS = 60
TRAIN_MAX = 90
TRAIN_IMBALANCE = 45.0

SPLITS = ("train", "val", "test")
CLASS_NAMES = tuple(str(digit) for digit in range(10))


def is_digits(source: str) -> bool:
    """Whether the source is `digits` or one of its parts."""
    return source.partition(":")[0] == "digits"


def open_digits(
    source: str,
    *,
    transform: Transform | None,
    root: Path | None = None,
    class_names: Sequence[str] | None = None,
) -> ImageFiles:
    """All digits, or one part of the fixed split; sample ids are rows of scikit-learn's table.

    Validation and test hold equally many rows a class; train is long-tailed, digit 0 the most frequent.

    source: digits, digits:train, digits:val or digits:test.
    transform: PIL image -> float32 (C, H, W).
    root: not used; the digits are part of scikit-learn.
    class_names: the K names to map "0" to "9" onto; None: those ten.
    Raises ValueError when there is no such part, or class_names lack a digit.
    """
    from sklearn.datasets import load_digits

    table = load_digits()
    labels = np.asarray(table.target, dtype=np.int64)
    _, colon, part = source.partition(":")
    if colon and part not in SPLITS:
        raise ValueError(f"{shown(source)}: no such part of the digits; expected digits:{', digits:'.join(SPLITS)}")
    rows = split_rows(labels)[part] if colon else np.arange(len(labels))
    onto = np.asarray(columns(CLASS_NAMES, class_names, source=source), dtype=np.int64)
    return ImageFiles(
        source,
        [f"{row:04d}" for row in rows],
        onto[labels[rows]],
        CLASS_NAMES if class_names is None else class_names,
        transform=transform,
        # 16 levels of ink on an empty ground become 0 to 255.
        read=TableRows(np.rint(table.images * (255 / 16)).astype(np.uint8)),
    )


def split_rows(labels: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.int64]]:
    """Disjoint, sorted rows of train, val and test.

    labels: (N,) digits, each with more rows than val, test and its share of train need.
    """
    random = np.random.default_rng(SEED)
    train_counts = [round(size) for size in falling(TRAIN_MAX, TRAIN_IMBALANCE, len(CLASS_NAMES))]
    parts: dict[str, list[npt.NDArray[np.int64]]] = {name: [] for name in SPLITS}
    for digit, count in enumerate(train_counts):
        rows = random.permutation(np.flatnonzero(labels == digit))
        ends = np.cumsum([VAL_ROWS, TEST_ROWS, count])
        val, test, train, _ = np.split(rows, ends)
        for name, chosen in zip(SPLITS, (train, val, test), strict=True):
            parts[name].append(chosen)
    return {name: np.sort(np.concatenate(chosen)) for name, chosen in parts.items()}
