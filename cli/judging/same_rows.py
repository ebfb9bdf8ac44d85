"""Whether two splits hold the same rows under other names: a head tuned on the one is then judged on what it knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from featurecache import Split

MOST = 2_000_000  # rows of both splits up to which it is looked for: a sort of their ids must stay a matter of seconds
LOOKED_AT = 1000  # rows of a common id whose features are compared


def share_rows(one: Split, other: Split) -> bool:
    """Whether a row of the same id and the same features is in both; False for splits too large to look.

    An id alone tells little, for it is a path below each split's own folder or just the row's number. Features of the
    same image differ by rounding, where it was computed in another batch.
    """
    import numpy as np

    if len(one) + len(other) > MOST:
        return False
    _, here, there = np.intersect1d(one.sample_id, other.sample_id, return_indices=True)
    some = np.linspace(0, max(len(here) - 1, 0), min(len(here), LOOKED_AT)).astype(np.int64)
    if not len(some):
        return False
    ours, theirs = (np.asarray(split.features[rows[some]], np.float32) for split, rows in ((one, here), (other, there)))
    close = np.abs(ours - theirs) <= 1e-2 * np.abs(ours).max(axis=1, keepdims=True)
    return bool(close.all(axis=1).any())
