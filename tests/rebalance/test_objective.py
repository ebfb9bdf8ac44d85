"""Values and gradients against independent statements in float64, and against automatic differentiation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rebalance.blocks import blocks
from rebalance.classes import class_counts
from rebalance.objective import LinearObjective, ScaleObjective, balanced_weights, cross_entropy

LABELS = torch.tensor([0, 2, 1, -1, 0, 2, 0])


def rows(seed: int = 0, width: int = 4) -> Tensor:
    return torch.randn(len(LABELS), width, generator=torch.Generator().manual_seed(seed))


def weights() -> Tensor:
    return balanced_weights(LABELS, class_counts(LABELS, 3))


def stated_loss(logits: Tensor, weights: Tensor) -> Tensor:
    """The definition, row by row."""
    terms = [
        w * (torch.logsumexp(z, 0) - z[y]) for z, y, w in zip(logits, LABELS, weights.double(), strict=True) if y >= 0
    ]
    return torch.stack(terms).sum()


@given(st.lists(st.integers(-1, 5), min_size=1, max_size=40).filter(lambda each: max(each) >= 0))
def test_every_class_with_rows_has_the_same_share(labels: list[int]) -> None:
    target = torch.tensor(labels)
    out = balanced_weights(target, class_counts(target, 7)).double()
    present = len(set(labels) - {-1})
    # float32 weights: a relative rounding of 6e-8 each.
    assert float(out.sum()) == pytest.approx(1, abs=1e-6)
    for k in set(labels) - {-1}:
        assert float(out[target == k].sum()) == pytest.approx(1 / present, rel=1e-6)
        assert len(set(out[target == k].tolist())) == 1
    assert bool((out[target == -1] == 0).all())


def test_weights_need_a_label(refuses: Any) -> None:
    with refuses("no row has a label"):
        balanced_weights(torch.tensor([-1]), torch.zeros(3, dtype=torch.int64))


def test_cross_entropy_is_its_definition_and_gradient_autograd() -> None:
    logits = rows(width=3).double().requires_grad_(True)
    value, gradient = cross_entropy(logits.detach(), LABELS, weights())
    expected = stated_loss(logits, weights())
    expected.backward()
    # Both in float64: rounding only.
    torch.testing.assert_close(value, expected.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, logits.grad, rtol=1e-7, atol=1e-9)


def test_cross_entropy_of_huge_logits_is_finite() -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]])
    value, gradient = cross_entropy(logits, torch.tensor([1, 1]), torch.tensor([0.5, 0.5]))
    assert float(value) == pytest.approx(1e4, rel=1e-6)
    assert gradient[0].tolist() == [0.5, -0.5, 0.0]
    assert gradient[1].abs().max() == 0


def test_cross_entropy_leaves_its_arguments_alone() -> None:
    logits, row_weights = rows(width=3), weights()
    before = logits.clone(), LABELS.clone(), row_weights.clone()
    cross_entropy(logits, LABELS, row_weights)
    assert all(torch.equal(a, b) for a, b in zip((logits, LABELS, row_weights), before, strict=True))


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_linear_objective_is_its_statement_in_uncentred_features(decay: float) -> None:
    features = rows() + 3
    mean = features.mean(0)
    objective = LinearObjective(features, LABELS, weights(), mean, num_classes=3, decay=decay)
    parameters = torch.randn(3 * 5, generator=torch.Generator().manual_seed(1))
    value, gradient = objective(parameters)

    exact = parameters.double().requires_grad_(True)
    weight, bias = exact[:12].view(3, 4), exact[12:]
    logits = (features - mean).double() @ weight.T + bias
    expected = stated_loss(logits, weights()) + decay / 2 * weight.square().sum()
    expected.backward()
    # The objective works in float32 on features of size 3.
    torch.testing.assert_close(value, expected.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient.double(), exact.grad, rtol=1e-4, atol=2e-6)

    out_weight, out_bias = objective.split(parameters)
    torch.testing.assert_close((features @ out_weight.T + out_bias).double(), logits.detach(), rtol=1e-4, atol=1e-5)


def test_linear_objective_has_the_slope_of_its_values() -> None:
    """Central differences along random directions, no second implementation at all."""
    features = rows().double()
    objective = LinearObjective(features, LABELS, weights(), features.mean(0).float(), num_classes=3, decay=0.1)
    generator = torch.Generator().manual_seed(2)
    at = torch.randn(15, generator=generator)
    _, gradient = objective(at)
    for _ in range(5):
        step = 0.05 * torch.nn.functional.normalize(torch.randn(15, generator=generator), dim=0)
        rise = float(objective(at + step)[0] - objective(at - step)[0]) / 2
        # Third-order term of the difference below 0.05^3 / 6 = 2e-5, float32 rounding below 1e-6.
        assert rise == pytest.approx(float(gradient @ step), abs=4e-5)


def test_zeros_start_at_the_log_of_the_classes() -> None:
    features = rows()
    objective = LinearObjective(features, LABELS, weights(), features.mean(0), num_classes=3, decay=0.5)
    start = objective.zeros()
    assert start.shape == (15,)
    assert not start.any()
    assert float(objective(start)[0]) == pytest.approx(np.log(3), rel=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_scale_objective_is_its_statement(decay: float) -> None:
    logits = 2 * rows(width=3)
    objective = ScaleObjective(lambda: blocks(logits, rows=2), LABELS, weights(), decay=decay)
    scales = torch.tensor([0.5, -1.5, 2.0])
    value, gradient = objective(scales)
    exact = scales.double().requires_grad_(True)
    expected = stated_loss(logits.double() * exact, weights()) + decay / 2 * exact.square().sum()
    expected.backward()
    torch.testing.assert_close(value, expected.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient.double(), exact.grad, rtol=1e-5, atol=1e-6)


def test_blocks_do_not_change_the_objective(monkeypatch: pytest.MonkeyPatch) -> None:
    features = rows()
    objective = LinearObjective(features, LABELS, weights(), features.mean(0), num_classes=3, decay=0.1)
    at = torch.randn(15, generator=torch.Generator().manual_seed(3))
    whole = objective(at)
    monkeypatch.setattr("rebalance.blocks.BLOCK_BYTES", 4 * 4 * 2)  # two rows a block
    for part, expected in zip(objective(at), whole, strict=True):
        # The same terms added up in another order.
        torch.testing.assert_close(part, expected, rtol=1e-6, atol=1e-6)
