"""imbalanced-learn: the training rows drawn anew so that all classes have as many, then a logistic regression."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from imblearn.over_sampling import SMOTE, RandomOverSampler
from imblearn.under_sampling import RandomUnderSampler
from numpy.typing import NDArray

from comparing.questions import SEED
from comparing.sides.arrays import Arrays
from comparing.sides.fitted import Fit, Fitted
from comparing.sides.logistic import regression

NEIGHBOURS = 5  # of SMOTE, by default

open_data = Arrays


def _resampled(make: Callable[[NDArray[np.int64]], Any]) -> Callable[[Arrays], Fit]:
    """make: class counts -> the sampler."""

    def ready(data: Arrays) -> Fit:
        features, labels = data.train

        def fit() -> Fitted:
            deadline = data.deadline()
            data.report("drawing the rows anew")
            rows = make(np.bincount(labels)).fit_resample(features, labels)
            data.report(f"{len(rows[1]):,} rows drawn")
            fitted = regression(data, rows, deadline)
            return Fitted(fitted.predict, f"{len(rows[1]):,} rows, {fitted.note}")

        return fit

    return ready


def _smote(counts: NDArray[np.int64]) -> SMOTE:
    smallest = int(counts[counts > 0].min())
    if smallest < 2:
        raise ValueError("a class has a single training row; SMOTE needs a neighbour of the same class for every row")
    return SMOTE(k_neighbors=min(NEIGHBOURS, smallest - 1), random_state=SEED)


FITS: dict[str, Callable[[Arrays], Fit]] = {
    "RandomOverSampler + LogisticRegression": _resampled(lambda _: RandomOverSampler(random_state=SEED)),
    "RandomUnderSampler + LogisticRegression": _resampled(lambda _: RandomUnderSampler(random_state=SEED)),
    "SMOTE + LogisticRegression": _resampled(_smote),
}
