"""Which rows are trained on and which are kept aside to choose by."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def holdout(
    labels: npt.NDArray[np.int64], fraction: float, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Sorted rows to train on and rows to validate on, divided class by class.

    A class of n rows gives round(fraction * n) of them, but at least one, so that it can be judged, and never its last.
    A class of one row gives none. Unlabelled rows are in neither part.

    labels: (N,), -1 where unlabelled.
    fraction: part to hold out, between 0 and 1.
    seed: of the choice.
    Raises ValueError when the fraction is out of range.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"holdout: fraction is {fraction!r}, expected a number between 0 and 1")
    random = np.random.default_rng(seed)
    kept, held = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for label in np.unique(labels[labels >= 0]):
        rows = random.permutation(np.flatnonzero(labels == label))
        count = min(max(1, round(fraction * len(rows))), len(rows) - 1)
        held.append(rows[:count])
        kept.append(rows[count:])
    return np.sort(np.concatenate(kept)), np.sort(np.concatenate(held))
