"""The curve that is drawn is the one the head was chosen on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rebalance import LinearHead, evaluate_head, tune
from rebalance.classes import Shots
from rebalance.methods import logit_adjust, multiplicative, tau_norm
from rebalance.report.tau_curves import measured, tau_curves

SHOTS = Shots(5, 40)


@pytest.fixture(scope="module")
def heads(problem: Any) -> dict[str, LinearHead]:
    rows = (problem.head, problem.val_features, problem.val_labels)
    found = {
        "adjusted": tune(logit_adjust, *rows, counts=problem.counts),
        "normed": tune(tau_norm, *rows),
        "scaled": tune(tau_norm, *rows, grid={"bias": ["scale"]}),
        "multiplied": tune(multiplicative, *rows, counts=problem.counts),
    }
    return {name: each.head.with_record(tuned_on="val") for name, each in found.items()}


def draw(problem: Any, heads: dict[str, LinearHead], split: str = "val", counts: Any = "own") -> Any:
    rows = (problem.val_features, problem.val_labels, split)
    own = problem.counts if isinstance(counts, str) else counts
    return tau_curves(heads, problem.head, rows, own, {**SHOTS.groups(problem.counts)})


def test_every_head_that_was_searched_exactly_has_one(problem: Any, heads: dict[str, LinearHead]) -> None:
    drawn = draw(problem, heads)
    names = ["tau_curve", "tau_curve-2", "tau_curve_logit_adjust", "tau_curve_multiplicative"]
    assert [each.name for each in drawn] == names
    assert drawn[0].columns == ["tau from", "tau to", "balanced", "many", "medium", "few"]
    assert drawn[3].columns[0] == "gamma from"
    assert all(each.svg() for each in drawn)


def test_the_curve_at_the_chosen_value_is_what_the_head_scores(problem: Any, heads: dict[str, LinearHead]) -> None:
    for name, drawing in zip(("normed", "scaled", "adjusted", "multiplied"), draw(problem, heads), strict=True):
        report = evaluate_head(heads[name], problem.val_features, problem.val_labels, problem.counts, shots=SHOTS)
        (chosen,) = heads[name].record["tuned"]["parameters"].values() if name != "scaled" else [
            heads[name].record["tuned"]["parameters"]["tau"]
        ]  # fmt: skip
        (row,) = [row for row in drawing.rows if row[0] <= chosen < row[1]]
        assert row[2:] == pytest.approx([report.balanced, report.many, report.medium, report.few], abs=1e-9)


def test_a_head_tuned_elsewhere_or_on_a_grid_has_none(problem: Any, heads: dict[str, LinearHead]) -> None:
    assert draw(problem, heads, split="test") == []
    fitted = tau_norm(problem.head, problem.features, problem.labels, tau=0.5)
    assert draw(problem, {"joint": problem.head, "fitted": fitted.with_record(tuned_on="val")}) == []
    rows = (problem.head, problem.val_features, problem.val_labels)
    grid = tune(tau_norm, *rows, grid={"tau": [0.0, 1.0]}).head.with_record(tuned_on="val")
    assert draw(problem, {"grid": grid}) == []
    assert [each.name for each in draw(problem, heads, counts=None)] == ["tau_curve", "tau_curve-2"]


def test_a_head_that_is_not_what_its_record_says_has_none(problem: Any, heads: dict[str, LinearHead]) -> None:
    moved = LinearHead(heads["normed"].weight + 0.1, record=heads["normed"].record)
    assert draw(problem, {"moved": moved}) == []


@pytest.mark.parametrize(
    "entries",
    [
        {"tuned": None},
        {"tuned": [1]},
        {"method": ["tau_norm"]},
        {"method": "crt"},
        {"hyperparameters": None},
        {"hyperparameters": {"tau": "1"}},
        {"hyperparameters": {"tau": True}},
        {"hyperparameters": {"tau": 10**400}},
        {"hyperparameters": {"tau": float("nan")}},
        {"hyperparameters": {"tau": 1.0, "bias": "keep"}},
        {"hyperparameters": {"tau": 1.0, "bias": ["drop"]}},
        {"hyperparameters": {"tau": 1.0, "bias": {}}},
    ],
    ids=str,
)
def test_a_strangers_record_draws_nothing(problem: Any, heads: dict[str, LinearHead], entries: Any) -> None:
    assert draw(problem, {"normed": heads["normed"].with_record(**entries)}) == []


@pytest.mark.parametrize("interval", [None, [1], "ab", [0.1, "x"], [None, None], [10**400, 1]], ids=str)
def test_a_strange_interval_is_not_shaded(problem: Any, heads: dict[str, LinearHead], interval: Any) -> None:
    tuned = {**heads["normed"].record["tuned"], "interval": interval}
    (drawing,) = draw(problem, {"normed": heads["normed"].with_record(tuned=tuned)})
    assert drawing.svg()


def test_rows_weigh_the_same_within_a_class_and_classes_within_a_group() -> None:
    labels = np.array([0, 0, 1, 2, -1, 2])
    weights = measured(labels, {"many": np.array([1, 1, 0, 0], bool), "few": np.array([0, 0, 0, 1], bool)})
    assert list(weights) == ["balanced", "many"]  # no row is of a class few
    np.testing.assert_allclose(weights["many"], [0.25, 0.25, 0.5, 0, 0, 0])
    np.testing.assert_allclose(weights["balanced"], np.array([1, 1, 2, 1, 0, 1]) / 6)


def test_torch_groups_are_not_needed(problem: Any, heads: dict[str, LinearHead]) -> None:
    rows = (problem.val_features, torch.as_tensor(problem.val_labels), "val")
    (drawing,) = tau_curves({"normed": heads["normed"]}, problem.head, rows, None, {})
    assert drawing.columns == ["tau from", "tau to", "balanced"]
