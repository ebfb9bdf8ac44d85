"""scikit-learn classifiers over the methods: ``CrtClassifier``, ``TauNormClassifier``, … one for each line of METHODS.

Every class is made from its method's signature: its parameters are ``head`` and the method's hyperparameters, with the
method's defaults. A new method has its classifier by itself. They stand in this module under their names, and in
CLASSIFIERS by the name of the method:

    from rebalance.estimators import TauNormClassifier
    search = GridSearchCV(TauNormClassifier(), {"tau": [0.5, 1.0, 1.5]}, scoring="balanced_accuracy")

The methods are made for features of a network. Features of another kind want a StandardScaler before them: the solver
then needs fewer passes, and the bias, which tau_norm drops by default, no longer has to undo the features' mean.
``import rebalance`` does not import this module, nor scikit-learn.
"""

from __future__ import annotations

import inspect
import warnings
from dataclasses import field, make_dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted
from torch import Tensor

from rebalance.head import LinearHead
from rebalance.methods import METHODS, hyperparameters, takes_counts
from rebalance.solving.objective import LinearObjective
from rebalance.solving.solver import minimise

try:
    from sklearn.utils.validation import validate_data
except ImportError:  # scikit-learn before 1.6 has it as a method

    def validate_data(estimator: Any, X: Any, y: Any = "no_validation", *, dtype: Any, reset: bool = True) -> Any:
        """The checked X, or X and y, as scikit-learn's function of this name returns them."""
        return estimator._validate_data(X, y, dtype=dtype, reset=reset)


JOINT_DECAY = 5e-4  # the weight decay of the paper's joint training
TOL = 1e-4  # where the solver stops, unless a method's own default says
# scikit-learn takes an estimator with such an attribute for another kind: no parameter may be called so.
VERBS = {"transform", "inverse_transform", "fit_transform", "fit_predict", "partial_fit", "score", "score_samples"}

Array = NDArray[Any]


class HeadClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A method of rebalance as a scikit-learn classifier; what the classes of this module share.

    Attributes after fit: ``head_`` (the new head, on the device of the features), ``classes_`` (NumPy, whatever y was),
    ``n_features_in_``.
    """

    _method: ClassVar[str]
    head: LinearHead | None
    head_: LinearHead
    classes_: Array

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the method's head on the rows, and return the classifier.

        X: (N, D) features, NumPy or torch; float64 is rounded to float32. y: (N,) labels of any kind. With ``head``,
        integers 0..K-1 are its columns; other labels must be as many as it has columns, and are taken in their order.
        sample_weight: (N,); a row of weight 2 counts as two rows, one of weight 0 is not there. Fractions are refused
        where the method itself is fitted on the rows: it knows no weighted rows.
        ValueError for input that scikit-learn refuses, and for a head and rows that do not fit.

        The rows are put into an order of their own first, so that neither their order nor repeating a row instead of
        weighting it changes a bit of the head.
        """
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity, which is refused
            rows, y = validate_data(self, _host(X), _host(y), dtype=[np.float32, np.float16])
        check_classification_targets(y)
        if self.head is not None and rows.shape[1] != self.head.width:
            raise ValueError(
                f"X has {rows.shape[1]} features, the head takes {self.head.width}: they come from different models"
            )
        weights = self._row_weights(sample_weight, rows)
        if not bool(weights.all()):
            rows, y, weights = rows[weights > 0], y[weights > 0], weights[weights > 0]
        self.classes_, labels = _columns(y, self.head)
        order = _canonical(rows, labels)
        if bool((weights == np.floor(weights)).all()):
            order = order.repeat(weights[order].astype(np.int64))
            weights = np.ones(len(rows))
        sorted_rows = torch.from_numpy(rows[order]).to(_device(X, self.head))
        self.head_ = self._fitted(sorted_rows, labels[order], weights[order])
        return self

    def _row_weights(self, sample_weight: Any, rows: Array) -> Array:
        """The weights (N,) in float64; ValueError when one is negative, all are 0, or the method cannot take them."""
        weights: Array = _check_sample_weight(_host(sample_weight), rows, dtype=np.float64)
        if bool((weights < 0).any()):
            row = int((weights < 0).argmax())
            raise ValueError(f"sample_weight is {weights[row]:g} in row {row}; expected 0 or more")
        if not bool(weights.any()):
            raise ValueError("sample_weight is 0 in every row; expected a row to fit on")
        broken = weights != np.floor(weights)
        if METHODS[self._method].on is not None and bool(broken.any()):
            row = int(broken.argmax())
            raise ValueError(
                f"sample_weight is {weights[row]:g} in row {row}; {self._method} counts rows: expected whole numbers"
            )
        return weights

    def _fitted(self, rows: Tensor, labels: Array, weights: Array) -> LinearHead:
        line = METHODS[self._method]
        target = torch.from_numpy(labels).to(rows.device)
        head = None if self.head is None else self.head.to(rows.device)
        if head is None and line.needs_head:
            head = joint_head(rows, target, torch.from_numpy(weights).to(rows.device), len(self.classes_))
        values = {name: getattr(self, parameter_name(self._method, name)) for name in hyperparameters(line.function)}
        if takes_counts(line.function):
            values["counts"] = np.bincount(labels, weights, minlength=len(self.classes_))
        return _said(line.function(head, rows, target, **values), self._method)

    def decision_function(self, X: Any) -> Any:
        """The logits (N, K); for two classes the second's minus the first's (N,), as scikit-learn has it.

        X: (N, D), NumPy or torch; the result is of the same kind. float64 is multiplied in float64.
        """
        logits = self._logits(X)
        return _like(X, logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits)

    def predict_proba(self, X: Any) -> Any:
        """The softmax of the logits (N, K), the columns in the order of ``classes_``; X: as in decision_function."""
        return _like(X, self._logits(X).softmax(dim=1))

    def predict(self, X: Any) -> Any:
        """The labels (N,) of the largest logits; X: as in decision_function. Labels torch cannot hold stay NumPy."""
        columns = self._logits(X).argmax(dim=1).cpu().numpy()
        labels = self.classes_[columns]
        return _like(X, torch.from_numpy(labels)) if labels.dtype.kind in "biuf" else labels

    def _logits(self, X: Any) -> Tensor:
        check_is_fitted(self)
        array = validate_data(self, _host(X), reset=False, dtype=[np.float64, np.float32, np.float16])
        rows = torch.from_numpy(np.require(array, requirements=["C", "W"])).to(self.head_.weight.device)
        if rows.dtype != torch.float64:
            return self.head_(rows)
        with torch.no_grad():
            logits: Tensor = self.head_.to_module().double()(rows)
        return logits


def joint_head(rows: Tensor, labels: Tensor, weights: Tensor, num_classes: int) -> LinearHead:
    """The head of plain training on these rows: softmax regression to its minimum, every row weighing its weight.

    rows: (N, D). labels: (N,), 0..K-1. weights: (N,), above 0; only their ratios count. num_classes: K.
    A ConvergenceWarning where the solver stopped early. Source: Kang et al. (ICLR 2020), section 3.
    """
    share = (weights / weights.sum()).float()
    mean = rows.mean(dim=0, dtype=torch.float64).float()  # only centres the features, so it needs no weights
    objective = LinearObjective(rows, labels, share, mean, num_classes=num_classes, decay=JOINT_DECAY)
    solution = minimise(objective, objective.zeros(), tol=TOL, precondition=objective.preconditioner())
    record = {
        "method": "joint",
        "hyperparameters": {"weight_decay": JOINT_DECAY, "tol": TOL},
        "solver": solution.summary(),
    }
    return _said(LinearHead(*objective.split(solution.parameters), record=record), "the joint head")


def _said(head: LinearHead, what: str) -> LinearHead:
    """The head, after a ConvergenceWarning if its record says that the solver did not reach its tolerance."""
    solver = head.record.get("solver", {})
    if not solver.get("converged", True):
        warnings.warn(
            f"{what}: the solver stopped above its tol ({solver}); scale the features, or raise tol or weight_decay",
            ConvergenceWarning,
            stacklevel=4,
        )
    return head


def _host(values: Any) -> Any:
    """A tensor as a NumPy array (bfloat16, which NumPy has not, as float32); anything else as it is."""
    if not isinstance(values, Tensor):
        return values
    values = values.detach().cpu()
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()


def _device(X: Any, head: LinearHead | None) -> torch.device:
    """Where to fit: where a tensor lies; an array has no place and goes to the head's."""
    if isinstance(X, Tensor):
        return X.device
    return torch.device("cpu") if head is None else head.weight.device


def _like(X: Any, result: Tensor) -> Any:
    """The result as a tensor where X lies, or as a NumPy array if X is no tensor."""
    return result.to(X.device) if isinstance(X, Tensor) else result.cpu().numpy()


def _columns(y: Array, head: LinearHead | None) -> tuple[Array, Array]:
    """The classes (K,), and each row's column among them as int64 (N,)."""
    classes, labels = np.unique(y, return_inverse=True)
    if head is None:
        if len(classes) == 1:
            raise ValueError(f"y has one class only, {classes.tolist()[0]!r}; expected rows of at least two classes")
    elif classes.dtype.kind in "iu" and classes[0] >= 0 and classes[-1] < head.num_classes:
        return np.arange(head.num_classes), y.astype(np.int64)
    elif len(classes) != head.num_classes:
        raise ValueError(
            f"y has {len(classes)} classes, the head {head.num_classes}; expected as many, "
            f"or the numbers of its columns, 0..{head.num_classes - 1}"
        )
    return classes, labels.astype(np.int64)


def _canonical(rows: Array, labels: Array) -> Array:
    """The order (N,) of the rows by their labels, and within a class by their bytes."""
    keys = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
    order: Array = np.argsort(labels, kind="stable")
    for of_class in np.split(order, np.cumsum(np.bincount(labels))[:-1]):
        of_class[:] = of_class[np.argsort(keys[of_class], kind="stable")]
    return order


def class_name(method: str) -> str:
    """The name of a method's classifier: TauNormClassifier for tau_norm."""
    return "".join(part.capitalize() for part in method.split("_")) + "Classifier"


def parameter_name(method: str, hyperparameter: str) -> str:
    """What the classifier calls a hyperparameter: as the method does, but ``ncm_transform`` for a verb of VERBS."""
    return f"{method}_{hyperparameter}" if hyperparameter in VERBS else hyperparameter


def make_classifier(method: str) -> type[HeadClassifier]:
    """The method's classifier: the parameters of its __init__ are those of the method."""
    function = METHODS[method].function
    parameters = inspect.signature(function).parameters
    fields: list[tuple[str, Any, Any]] = [("head", "LinearHead | None", field(default=None))]
    for name in hyperparameters(function):
        # A trained head is solved to its minimum: other ways to stop are for those who name one.
        default = TOL if name == "tol" and parameters[name].default is None else parameters[name].default
        fields.append((parameter_name(method, name), parameters[name].annotation, field(default=default)))
    text = (
        f"``rebalance.methods.{method}`` as a scikit-learn classifier.\n\n"
        "head: the joint head of a trained model; None: one is first solved on the same rows where the method needs "
        f"it.\n\nThe method, whose hyperparameters are the other parameters:\n\n{inspect.getdoc(function)}"
    )
    return make_dataclass(
        class_name(method),
        fields,
        bases=(HeadClassifier,),
        namespace={"__doc__": text, "__module__": __name__, "_method": method},
        kw_only=True,
        eq=False,
        repr=False,
    )


CLASSIFIERS: dict[str, type[HeadClassifier]] = {method: make_classifier(method) for method in METHODS}
globals().update({each.__name__: each for each in CLASSIFIERS.values()})

if TYPE_CHECKING:

    def __getattr__(name: str) -> type[HeadClassifier]: ...
