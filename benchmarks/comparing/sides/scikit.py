"""scikit-learn's classifiers, on float32 arrays (which all of these compute with, and fastest)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid

from comparing.questions import SHRINKAGE
from comparing.sides.arrays import Arrays
from comparing.sides.fitted import Fit, Fitted
from comparing.sides.logistic import Weights, predicting, regression, tuned_regression

open_data = Arrays


def _regression(weights: Weights) -> Callable[[Arrays], Fit]:
    def ready(data: Arrays) -> Fit:
        rows = data.train
        return lambda: regression(data, rows, data.deadline(), weights)

    return ready


def _tuned(weights: Weights) -> Callable[[Arrays], Fit]:
    def ready(data: Arrays) -> Fit:
        _ = data.train, data.val  # loaded before the clock starts
        return lambda: tuned_regression(data, weights)

    return ready


def centroids(data: Arrays) -> Fit:
    """Its decisions are by plain distance; its probabilities scale the columns first, so the two may differ."""
    rows = data.train

    def fit() -> Fitted:
        model = NearestCentroid().fit(*rows)
        return replace(predicting(model, data.classes), decide=model.predict)

    return fit


def gaussians(data: Arrays) -> Fit:
    """Classes that are all as likely."""
    rows = data.train

    def fit() -> Fitted:
        present = len(np.unique(rows[1]))
        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE, priors=np.full(present, 1 / present))
        return predicting(model.fit(*rows), data.classes)

    return fit


def calibrated(data: Arrays) -> Fit:
    """The classifier the features belong to, as a fitted LogisticRegression, and a temperature from val."""
    features, labels = data.val
    if (there := len(np.unique(labels))) < data.classes:
        raise ValueError(f"val has rows of {there} of {data.classes} classes; its temperature needs rows of all")
    frozen = LogisticRegression()
    frozen.coef_, frozen.intercept_ = data.head
    frozen.classes_, frozen.n_features_in_ = np.arange(data.classes), features.shape[1]

    def fit() -> Fitted:
        every = np.arange(len(labels))
        # One fold of all rows: nothing is fitted in the folds, and the default of 5 needs 5 rows of every class.
        model = CalibratedClassifierCV(FrozenEstimator(frozen), method="temperature", cv=[(every, every)])
        model.fit(features, labels)
        return predicting(model, data.classes)

    return fit


FITS: dict[str, Callable[[Arrays], Fit]] = {
    "LogisticRegression": _regression(None),
    "LogisticRegression, C tuned": _tuned(None),
    "LogisticRegression, balanced": _regression("balanced"),
    "LogisticRegression, balanced, C tuned": _tuned("balanced"),
    "NearestCentroid": centroids,
    "LinearDiscriminantAnalysis": gaussians,
    "CalibratedClassifierCV, temperature": calibrated,
}
