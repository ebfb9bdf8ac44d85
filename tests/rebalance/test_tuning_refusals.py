"""What cannot be tuned, or not honestly, is refused with one line before anything is fitted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rebalance import METHODS, tune
from rebalance.methods import Method, crt, joint, tau_norm


def judged(problem: Any, features: Any = None, labels: Any = None, **options: Any) -> Any:
    features = problem.val_features if features is None else features
    return tune(tau_norm, problem.head, features, problem.val_labels if labels is None else labels, **options)


def fitted(problem: Any, **options: Any) -> Any:
    options.setdefault("val", (problem.val_features, problem.val_labels))
    return tune(crt, problem.head, problem.features, problem.labels, **options)


def test_a_fitted_method_needs_rows_that_judge(problem: Any, refuses: Any) -> None:
    with refuses("crt", r"val=\(features, labels\)", "folds"):
        fitted(problem, val=None)


def test_the_rows_of_the_fit_cannot_judge_it(problem: Any, refuses: Any) -> None:
    with refuses("crt", "fitted on"):
        fitted(problem, val=(problem.features, problem.labels))


def test_a_method_that_fits_nothing_takes_no_val(problem: Any, refuses: Any) -> None:
    with refuses("tau_norm fits nothing"):
        judged(problem, val=(problem.val_features, problem.val_labels))


@pytest.mark.parametrize("grid", [{"bias": ["keep"]}, {"bias": ("keep",)}])
def test_a_kept_bias_cannot_be_searched_exactly(problem: Any, grid: Any, refuses: Any) -> None:
    with refuses("bias=keep", "several intervals", "grid"):
        judged(problem, grid=grid)
    assert judged(problem, grid={**grid, "tau": [0.0, 0.5, 1.0]}).parameters["bias"] == "keep"


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"metric": "f1"}, ["f1", "balanced, top1"]),
        ({"select": "2se"}, ["2se", "1se, 1se-bootstrap or best"]),
        ({"grid": {"tau": []}}, ["tau", "empty"]),
        ({"grid": {"tua": [0.0, 1.0]}}, ["tau_norm", "tua", "tau"]),
        ({"grid": {"tua": [0.0]}}, ["tau_norm", "tua", "tau"]),
        ({"grid": {"bias": ["zoom"]}}, ["zoom", "drop"]),
        ({"grid": {"tau": [0.5]}}, ["tau"]),
    ],
)
def test_options_that_are_none(problem: Any, options: Any, parts: list[str], refuses: Any) -> None:
    with refuses(*parts):
        judged(problem, **options)


@pytest.mark.parametrize("method", ["tau", "nope", print])
def test_an_unknown_method_names_those_there_are(problem: Any, method: Any, refuses: Any) -> None:
    with refuses("no method", "joint, ncm, crt, tau_norm, lws"):
        tune(method, problem.head, problem.val_features, problem.val_labels)


def test_joint_with_a_grid_names_what_it_has_not(problem: Any, refuses: Any) -> None:
    with refuses("joint", "tau"):
        tune(joint, problem.head, problem.val_features, problem.val_labels, grid={"tau": [0.0, 1.0]})


def bad_rows(case: str, problem: Any) -> tuple[Any, Any]:
    features, labels = problem.val_features.clone(), problem.val_labels.clone()
    if case == "unlabelled":
        labels[:] = -1
    elif case == "short":
        labels = labels[:-1]
    elif case == "beyond":
        labels[7] = 5
    elif case == "below":
        labels[7] = -2
    elif case == "wide":
        features = torch.cat([features, features], dim=1)
    elif case == "NaN":
        features[11, 2] = torch.nan
    elif case == "floats":
        labels = labels.double()
    return features, labels


BAD = {
    "unlabelled": ["no row has a label"],
    "short": ["59 labels", "60 rows"],
    "beyond": ["label 5", "5 classes"],
    "below": ["label -2"],
    "wide": ["16 wide", "8"],
    "NaN": ["row 11", "NaN"],
    "floats": ["float64", "integers"],
}


@pytest.mark.parametrize("case", BAD)
def test_judging_rows_that_do_not_fit_an_exact_search(case: str, problem: Any, refuses: Any) -> None:
    with refuses(*BAD[case]):
        judged(problem, *bad_rows(case, problem))


@pytest.mark.parametrize("case", BAD)
def test_judging_rows_that_do_not_fit_a_grid(case: str, problem: Any, refuses: Any) -> None:
    with refuses(*BAD[case]):
        fitted(problem, val=bad_rows(case, problem), grid={"weight_decay": [1e-2, 1.0]})


def test_no_judging_row_at_all(problem: Any, refuses: Any) -> None:
    with refuses("no row has a label"):
        judged(problem, problem.val_features[:0], np.zeros(0, np.int64))


def test_a_search_needs_a_head(problem: Any, refuses: Any) -> None:
    with refuses("tau_norm", "none was given"):
        tune(tau_norm, None, problem.val_features, problem.val_labels)


@pytest.mark.parametrize("folds", [None, 4])
def test_rows_the_backbone_was_trained_on_are_refused_and_why(problem: Any, folds: Any, refuses: Any) -> None:
    with refuses("crt", "trained on cannot tune", "perfect on them", "allow_seen"):
        fitted(problem, seen=True, folds=folds, **({"val": None} if folds else {}))
    with refuses("tau_norm", "trained on cannot tune"):
        judged(problem, seen=True)


def test_folds_are_refused_where_nobody_said_that_the_rows_are_unseen(problem: Any, refuses: Any) -> None:
    with refuses("crt", "seen=False", "trained on cannot tune"):
        fitted(problem, val=None, folds=4)


def test_folds_are_refused_where_they_make_no_sense(problem: Any, refuses: Any) -> None:
    with refuses("tau_norm fits nothing", "folds"):
        judged(problem, folds=4, seen=False)
    with refuses("crt", "val and folds"):
        fitted(problem, folds=4, seen=False)
    with refuses("folds is 1", "110 labelled rows"):
        fitted(problem, val=None, folds=1, seen=False)


def test_judging_rows_are_not_counted_as_training_rows(
    problem: Any, monkeypatch: pytest.MonkeyPatch, refuses: Any
) -> None:
    def shift(head: Any, features: Any, labels: Any, *, tau: float = 1.0, counts: Any = None) -> Any:
        raise AssertionError("fitted all the same")

    for on in (None, "val"):
        monkeypatch.setitem(METHODS, "shift", Method(shift, on=on))
        val = None if on is None else (problem.val_features, problem.val_labels)
        with refuses("shift", "training rows", r"counts=\(K,\)"):
            tune(shift, problem.head, problem.features, problem.labels, val=val, grid={"tau": [0.0, 1.0]})


@pytest.mark.parametrize("search", [(3.0, 0.0), (1.0, 1.0)])
def test_an_empty_search_range_is_refused(problem: Any, search: Any, refuses: Any) -> None:
    with refuses("search"):
        judged(problem, search=search)
