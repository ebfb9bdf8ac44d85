"""The methods as scikit-learn classifiers: scikit-learn's own checks, and what its users and torch's rely on."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from rebalance import LinearHead, NormalizedHead, class_counts, estimators
from rebalance.estimators import CLASSIFIERS, JOINT_DECAY, TOL, JointClassifier, TauNormClassifier, make_classifier
from rebalance.methods import METHODS, Method, hyperparameters

# On toys with separable classes or coinciding class means float32 may end a search above its tolerance, and this is
# said; one test below is about it, the others are not.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

every_method = pytest.mark.parametrize("name", METHODS)
# A strongly convex problem solved closely: the rows in two orders then end at the same place.
CLOSE = {"weight_decay": 1e-1, "tol": 1e-4}
NAMES = np.array(["ant", "bee", "cicada", "dragonfly", "earwig"])


def same_bits(one: LinearHead, other: LinearHead) -> bool:
    return type(one) is type(other) and all(
        torch.equal(tensor, other.tensors()[key]) for key, tensor in one.tensors().items()
    )


@pytest.fixture(scope="module")
def rows(problem: Any) -> tuple[Any, Any]:
    """Training rows and labels as NumPy arrays."""
    return problem.features.numpy(), problem.labels.numpy()


@parametrize_with_checks([each() for each in CLASSIFIERS.values()])
def test_scikit_learn_accepts_it(estimator: Any, check: Any) -> None:
    check(estimator)


# What is made from the signatures


@every_method
def test_the_class_has_the_parameters_of_its_method(name: str) -> None:
    function = METHODS[name].function
    given = {key: inspect.signature(function).parameters[key].default for key in hyperparameters(function)}
    if given.get("tol", TOL) is None:
        given["tol"] = TOL
    held = CLASSIFIERS[name]().get_params()
    assert held.pop("head") is None
    assert {key.removeprefix(f"{name}_"): value for key, value in held.items()} == given


@every_method
def test_no_parameter_hides_what_scikit_learn_calls(name: str) -> None:
    ours = set(CLASSIFIERS[name]().get_params())
    assert not ours & (set(dir(estimators.HeadClassifier)) | {"transform", "partial_fit", "score_samples"})


@every_method
def test_the_class_is_found_under_its_name_and_pickled(name: str, problem: Any, rows: Any) -> None:
    assert getattr(estimators, CLASSIFIERS[name].__name__) is CLASSIFIERS[name]
    fitted = CLASSIFIERS[name](head=problem.head).fit(*rows)
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.predict_proba(rows[0]), fitted.predict_proba(rows[0]))
    assert same_bits(again.head_, fitted.head_)


def test_the_names_and_the_text() -> None:
    assert repr(TauNormClassifier(tau=0.5)) == "TauNormClassifier(tau=0.5)"
    assert repr(JointClassifier()) == "JointClassifier()"
    assert "0 leaves the weights, 1 makes all norms one" in (inspect.getdoc(TauNormClassifier) or "")
    assert CLASSIFIERS["ncm"](ncm_transform="un").get_params()["ncm_transform"] == "un"
    with pytest.raises(TypeError, match="tao"):
        TauNormClassifier(tao=1.0)


def test_a_new_method_has_its_classifier_by_itself(monkeypatch: pytest.MonkeyPatch, rows: Any) -> None:
    seen = []

    def rare_first(head: Any, features: Any, labels: Any, *, power: float = 1.0, counts: Any = None) -> LinearHead:
        seen.append((head, np.asarray(counts)))
        return LinearHead(head.weight, head.bias - power * torch.as_tensor(counts).log().float())

    monkeypatch.setitem(METHODS, "rare_first", Method(rare_first, on=None))
    made = make_classifier("rare_first")
    assert made.__name__ == "RareFirstClassifier"
    weights = np.linspace(0.1, 0.9, len(rows[1]))
    made(power=0.5).fit(*rows, sample_weight=weights)
    np.testing.assert_allclose(seen[0][1], np.bincount(rows[1], weights), rtol=1e-12)  # a sum in another order
    made(power=0.5).fit(*rows)
    assert np.array_equal(seen[1][1], np.bincount(rows[1]))


def test_importing_the_package_leaves_scikit_learn_alone() -> None:
    code = "import sys, rebalance; print('sklearn' in sys.modules, 'rebalance.estimators' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout.split() == ["False", "False"], run.stderr


# What fit fits


@every_method
def test_a_given_head_goes_through_the_method(name: str, problem: Any, rows: Any) -> None:
    features, labels = rows
    fitted = CLASSIFIERS[name](head=problem.head).fit(features, labels)
    order = sorted(range(len(labels)), key=lambda row: (labels[row], features[row].tobytes()))
    values = {key.removeprefix(f"{name}_"): value for key, value in fitted.get_params().items() if key != "head"}
    expected = METHODS[name].function(problem.head, problem.features[order], problem.labels[order], **values)
    assert same_bits(fitted.head_, expected)
    assert fitted.head_.record == expected.record


def test_without_a_head_the_joint_one_is_the_optimum_of_plain_training(rows: Any) -> None:
    features, labels = rows
    fitted = JointClassifier().fit(features, labels)
    logistic = LogisticRegression(C=1 / (JOINT_DECAY * len(labels)), tol=1e-8, max_iter=10_000).fit(features, labels)
    # The decay makes the loss curved by at least 5e-4; a gradient of 1e-4 then leaves probabilities open to about 1e-2.
    np.testing.assert_allclose(fitted.predict_proba(features), logistic.predict_proba(features), atol=2e-2)
    error = fitted.predict_proba(features.astype(np.float64)) - np.eye(5)[labels]
    gradient = error.T @ features / len(labels) + JOINT_DECAY * fitted.head_.weight.numpy()
    start = (0.2 - np.eye(5)[labels]).T @ (features - features.mean(0)) / len(labels)
    assert abs(gradient - error.mean(0)[:, None] * features.mean(0)).max() < 2 * TOL * abs(start).max()
    assert abs(error.mean(0)).max() < 2 * TOL * abs(start).max()  # the bias is free


def test_a_method_that_needs_no_head_solves_none(rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*given: Any) -> None:
        raise AssertionError("a joint head was solved")

    monkeypatch.setattr("rebalance.estimators.joint_head", forbidden)
    for name, line in METHODS.items():
        if not line.needs_head:
            CLASSIFIERS[name]().fit(*rows)
    with pytest.raises(AssertionError, match="was solved"):
        TauNormClassifier().fit(*rows)


def test_a_solver_that_stops_early_is_said(rows: Any) -> None:
    with pytest.warns(
        ConvergenceWarning, match="crt: the solver stopped above its tol"
    ):  # float32 knows no such gradient
        CLASSIFIERS["crt"](tol=1e-12).fit(*rows)


# Weights


@every_method
def test_neither_order_nor_repetition_changes_a_bit(name: str, rows: Any) -> None:
    features, labels = rows
    rng = np.random.default_rng(0)
    times = rng.integers(0, 3, len(labels))
    repeated, order = np.repeat(np.arange(len(labels)), times), rng.permutation(len(labels))
    expected = CLASSIFIERS[name]().fit(features[repeated], labels[repeated]).head_
    weighted = CLASSIFIERS[name]().fit(features[order], labels[order], sample_weight=times[order]).head_
    assert same_bits(weighted, expected)
    assert not same_bits(CLASSIFIERS[name]().fit(features, labels).head_, expected)


@every_method
def test_fractions_count_by_their_ratio_where_only_the_joint_head_is_fitted(name: str, rows: Any, refuses: Any) -> None:
    features, labels = rows
    weights = np.where(np.arange(len(labels)) % 2, 0.5, 1.0)
    if METHODS[name].on is not None:
        with refuses("0.5 in row 1", name, "whole numbers"):
            CLASSIFIERS[name]().fit(features, labels, sample_weight=weights)
        return
    halves = CLASSIFIERS[name]().fit(features, labels, sample_weight=weights).predict_proba(features)
    whole = CLASSIFIERS[name]().fit(features, labels, sample_weight=2 * weights).predict_proba(features)
    np.testing.assert_allclose(halves, whole, atol=2e-2)  # two solves of a weakly curved loss, as above


def test_weights_that_are_none_are_refused(rows: Any, refuses: Any) -> None:
    weights = np.ones(len(rows[1]))
    weights[7] = -2
    with refuses("sample_weight is -2 in row 7"):
        JointClassifier().fit(*rows, sample_weight=weights)
    with pytest.raises(ValueError, match=r"sample_weight|Sample weights"):
        JointClassifier().fit(*rows, sample_weight=np.zeros(len(rows[1])))


# Kinds of arrays


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_torch_in_torch_out(dtype: torch.dtype, problem: Any) -> None:
    features = problem.features.to(dtype)
    fitted = CLASSIFIERS["crt"](**CLOSE).fit(features.clone().requires_grad_(), problem.labels)
    arrays = CLASSIFIERS["crt"](**CLOSE).fit(features.float().numpy(), problem.labels.numpy())
    torch.testing.assert_close(fitted.head_.weight, arrays.head_.weight, rtol=5e-3, atol=5e-3)  # as above
    out = torch.float64 if dtype == torch.float64 else torch.float32
    for verb in ("decision_function", "predict_proba", "predict"):
        result = getattr(fitted, verb)(features)
        assert isinstance(result, torch.Tensor)
        assert result.dtype == (torch.int64 if verb == "predict" else out)
        expected = getattr(fitted, verb)(features.to(out).numpy())
        assert isinstance(expected, np.ndarray)
        assert np.array_equal(result.numpy(), expected)


def test_names_as_labels_stay_numpy(problem: Any) -> None:
    ids = CLASSIFIERS["crt"]().fit(problem.features, problem.labels).predict(problem.val_features)
    names = CLASSIFIERS["crt"]().fit(problem.features, NAMES[problem.labels.numpy()]).predict(problem.val_features)
    assert names.tolist() == NAMES[ids.numpy()].tolist()


@pytest.mark.parametrize("kind", [LinearHead, NormalizedHead])
def test_float64_is_multiplied_in_float64(kind: type[LinearHead], problem: Any, rows: Any) -> None:
    head = kind(problem.head.weight, problem.head.bias)
    features = rows[0] + np.random.default_rng(0).normal(size=rows[0].shape)
    directions = features if kind is LinearHead else features / np.linalg.norm(features, axis=1, keepdims=True)
    expected = directions @ head.weight.double().numpy().T + head.bias.double().numpy()
    fitted = JointClassifier(head=head).fit(*rows)
    np.testing.assert_allclose(fitted.decision_function(features), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(fitted.predict_proba(features).sum(1), 1, rtol=1e-14)


def test_two_classes_decide_by_the_sign_of_one_number(rows: Any) -> None:
    features, labels = rows
    fitted = JointClassifier().fit(features, np.where(labels > 0, "rare", "common"))
    decision = fitted.decision_function(features)
    assert decision.shape == labels.shape
    assert np.array_equal(fitted.predict(features) == "rare", decision > 0)
    # The softmax of two logits is the logistic function of their difference; float32.
    np.testing.assert_allclose(fitted.predict_proba(features)[:, 1], 1 / (1 + np.exp(-decision)), atol=1e-6)


# Labels and a given head


def test_the_columns_of_a_given_head(problem: Any, rows: Any, refuses: Any) -> None:
    features, labels = rows
    few = labels != 2
    fitted = JointClassifier(head=problem.head).fit(features[few], labels[few])
    assert fitted.classes_.tolist() == [0, 1, 2, 3, 4]  # integers are columns, rows or not
    assert np.array_equal(fitted.predict(features), problem.head(problem.features).argmax(1).numpy())
    named = JointClassifier(head=problem.head).fit(features, NAMES[labels])
    assert named.predict(features).tolist() == NAMES[fitted.predict(features)].tolist()
    assert JointClassifier(head=problem.head).fit(features, 10 * labels - 1).classes_.tolist() == [-1, 9, 19, 29, 39]
    with refuses("4 classes", "head 5"):
        JointClassifier(head=problem.head).fit(features[few], NAMES[labels[few]])
    with refuses("7 features", "takes 8"):
        JointClassifier(head=problem.head).fit(features[:, 1:], labels)
    with refuses("one class only, 'ant'"):
        JointClassifier().fit(features, np.repeat("ant", len(labels)))


def test_a_row_labelled_minus_one_is_a_class_like_any_other(rows: Any) -> None:
    features, labels = rows
    assert JointClassifier().fit(features, labels - 1).classes_.tolist() == [-1, 0, 1, 2, 3]


# In scikit-learn's company


def test_a_search_over_tau_in_a_pipeline(problem: Any, rows: Any) -> None:
    pipeline = make_pipeline(StandardScaler(), TauNormClassifier())
    grid = {"taunormclassifier__tau": [0.0, 1.0]}
    search = GridSearchCV(pipeline, grid, cv=2, scoring="balanced_accuracy").fit(*rows)
    assert search.best_params_["taunormclassifier__tau"] in (0.0, 1.0)
    assert search.score(problem.val_features.numpy(), problem.val_labels.numpy()) > 0.4  # chance is 0.2
    assert isinstance(search, BaseEstimator)


def test_a_copy_keeps_the_head_and_nothing_fitted(problem: Any, rows: Any) -> None:
    copy = clone(JointClassifier(head=problem.head).fit(*rows))
    assert not hasattr(copy, "head_")
    assert same_bits(copy.head, problem.head)


@pytest.mark.cuda
def test_features_on_a_gpu_stay_there(problem: Any) -> None:
    fitted = CLASSIFIERS["crt"]().fit(problem.features.cuda(), problem.labels.cuda())
    assert fitted.head_.weight.device.type == "cuda"
    result = fitted.predict(problem.val_features.cuda())
    assert result.device.type == "cuda"
    assert np.array_equal(fitted.predict(problem.val_features.numpy()), result.cpu().numpy())
    assert int(class_counts(result, 5).sum()) == len(problem.val_labels)
