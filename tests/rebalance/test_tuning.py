"""A hyperparameter is chosen on the judging rows, exactly or on a grid, with the one-standard-error rule."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from rebalance import METHODS, LinearHead, evaluate, load_head, tune
from rebalance.methods import crt, joint, logit_adjust, lws, ncm, tau_norm
from rebalance.search.grid import heads_of

DECAYS = [1e-4, 1e-2, 1.0, 30.0]


def balanced(head: LinearHead, problem: Any) -> float:
    return evaluate(head(problem.val_features), problem.val_labels).balanced


def exact(problem: Any, **options: Any) -> Any:
    return tune(tau_norm, problem.head, problem.val_features, problem.val_labels, **options)


def fitted(problem: Any, method: Any = crt, **options: Any) -> Any:
    options.setdefault("grid", {"weight_decay": DECAYS})
    val = options.pop("val", (problem.val_features, problem.val_labels))
    return tune(method, problem.head, problem.features, problem.labels, val=val, **options)


@pytest.mark.parametrize("metric", ["balanced", "top1"])
def test_standard_errors_are_mcnemars(problem: Any, metric: Any) -> None:
    """The root of the summed squared weights of the rows that only one of the two heads gets right."""
    rows = slice(0, 80)  # imbalanced, and other rows than those of the fit would be no different here
    truth = problem.labels[rows].numpy()
    val = problem.features[rows].clone(), truth
    tuned = fitted(problem, select="best", metric=metric, val=val)
    points = [{"weight_decay": decay} for decay in DECAYS]
    heads = heads_of(METHODS["crt"], problem.head, problem.features, problem.labels, points, {})
    right = [(each(val[0]).argmax(1).numpy() == truth) for each in heads]
    top = right[DECAYS.index(tuned.weight_decay)]
    share = {k: 1 / (5 * (truth == k).sum()) if metric == "balanced" else 1 / 80 for k in range(5)}
    for point, each in zip(tuned.curve, right, strict=True):
        differing = sum(share[truth[i]] ** 2 for i in range(80) if each[i] != top[i])
        assert point["standard_error"] == pytest.approx(differing**0.5, abs=1e-12)
    assert len({point["standard_error"] for point in tuned.curve}) > 2


def test_the_bootstrap_is_another_error_of_the_same_values(problem: Any) -> None:
    one, other = (fitted(problem, select=select) for select in ("1se", "1se-bootstrap"))
    assert [point["value"] for point in one.curve] == [point["value"] for point in other.curve]
    assert [point["standard_error"] for point in one.curve] != [point["standard_error"] for point in other.curve]
    assert other.curve == fitted(problem, select="1se-bootstrap").curve
    assert other.curve != fitted(problem, select="1se-bootstrap", seed=1).curve
    assert other.head.record["tuned"]["select"] == "1se-bootstrap"


def test_the_bootstrap_says_how_many_classes_have_a_single_row(problem: Any) -> None:
    rows = torch.cat([torch.arange(60)[problem.val_labels != 2], torch.nonzero(problem.val_labels == 2)[0]])
    val = problem.val_features[rows], problem.val_labels[rows]
    best = tune(tau_norm, problem.head, *val, select="1se-bootstrap")
    assert best.notes == ("1 of 5 classes have a single judging row, which the bootstrap takes as certain",)
    assert best.head.record["tuned"]["notes"] == list(best.notes)
    assert tune(tau_norm, problem.head, *val).notes == ()


def test_of_equally_good_values_the_last_is_the_best(problem: Any) -> None:
    """tau changes nothing where all norms are equal."""
    head = LinearHead(torch.nn.functional.normalize(problem.head.weight))
    rows = problem.val_features, problem.val_labels
    tied = tune(tau_norm, head, *rows, grid={"tau": [0.5, 1.5, 1.0]}, select="best")
    assert len({point["value"] for point in tied.curve}) == 1
    assert tied.tau == 1.0


@pytest.mark.parametrize("step", [2, 3, 5])
def test_1se_on_a_grid_is_the_most_regularised_within_one_error(problem: Any, step: int) -> None:
    grid = {"weight_decay": list(np.geomspace(1e-4, 30, 9))}
    val = problem.val_features[::step], problem.val_labels[::step]
    one, best = (fitted(problem, select=select, val=val, grid=grid) for select in ("1se", "best"))
    top = max(point["value"] for point in best.curve)
    close = [p["weight_decay"] for p in best.curve if top - p["value"] <= p["standard_error"] + 1e-12]
    assert one.weight_decay == close[-1]
    assert best.weight_decay == [p["weight_decay"] for p in best.curve if p["value"] > top - 1e-12][-1]
    assert one.weight_decay >= best.weight_decay
    assert best.value == pytest.approx(top)


def test_the_head_is_that_of_the_chosen_point(problem: Any) -> None:
    best = fitted(problem)
    again = crt(problem.head, problem.features, problem.labels, weight_decay=best.weight_decay)
    # Two solutions to the tolerance of the solver, 1e-3 of the gradient, from two starts.
    torch.testing.assert_close(best.head(problem.val_features), again(problem.val_features), rtol=2e-2, atol=2e-2)
    assert balanced(best.head, problem) == pytest.approx(best.value)
    assert best.head.record["hyperparameters"] == again.record["hyperparameters"]
    near = fitted(problem, ncm, grid=None)
    again = ncm(problem.head, problem.features, problem.labels, transform=near.transform)
    assert torch.equal(near.head.weight, again.weight)
    assert {key: near.head.record[key] for key in again.record} == again.record


def test_top1_is_the_share_of_right_rows(problem: Any) -> None:
    rows = problem.val_labels != 3  # otherwise balanced rows would make both metrics one
    rows[:20] = True
    val = problem.val_features[rows], problem.val_labels[rows]
    tuned = fitted(problem, val=val, metric="top1", select="best")
    assert tuned.value == pytest.approx(evaluate(tuned.head(val[0]), val[1]).top1)


def test_one_value_fixes_a_hyperparameter_and_the_rest_is_tuned(problem: Any) -> None:
    scaled = exact(problem, grid={"bias": ["scale"]})
    assert scaled.exact
    assert scaled.parameters.keys() == {"tau", "bias"}
    assert scaled.head.record["hyperparameters"]["bias"] == "scale"
    near = fitted(problem, ncm, grid={"distance": ["dot"]})
    assert [point["transform"] for point in near.curve] == list(METHODS["ncm"].grid["transform"])
    assert {point["distance"] for point in near.curve} == {"dot"}


def test_two_hyperparameters_make_every_pair(problem: Any) -> None:
    grid = {"transform": ["un", "l2n"], "distance": ["l2", "cosine"]}
    tuned = fitted(problem, ncm, grid=grid, select="best")
    pairs = [(point["transform"], point["distance"]) for point in tuned.curve]
    assert pairs == [("un", "l2"), ("un", "cosine"), ("l2n", "l2"), ("l2n", "cosine")]


def test_without_a_grid_the_methods_own_is_tried(problem: Any) -> None:
    tuned = fitted(problem, lws, grid=None)
    assert [point["weight_decay"] for point in tuned.curve] == list(METHODS["lws"].grid["weight_decay"])


def test_a_method_is_given_by_name_or_function(problem: Any) -> None:
    by_name = tune("tau_norm", problem.head, problem.val_features, problem.val_labels)
    assert by_name.tau == exact(problem).tau


@pytest.mark.parametrize("grid", [None, {"tau": [0.5, 1.0]}, {"tau": np.linspace(0, 2, 5)}, {"tau": np.arange(3)}])
def test_the_record_is_plain_json_and_is_saved(problem: Any, grid: Any, tmp_path: Any) -> None:
    best = exact(problem, grid=grid)
    chosen = best.head.record["tuned"]
    assert json.loads(json.dumps(chosen, allow_nan=False)) == chosen
    assert chosen["parameters"] == {"tau": best.tau}
    assert chosen["value"] == best.value
    assert (chosen["metric"], chosen["select"], chosen["rows"]) == ("balanced", "1se", 60)
    assert chosen["search"] == ("exact" if grid is None else "grid")
    assert ("interval" in chosen) == (grid is None)
    best.head.save(tmp_path / "head.safetensors")
    assert load_head(tmp_path / "head.safetensors").record == best.head.record


def test_the_same_rows_give_the_same_choice_and_no_generator_is_touched(problem: Any) -> None:
    state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 (it must not be touched)
    first, again = exact(problem), exact(problem)
    assert (first.tau, first.interval) == (again.tau, again.interval)
    assert torch.equal(first.head.weight, again.head.weight)
    assert fitted(problem).curve == fitted(problem).curve
    assert torch.equal(torch.random.get_rng_state(), state[0])
    assert (np.random.get_state()[1] == state[1]).all()  # noqa: NPY002


@pytest.mark.parametrize("method", [tau_norm, crt])
@pytest.mark.parametrize("kind", ["tensor", "memmap", "slices"])
@pytest.mark.parametrize("unlabelled", [False, True])
def test_judging_rows_of_any_kind(
    problem: Any, method: Any, kind: str, unlabelled: bool, slice_only: Any, tmp_path: Any
) -> None:
    features, labels = problem.val_features, problem.val_labels
    if unlabelled:
        noise = torch.full((3, 8), 7.0)
        features = torch.cat([noise, features, noise])
        labels = torch.cat([torch.full((3,), -1), labels, torch.full((3,), -1)])
    rows: Any = features
    if kind != "tensor":
        features.numpy().astype(np.float16).tofile(tmp_path / "val.bin")
        rows = np.memmap(tmp_path / "val.bin", np.float16, "r", shape=tuple(features.shape))
    if kind == "slices":
        rows = slice_only(rows)
    if method is tau_norm:
        expected, tuned = exact(problem), tune(tau_norm, problem.head, rows, labels)
        assert tuned.tau == pytest.approx(expected.tau, rel=1e-9)
    else:
        expected, tuned = fitted(problem), fitted(problem, val=(rows, labels))
        assert tuned.weight_decay == expected.weight_decay
    assert tuned.value == pytest.approx(expected.value)
    assert tuned.head.record["tuned"]["rows"] == 60


def test_unlabelled_training_rows_are_ignored(problem: Any) -> None:
    features = torch.cat([problem.features, torch.full((4, 8), 5.0)])
    labels = torch.cat([problem.labels, torch.full((4,), -1)])
    val = problem.val_features, problem.val_labels
    tuned = tune(ncm, None, features, labels, val=val)
    assert tuned.value == tune(ncm, None, problem.features, problem.labels, val=val).value


def test_a_method_with_counts_is_searched_exactly_too(problem: Any) -> None:
    rows = problem.val_features, problem.val_labels
    best = tune(logit_adjust, problem.head, *rows, counts=problem.counts, select="best")
    grid = tune(
        logit_adjust, problem.head, *rows, counts=problem.counts, select="best", grid={"tau": np.linspace(0, 3, 61)}
    )
    assert best.exact
    assert best.value >= grid.value
    assert [point["value"] for point in grid.curve] == pytest.approx(best.curve(np.linspace(0, 3, 61)))
    assert balanced(best.head, problem) == pytest.approx(best.value)
    again = logit_adjust(problem.head, *rows, tau=best.tau, counts=problem.counts)
    assert torch.equal(best.head.bias, again.bias)


def test_joint_has_nothing_to_tune(problem: Any, refuses: Any) -> None:
    with refuses("joint: nothing to tune, it has no hyperparameter"):
        tune(joint, problem.head, problem.val_features, problem.val_labels)
