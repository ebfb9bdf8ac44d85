"""Every peer beside the row of ours that answers the same question: who is faster, smaller, more often right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comparing.questions import CANDIDATES, Candidate

SURE = 2.0  # standard errors beyond which a difference of accuracies is told apart from none


@dataclass(frozen=True)
class Pair:
    """A peer and ours on one data set, both with results.

    data: the set's name. candidate: the peer. ours, theirs: their rows, as `race` gives them.
    """

    data: str
    candidate: Candidate
    ours: Mapping[str, Any]
    theirs: Mapping[str, Any]

    @property
    def speed(self) -> float:
        """How many times as long the peer's fit takes."""
        return median(self.theirs) / median(self.ours)

    @property
    def memory(self) -> float:
        """How many times as much the peer's process takes at the most."""
        return float(self.theirs["peak"] / self.ours["peak"])

    @property
    def sign(self) -> int:
        """1 where ours has the higher balanced accuracy, -1 where the peer has, 0 where two standard errors hide it."""
        difference, error = self.theirs["behind"]
        return int(np.sign(difference)) if abs(difference) > SURE * error else 0


def median(row: Mapping[str, Any]) -> float:
    """Seconds of a row's fit."""
    return float(np.median(row["seconds"]))


def is_unfinished(row: Mapping[str, Any]) -> bool:
    """Whether a fit was ended before it had converged, so that its time is a lower bound."""
    return "not converged" in row["note"]


def pairs(sets: Mapping[str, Mapping[str, Any]]) -> Iterator[Pair]:
    """All pairs with results. sets: name -> what `race` came to, its rows under "rows"."""
    for name, made in sets.items():
        rows = {row["name"]: row for row in made["rows"] if not row["stopped"]}
        for candidate in CANDIDATES:
            if candidate.against in rows and candidate.name in rows:
                yield Pair(name, candidate, rows[candidate.against], rows[candidate.name])


def behind(ours: NDArray[np.bool_], theirs: NDArray[np.bool_], labels: NDArray[np.int64]) -> tuple[float, float]:
    """By how much the balanced accuracy of theirs is below ours, and its standard error, on the same rows.

    ours, theirs: (N,) which rows each decides rightly. labels: (N,), none negative.
    The mean over K classes of mean differences of rows d: its variance is 1/K^2 sum_k s_k^2 / n_k, s_k^2 that of d in
    class k. A class with a single row has none of its own and takes that of all rows about their class means.
    """
    classes, own = np.unique(labels, return_inverse=True)
    rows = np.bincount(own)
    each = ours.astype(np.float64) - theirs.astype(np.float64)
    means = np.bincount(own, each) / rows
    squares = np.bincount(own, (each - means[own]) ** 2)
    pooled = squares.sum() / max(1, len(each) - len(classes))
    variances = np.where(rows > 1, squares / np.maximum(rows - 1, 1), pooled)
    return float(means.mean()), float(np.sqrt((variances / rows).sum()) / len(classes))
