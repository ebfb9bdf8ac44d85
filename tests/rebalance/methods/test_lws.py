"""LWS learns one factor a class and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rebalance import LinearHead, NormalizedHead
from rebalance.methods import lws

DECAY = 1e-2
TOL = 1e-4  # about where float32 logits end the line search


def fit(head: Any, features: Any, labels: Any, decay: float = DECAY, tol: float = TOL) -> LinearHead:
    return lws(head, features, labels, weight_decay=decay, tol=tol)


def scales_of(out: LinearHead, head: LinearHead) -> np.ndarray[Any, Any]:
    """The factors, read off the entries of each class's weight; they must agree with one another."""
    ratio = (out.weight.double() / head.weight.double()).numpy()
    np.testing.assert_allclose(ratio, ratio[:, :1].repeat(ratio.shape[1], 1), rtol=1e-5)
    return np.asarray(ratio[:, 0])


def objective(scales: Any, head: LinearHead, features: Any, labels: Any, decay: float) -> tuple[float, Any]:
    """Mean over classes of the class's mean cross-entropy of s (W x + b), plus decay / 2 |s|^2; and its gradient."""
    x, y = features.double().numpy(), labels.numpy()
    z = x @ head.weight.double().numpy().T + head.bias.double().numpy()
    t = z * scales
    log_p = t - t.max(1, keepdims=True)
    log_p = log_p - np.log(np.exp(log_p).sum(1, keepdims=True))
    present, rows = np.unique(y, return_counts=True)
    share = np.zeros(len(scales))
    share[present] = 1 / (len(present) * rows)
    value = -(share[y] * log_p[np.arange(len(y)), y]).sum() + decay / 2 * (scales**2).sum()
    p = np.exp(log_p)
    p[np.arange(len(y)), y] -= 1
    return float(value), (share[y][:, None] * p * z).sum(0) + decay * scales


@pytest.mark.parametrize("decay", [0.0, 1e-3, 1.0])
def test_the_factors_are_optimal(problem: Any, decay: float) -> None:
    out = fit(problem.head, problem.features, problem.labels, decay)
    assert out.record["solver"]["converged"]
    scales = scales_of(out, problem.head)
    _, start = objective(np.ones(5), problem.head, problem.features, problem.labels, decay)
    value, gradient = objective(scales, problem.head, problem.features, problem.labels, decay)
    # The solver's gradient is of float32 logits, the factors are read off rounded weights.
    assert np.abs(gradient).max() <= 3 * TOL * np.abs(start).max()
    assert value == pytest.approx(out.record["solver"]["objective"], rel=1e-5)
    for step in np.eye(5):
        assert objective(scales + 0.05 * step, problem.head, problem.features, problem.labels, decay)[0] > value
        assert objective(scales - 0.05 * step, problem.head, problem.features, problem.labels, decay)[0] > value


def test_it_starts_at_the_joint_head_and_is_no_worse(problem: Any) -> None:
    before, _ = objective(np.ones(5), problem.head, problem.features, problem.labels, DECAY)
    for tol in (0.5, 1e-2, 1e-4):
        out = fit(problem.head, problem.features, problem.labels, tol=tol)
        after, _ = objective(scales_of(out, problem.head), problem.head, problem.features, problem.labels, DECAY)
        assert after < before
    lazy = fit(problem.head, problem.features, problem.labels, tol=1.0)
    assert torch.equal(lazy.weight, problem.head.weight)


def test_the_bias_is_scaled_too(problem: Any) -> None:
    out = fit(problem.head, problem.features, problem.labels)
    scales = torch.from_numpy(scales_of(out, problem.head)).float()
    torch.testing.assert_close(out.bias, problem.head.bias * scales, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(out(problem.features), problem.head(problem.features) * scales, rtol=1e-4, atol=1e-4)


def test_much_decay_pulls_the_factors_to_zero(problem: Any) -> None:
    sizes = [
        float(np.linalg.norm(scales_of(fit(problem.head, problem.features, problem.labels, decay), problem.head)))
        for decay in (1e-3, 1e-1, 10.0)
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 0.3


def test_learning_again_changes_nothing(problem: Any) -> None:
    """Without decay the learned head's own factors are one; starting there it stays, and says it has converged."""
    once = fit(problem.head, problem.features, problem.labels, 0.0)
    twice = fit(once, problem.features, problem.labels, 0.0)
    np.testing.assert_allclose(scales_of(twice, once), 1, atol=1e-2)
    assert twice.record["solver"]["converged"]


def test_logits_that_are_not_kept_give_the_same_head(problem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = fit(problem.head, problem.features, problem.labels)
    monkeypatch.setitem(lws.__globals__, "KEEP", 0)
    monkeypatch.setattr("rebalance.blocks.BLOCK_BYTES", 4 * 8 * 13)
    again = fit(problem.head, problem.features.half(), problem.labels)
    # Blocks of another size add up in another order.
    torch.testing.assert_close(again.weight, kept.weight, rtol=1e-3, atol=1e-3)


def test_a_class_without_rows_stays_finite_and_loses(problem: Any) -> None:
    labels = torch.where(problem.labels == 2, -1, problem.labels)
    out = fit(problem.head, problem.features, labels)
    before, after = (float(head(problem.features[labels >= 0]).softmax(1)[:, 2].mean()) for head in (problem.head, out))
    assert after <= before


def test_rows_repeated_within_their_class_change_nothing(problem: Any) -> None:
    tail = problem.labels == 4
    features = torch.cat([problem.features, problem.features[tail]])
    labels = torch.cat([problem.labels, problem.labels[tail]])
    one, other = fit(problem.head, features, labels), fit(problem.head, problem.features, problem.labels)
    torch.testing.assert_close(one.weight, other.weight, rtol=1e-3, atol=1e-3)


def test_a_head_without_weights_has_nothing_to_scale(problem: Any, refuses: Any) -> None:
    with refuses("all weights", "lws"):
        fit(LinearHead(torch.zeros(5, 8)), problem.features, problem.labels)


def test_a_normalized_head_is_refused(problem: Any, refuses: Any) -> None:
    with refuses("lws", "NormalizedHead"):
        fit(NormalizedHead(torch.ones(5, 8)), problem.features, problem.labels)


def test_a_negative_decay_is_refused(problem: Any, refuses: Any) -> None:
    with refuses("weight_decay", "0 or more"):
        fit(problem.head, problem.features, problem.labels, -1.0)


def test_the_record_keeps_where_the_head_is_from(problem: Any) -> None:
    record = fit(problem.head, problem.features, problem.labels).record
    assert record["source"] == "test"
    assert record["method"] == "lws"
    assert record["hyperparameters"] == {"weight_decay": DECAY, "tol": TOL}
