"""Rows of one source divided into train, validation and test."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]

TRAIN, VAL, TEST = 0, 1, 2
NAMES = ("train", "val", "test")
DRAWS = 400


def by_class(labels: Integers, *, test: int, val: int, seed: int = 0) -> Integers:
    """TRAIN, VAL or TEST for every row (N,), drawn so that train keeps at least half of every class.

    labels: (N,), 0 or more.
    test: at most so many rows of a class, and a quarter of them. val: likewise of what is left.
    seed: of what is drawn.
    """
    random = np.random.default_rng(seed)
    part = np.full(len(labels), TRAIN)
    for label in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == label))
        tested = min(test, len(rows) // 4)
        part[rows[:tested]] = TEST
        part[rows[tested : tested + min(val, len(rows) // 4)]] = VAL
    return part


def by_group(labels: Integers, groups: Integers, *, test: float, val: float, seed: int = 0) -> Integers:
    """TRAIN, VAL or TEST for every row (N,); the rows of a group stay together.

    Of DRAWS random orders of the groups, filled into test, then val, then train, that one is taken which leaves the
    fewest classes without training, then without test, then without validation rows.

    labels: (N,) classes, 0 or more. groups: (N,), 0 or more. test, val: their shares of the rows.
    seed: of what is drawn.
    Raises ValueError where every order leaves a class without training rows.
    """
    random = np.random.default_rng(seed)
    counts = np.zeros((groups.max() + 1, labels.max() + 1), np.int64)
    np.add.at(counts, (groups, labels), 1)
    best, lacking = None, None
    for _ in range(DRAWS):
        parts = _filled(random.permutation(len(counts)), counts.sum(1), test * len(labels), val * len(labels))
        empty = [int((counts[parts == part].sum(0) == 0).sum()) for part in (TRAIN, TEST, VAL)]
        if lacking is None or empty < lacking:
            best, lacking = parts, empty
    if best is None or lacking is None or lacking[0]:
        raise ValueError("the groups cannot be divided so that every class has training rows; take smaller shares")
    return best[groups]


def _filled(order: Integers, sizes: Integers, test: float, val: float) -> Integers:
    """The part of every group (G,): each goes where it still fits, and to train where it does not."""
    parts = np.full(len(order), TRAIN)
    room = {TEST: test, VAL: val}
    for group in order:
        for part in room:
            if sizes[group] <= room[part]:
                parts[group] = part
                room[part] -= sizes[group]
                break
    return parts
