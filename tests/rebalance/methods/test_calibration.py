"""What all calibrations promise: optimal on their rows, never worse, for every type of head."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from rebalance import GatedHead, LinearHead, NormalizedHead
from rebalance.methods import bias_corrected_temperature, ncm, temperature, vector_scaling
from rebalance.methods.calibration import FLATTEST, rescaled

CALIBRATIONS = (temperature, bias_corrected_temperature, vector_scaling)
every_calibration = pytest.mark.parametrize("method", CALIBRATIONS)


def loss(head: LinearHead, problem: Any) -> float:
    return float(cross_entropy(head(problem.val_features).double(), problem.val_labels))


def heads(problem: Any) -> list[LinearHead]:
    generator = torch.Generator().manual_seed(0)
    weight, bias = problem.head.weight, problem.head.bias
    return [
        problem.head,
        NormalizedHead(weight, bias, center=problem.features.mean(0)),
        GatedHead(weight, bias, scale=torch.rand(5, generator=generator), offset=torch.randn(5, generator=generator),
                  gate=torch.randn(8, generator=generator)),
    ]  # fmt: skip


@every_calibration
@pytest.mark.parametrize("kind", range(3))
@pytest.mark.parametrize("size", [0.05, 1.0, 30.0])
def test_the_mean_loss_is_never_above_the_heads_own(method: Any, kind: int, size: float, problem: Any) -> None:
    head = rescaled(heads(problem)[kind], torch.full((5,), size))
    out = method(head, problem.val_features, problem.val_labels)
    assert type(out) is type(head)
    assert loss(out, problem) < loss(head, problem)
    assert out.record["solver"]["converged"]


@settings(max_examples=20)
@given(st.sampled_from(CALIBRATIONS), st.integers(0, 2**31))
def test_no_small_change_of_the_logits_is_better(problem: Any, method: Any, seed: int) -> None:
    out = method(problem.head, problem.val_features, problem.val_labels, weight_decay=0.0, tol=1e-4)
    logits = out(problem.val_features).double()
    generator = torch.Generator().manual_seed(seed)
    change = torch.randn(2, 5, generator=generator).double()
    if method is not vector_scaling:
        change[0] = change[0, 0]
    if method is temperature:
        change[1] = 0
    for step in (-0.05, 0.05):
        moved = (1 + step * change[0]) * logits + step * change[1]
        assert float(cross_entropy(moved, problem.val_labels)) > float(cross_entropy(logits, problem.val_labels)) - 1e-5


@every_calibration
def test_much_decay_leaves_the_head(method: Any, problem: Any) -> None:
    out = method(problem.head, problem.val_features, problem.val_labels, weight_decay=1e6)
    torch.testing.assert_close(out.weight, problem.head.weight, rtol=1e-4, atol=0)
    torch.testing.assert_close(out.bias, problem.head.bias, rtol=1e-4, atol=1e-4)


@every_calibration
def test_a_head_right_on_every_row_keeps_finite_logits(method: Any, problem: Any) -> None:
    features, head = torch.eye(5).repeat(4, 1), LinearHead(2 * torch.eye(5))
    out = method(head, features, torch.arange(5).repeat(4))
    assert bool(torch.isfinite(out.weight).all())
    assert float(out(features).max()) > 2


@every_calibration
@pytest.mark.parametrize("rows", [[2], [0, 0, 0], [0, 1, 3, 4]])
def test_classes_without_rows_and_a_single_row(method: Any, rows: list[int], problem: Any) -> None:
    out = method(problem.head, problem.val_features[: len(rows)], torch.tensor(rows))
    logits = out(problem.val_features)
    assert bool(torch.isfinite(logits).all())
    assert float(logits.abs().max()) < 1e3


@every_calibration
def test_rows_of_a_class_that_is_never_predicted_are_left_out(method: Any, problem: Any, refuses: Any) -> None:
    head = ncm(None, problem.features, torch.where(problem.labels == 2, 0, problem.labels), transform="cl2n")
    out = method(head, problem.val_features, problem.val_labels)
    kept = problem.val_labels != 2
    expected = method(head, problem.val_features[kept], problem.val_labels[kept])
    torch.testing.assert_close(out(problem.val_features), expected(problem.val_features), rtol=1e-4, atol=1e-3)
    assert not bool((out(problem.val_features).argmax(1) == 2).any())
    with refuses("no row is of a class that the head ever predicts", method.__name__):
        method(head, problem.val_features[~kept], problem.val_labels[~kept])


@pytest.mark.parametrize("method", [temperature, bias_corrected_temperature])
def test_a_head_worse_than_chance_gets_the_flattest_logits(method: Any, problem: Any) -> None:
    head = LinearHead(-problem.head.weight, -problem.head.bias)
    out = method(head, problem.val_features, problem.val_labels)
    assert out.record["temperature"] == pytest.approx(1 / FLATTEST)
    torch.testing.assert_close(out.weight, FLATTEST * head.weight)
    assert loss(out, problem) < loss(head, problem)


@every_calibration
def test_wrong_values_are_refused(method: Any, problem: Any, refuses: Any) -> None:
    for option, value in (("weight_decay", -1.0), ("weight_decay", float("inf")), ("tol", 0.0)):
        with refuses(option):
            method(problem.head, problem.val_features, problem.val_labels, **{option: value})


def test_rescaling_multiplies_the_logits_of_every_type_of_head(problem: Any) -> None:
    factors = torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0])
    for head in heads(problem):
        out = rescaled(head, factors)
        torch.testing.assert_close(out(problem.features), factors * head(problem.features), rtol=1e-4, atol=1e-4)
