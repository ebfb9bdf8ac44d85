"""scikit-learn's logistic regression, bounded in time, with our weight decay."""

from __future__ import annotations

import time
import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score

from comparing.sides.arrays import Arrays, Pair
from comparing.sides.fitted import FLOOR, Fitted
from comparing.sides.stopping import ended_at

ITERATIONS = 1000
Weights = Literal["balanced"] | None


def over_classes(values: NDArray[Any], classes: NDArray[np.int64], total: int) -> NDArray[np.float32]:
    """Log-probabilities (N, total) from those of some classes (N, k), whose ids are `classes`; floored."""
    whole = np.full((len(values), total), FLOOR, dtype=np.float32)
    whole[:, classes] = np.maximum(values, FLOOR)
    return whole


def predicting(model: Any, total: int) -> Fitted:
    """The fit of anything with predict_proba. total: K."""

    def predict(features: NDArray[np.float32]) -> NDArray[np.float32]:
        with np.errstate(divide="ignore"):
            return over_classes(np.log(model.predict_proba(features)), model.classes_, total)

    return Fitted(predict)


def regression(data: Arrays, rows: Pair, deadline: float, weights: Weights = None) -> Fitted:
    """A logistic regression on these rows. deadline: when L-BFGS is ended, by time.perf_counter."""
    model = _model(data.note["decay"], rows, weights)
    note = _run(data, model, rows, deadline)
    return Fitted(predicting(model, data.classes).predict, note)


def tuned_regression(data: Arrays, weights: Weights = None) -> Fitted:
    """The C of the highest balanced accuracy on val, every one started from the stronger one before it."""
    features, labels = data.val
    deadline, tried, best = data.deadline(), 0, -1.0
    decays = sorted(data.note["decays"], reverse=True)
    model = _model(decays[0], data.train, weights).set_params(warm_start=True)
    for decay in decays:
        if tried and time.perf_counter() > deadline:
            break
        model.set_params(C=_strength(decay, data.train))
        note = _run(data, model, data.train, deadline)
        tried += 1
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="y_pred contains classes not in y_true")
            score = balanced_accuracy_score(labels, model.predict(features))
        if score > best:
            best, kept, said = score, (model.coef_.copy(), model.intercept_.copy()), f"weight decay {decay:g}, {note}"
    model.coef_, model.intercept_ = kept
    unfinished = f"; {tried} of {len(decays)} values of C in the time" if tried < len(decays) else ""
    return Fitted(predicting(model, data.classes).predict, said + unfinished)


def _strength(decay: float, rows: Pair) -> float:
    """C of our weight decay: it minimises C sum_i s_i CE_i + |w|^2 / 2; divided by C N that is our objective."""
    return 1 / (decay * len(rows[1]))


def _model(decay: float, rows: Pair, weights: Weights) -> LogisticRegression:
    return LogisticRegression(C=_strength(decay, rows), class_weight=weights, max_iter=ITERATIONS)


def _run(data: Arrays, model: LogisticRegression, rows: Pair, deadline: float) -> str:
    """Fit the model; how many iterations it took, and whether it was ended."""
    with ended_at(deadline, data.report), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model.fit(*rows)
    early = any(issubclass(each.category, ConvergenceWarning) for each in said)
    iterations = f"{int(np.max(model.n_iter_))} iterations"
    return f"ended after {iterations}, not converged" if early else iterations
