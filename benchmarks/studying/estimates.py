"""How sure a mean of recalls is, over test rows and over repetitions of the training.

A figure is sum_k w_k r_k, where r_k is the recall of class k and the weights w_k are known: 1 / K for the mean over K
classes. With S repetitions (seeds) on the same test rows its variance has two parts:

- rows: sum_k w_k^2 s_k^2 / n_k, where s_k^2 is the variance within class k, over its n_k rows, of what a row has on
  average over the repetitions: the rows are a stratified sample;
- repetitions: the variance of the figure over the S repetitions, over S.

The part of the spread that belongs to row and repetition together is in both, so with several repetitions the sum is on
average a little too large. One repetition says nothing of the second part: it is left out, and the interval, which is
then too narrow, covers new test rows only. The interval is Student's, with the degrees of freedom of Welch and
Satterthwaite (Satterthwaite, Biometrics Bulletin 1946). Outcomes may also be differences of two heads on the same rows
in the same repetitions: then all is paired.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A figure. rows, repetitions: its variance from each. freedom: degrees of freedom of their sum. times: how many
    repetitions it is of; of one, nothing is known of the variance between them."""

    value: float
    rows: float
    repetitions: float
    freedom: float
    times: int

    def half(self, level: float = 0.95) -> float:
        """Half the width of the interval of this level."""
        from scipy.stats import t

        variance = self.rows + self.repetitions
        return float(t.ppf(0.5 + level / 2, self.freedom) * math.sqrt(variance)) if variance else 0.0

    def low(self, level: float = 0.95) -> float:
        return self.value - self.half(level)

    def high(self, level: float = 0.95) -> float:
        return self.value + self.half(level)

    def to_dict(self) -> dict[str, float]:
        """As plain JSON values."""
        return {"value": self.value, "half": self.half(), "rows": self.rows, "repetitions": self.repetitions}


def mean_over(classes: ArrayLike, labels: ArrayLike) -> Floats:
    """Weights (K,) of the mean recall over some classes: those of them that have a row.

    classes: (K,) bool. labels: (N,). ValueError where none of them has a row.
    """
    chosen = np.asarray(classes, dtype=bool)
    there = chosen & (np.bincount(np.asarray(labels), minlength=len(chosen)) > 0)
    if not there.any():
        raise ValueError("no class of the group has a test row; expected one at least")
    return np.asarray(there / there.sum())


def estimate(outcomes: ArrayLike, labels: ArrayLike, weights: ArrayLike) -> Estimate:
    """The weighted sum of the recalls, with its variance.

    outcomes: (S, N), what every repetition has of every row: right or not, or a difference of two such. labels: (N,).
    weights: (K,). ValueError where every class that counts has a single row: nothing is known of the spread.
    """
    values, of, w = np.asarray(outcomes, dtype=np.float64), np.asarray(labels), np.asarray(weights, dtype=np.float64)
    counts = np.bincount(of, minlength=len(w)).astype(np.float64)
    used = (w != 0) & (counts > 0)
    recalls = np.stack([np.bincount(of, row, minlength=len(w)) for row in values])[:, used] / counts[used]
    figures = recalls @ w[used]
    spread = _within(values.mean(axis=0), of, counts)
    several, single = used & (counts > 1), used & (counts == 1)
    if not several.any():
        raise ValueError("every class has a single test row; expected two of one class at least")
    parts = w[several] ** 2 * spread[several] / counts[several]
    freedoms = counts[several] - 1
    if single.any():
        # What a single row cannot tell is taken from the other classes.
        pooled = float((freedoms * spread[several]).sum() / freedoms.sum())
        parts, freedoms = np.append(parts, (w[single] ** 2).sum() * pooled), np.append(freedoms, freedoms.sum())
    rows, repetitions = float(parts.sum()), 0.0
    if len(figures) > 1:
        repetitions = float(figures.var(ddof=1) / len(figures))
        parts, freedoms = np.append(parts, repetitions), np.append(freedoms, len(figures) - 1)
    squares = float((parts**2 / freedoms).sum())
    freedom = float(parts.sum()) ** 2 / squares if squares else math.inf
    return Estimate(float(figures.mean()), rows, repetitions, freedom, len(figures))


def _within(values: Floats, labels: NDArray[np.int64], counts: Floats) -> Floats:
    """The variance (K,) of the values (N,) within each class, 0 for a class of fewer than two rows."""
    means = np.bincount(labels, values, minlength=len(counts)) / np.maximum(counts, 1)
    squares = np.bincount(labels, (values - means[labels]) ** 2, minlength=len(counts))
    return np.asarray(squares / np.maximum(counts - 1, 1))
