"""DisAlign: its gradient is autograd's, it starts at the joint head, and without a gate it is a plain rescaling."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from rebalance import GatedHead, LinearHead
from rebalance.methods import disalign
from rebalance.methods.disalign import GatedObjective
from rebalance.rows import need_rows
from rebalance.solving.objective import class_weights
from rebalance.solving.shares import power_shares
from rebalance.solving.spread import largest_deviation


def stated(problem: Any, scale: Any, offset: Any, gate: Any, centred_bias: Any, rho: float, decay: float) -> Any:
    x = problem.features.double()
    z = x @ problem.head.weight.double().T + problem.head.bias.double()
    s = torch.sigmoid((x - x.mean(0)) @ gate + centred_bias)[:, None]
    u = s * (scale * z + offset) + (1 - s) * z
    penalty = scale.square().sum() + offset.square().sum() + gate.square().sum() + centred_bias**2
    return cross_entropy(u, problem.labels, weight=problem.counts.double() ** -rho) + decay / 2 * penalty


def objective(problem: Any, rho: float, decay: float) -> GatedObjective:
    rows = need_rows(problem.head, problem.features, problem.labels)
    weights = class_weights(rows.labels, rows.counts, power_shares(rows.counts, rho))
    return GatedObjective(problem.head, rows, weights, decay=decay)


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.floats(0, 2), st.floats(0, 1))
def test_value_and_gradient_are_autograds(problem: Any, seed: int, rho: float, decay: float) -> None:
    ours = objective(problem, rho, decay)
    at = torch.randn(ours.start().shape, generator=torch.Generator().manual_seed(seed))
    value, gradient = ours(at)
    length = largest_deviation(need_rows(problem.head, problem.features, problem.labels))
    free = at.double().requires_grad_()
    expected = stated(problem, free[:5], free[5:10], free[10:18] / length, free[18], rho, decay)
    expected.backward()
    assert free.grad is not None
    # Logits of up to 40 in float32.
    torch.testing.assert_close(value, expected.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient.double(), free.grad, rtol=1e-3, atol=1e-4)


def test_logits_too_many_to_keep_are_computed_again(problem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    at = torch.randn(19, generator=torch.Generator().manual_seed(0))
    kept = objective(problem, 1.2, 0.1)(at)
    monkeypatch.setattr(sys.modules[disalign.__module__], "KEEP", 0)
    again = objective(problem, 1.2, 0.1)(at)
    torch.testing.assert_close(again, kept)


def test_the_start_is_the_joint_head(problem: Any) -> None:
    lazy = disalign(problem.head, problem.features, problem.labels, tol=1e9)
    assert isinstance(lazy, GatedHead)
    torch.testing.assert_close(lazy(problem.features), problem.head(problem.features))


@pytest.mark.parametrize("rho", [0.0, 1.2])
def test_where_it_ends_nothing_falls_any_more(problem: Any, rho: float) -> None:
    out = disalign(problem.head, problem.features, problem.labels, rho=rho, weight_decay=1e-2, tol=1e-4)
    assert isinstance(out, GatedHead)
    assert out.record["solver"]["converged"]
    centred = out.gate_bias.double() + out.gate.double() @ problem.features.double().mean(0)
    free = [each.double().requires_grad_() for each in (out.scale, out.offset, out.gate, centred)]
    value = stated(problem, *free, rho, 1e-2)
    value.backward()
    assert float(value.detach()) == pytest.approx(out.record["solver"]["objective"], rel=1e-5)
    before = stated(problem, torch.ones(5), torch.zeros(5), torch.zeros(8).double(), torch.zeros(()), rho, 1e-2)
    assert float(value.detach()) < float(before)
    for each in free:
        assert each.grad is not None
        assert float(each.grad.abs().max()) < 2e-3  # a gate's is that of its parameter times the features' deviation
    assert bool(out.gate.any())


def test_much_decay_leaves_no_gate_and_no_correction(problem: Any) -> None:
    out = disalign(problem.head, problem.features, problem.labels, weight_decay=1e4, tol=1e-6)
    assert isinstance(out, GatedHead)
    assert max(float(each.abs().max()) for each in (out.scale, out.offset, out.gate)) < 1e-3
    # With a share of one half, half of the joint head's logits is what is left.
    torch.testing.assert_close(out(problem.features), problem.head(problem.features) / 2, rtol=0, atol=2e-2)


def test_a_class_without_rows_loses_where_the_gate_is_open(problem: Any) -> None:
    labels = torch.where(problem.labels == 1, -1, problem.labels)
    out = disalign(problem.head, problem.features, labels)
    assert isinstance(out, GatedHead)
    corrected = out.scale * problem.head(problem.val_features) + out.offset
    assert not bool((corrected.argmax(1) == 1).any())
    assert bool((problem.head(problem.val_features).argmax(1) == 1).any())


def test_features_that_are_all_the_same_survive(problem: Any) -> None:
    out = disalign(problem.head, torch.ones(110, 8), problem.labels)
    assert bool(torch.isfinite(out(problem.features)).all())


def test_wrong_values_are_refused(problem: Any, refuses: Any) -> None:
    for option, value in (("rho", -1.0), ("weight_decay", -1.0), ("tol", 0.0)):
        with refuses(option):
            disalign(problem.head, problem.features, problem.labels, **{option: value})
    with refuses("all weights of the head are 0"):
        disalign(LinearHead(torch.zeros(5, 8)), problem.features, problem.labels)
