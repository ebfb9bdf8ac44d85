"""Values and gradients against independent statements in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rebalance.classes import class_counts
from rebalance.solving.loss import SoftmaxLoss
from rebalance.solving.objective import LinearObjective, balanced_weights, class_weights

LABELS = torch.tensor([0, 2, 1, -1, 0, 2, 0])
LOSSES = {
    "plain": SoftmaxLoss(),
    "offsets": SoftmaxLoss(offsets=torch.tensor([1.0, -0.5, 2.0])),
    "factors": SoftmaxLoss(factors=torch.tensor([1.0, 0.5, 2.0])),
    "margins": SoftmaxLoss(margins=torch.tensor([0.0, 0.5, 0.2])),
    "smoothing": SoftmaxLoss(smoothing=torch.tensor([0.4, 0.0, 0.1])),
    "focal": SoftmaxLoss(focal=2.0),
}
some_labels = st.lists(st.integers(-1, 5), min_size=1, max_size=40).filter(lambda each: max(each) >= 0)


def rows(seed: int = 0, width: int = 4) -> Tensor:
    return torch.randn(len(LABELS), width, generator=torch.Generator().manual_seed(seed))


def weights() -> Tensor:
    return balanced_weights(LABELS, class_counts(LABELS, 3))


def an_objective(features: Tensor, **options: Any) -> LinearObjective:
    return LinearObjective(features, LABELS, weights(), features.mean(0).float(), num_classes=3, **options)


def stated_loss(loss: SoftmaxLoss, logits: Tensor) -> Tensor:
    """The definition over the labelled rows, in float64."""
    known = LABELS >= 0
    own = torch.nn.functional.one_hot(LABELS[known], 3).double()
    u = logits[known]
    u = u if loss.factors is None else u * loss.factors
    u = u if loss.offsets is None else u + loss.offsets
    u = u if loss.margins is None else u - loss.margins * own
    share = torch.zeros(len(own), 1) if loss.smoothing is None else loss.smoothing[LABELS[known], None]
    log_p = torch.log_softmax(u, dim=1)
    terms = -(((1 - share) * own + share / 3) * log_p).sum(dim=1)
    terms = terms * (1 - (own * log_p).sum(dim=1).exp()) ** loss.focal
    return (weights()[known].double() * terms).sum()


@given(some_labels)
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


@given(some_labels, st.lists(st.floats(0.01, 100), min_size=7, max_size=7))
def test_classes_hold_the_shares_asked_for(labels: list[int], shares: list[float]) -> None:
    target = torch.tensor(labels)
    out = class_weights(target, class_counts(target, 7), torch.tensor(shares))
    assert out.dtype == torch.float32
    whole = sum(shares[k] for k in set(labels) - {-1})
    for k in set(labels) - {-1}:
        # Shares and weights are float32: 6e-8 each, and a sum of up to 40.
        assert float(out[target == k].double().sum()) == pytest.approx(shares[k] / whole, rel=1e-6)
    assert bool((out[target == -1] == 0).all())


def test_shares_like_the_counts_weigh_all_rows_alike() -> None:
    counts = class_counts(LABELS, 3)
    out = class_weights(LABELS, counts, counts)
    torch.testing.assert_close(out, torch.where(LABELS >= 0, 1 / 6, 0.0))


def test_a_class_of_no_share_weighs_nothing() -> None:
    out = class_weights(LABELS, class_counts(LABELS, 3), torch.tensor([1.0, 0.0, 1.0]))
    assert not out[LABELS == 1].any()
    assert float(out.sum()) == pytest.approx(1, abs=1e-6)


def test_weights_need_a_label(refuses: Any) -> None:
    with refuses("no row has a label"):
        balanced_weights(torch.tensor([-1]), torch.zeros(3, dtype=torch.int64))


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_it_is_its_statement_in_uncentred_features(decay: float, loss: SoftmaxLoss) -> None:
    features = rows() + 3
    objective = an_objective(features, decay=decay, loss=loss)
    parameters = torch.randn(3 * 5, generator=torch.Generator().manual_seed(1))
    value, gradient = objective(parameters)

    exact = parameters.double().requires_grad_(True)
    weight, bias = exact[:12].view(3, 4), exact[12:]
    logits = (features - features.mean(0)).double() @ weight.T + bias
    expected = stated_loss(loss, logits) + decay / 2 * weight.square().sum()
    expected.backward()
    # The objective works in float32 on features of size 3; factors of 2 double what the logits lose.
    torch.testing.assert_close(value, expected.detach(), rtol=2e-5, atol=2e-6)
    torch.testing.assert_close(gradient.double(), exact.grad, rtol=1e-4, atol=5e-6)

    out_weight, out_bias = objective.split(parameters)
    torch.testing.assert_close((features @ out_weight.T + out_bias).double(), logits.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_it_has_the_slope_of_its_values(loss: SoftmaxLoss) -> None:
    """Central differences along random directions, no second implementation at all."""
    objective = an_objective(rows(), decay=0.1, loss=loss)
    generator = torch.Generator().manual_seed(2)
    at = torch.randn(15, generator=generator)
    _, gradient = objective(at)
    for _ in range(5):
        step = 0.02 * torch.nn.functional.normalize(torch.randn(15, generator=generator), dim=0)
        rise = float(objective(at + step)[0] - objective(at - step)[0]) / 2
        # Third derivatives of at most 20 here: 20 * 0.02^3 / 6 = 3e-5; float32 rounding below 1e-6.
        assert rise == pytest.approx(float(gradient @ step), abs=4e-5)


def test_zeros_start_at_the_log_of_the_classes() -> None:
    objective = an_objective(rows(), decay=0.5)
    start = objective.zeros()
    assert start.shape == (15,)
    assert not start.any()
    assert float(objective(start)[0]) == pytest.approx(np.log(3), rel=1e-6)


def test_only_the_weight_is_penalised() -> None:
    parameters = torch.randn(15, generator=torch.Generator().manual_seed(1))
    (free, no_slope), (held, slope) = (an_objective(rows(), decay=decay)(parameters) for decay in (0.0, 2.0))
    assert float(held - free) == pytest.approx(float(parameters[:12].double().square().sum()), rel=1e-9)
    torch.testing.assert_close(slope - no_slope, torch.cat([2 * parameters[:12], torch.zeros(3)]), rtol=1e-5, atol=1e-6)


@given(st.integers(0, 999), st.floats(-5, 5))
def test_join_and_split_undo_each_other(seed: int, shift: float) -> None:
    objective = an_objective(rows(seed) + shift, decay=0.0)
    generator = torch.Generator().manual_seed(seed)
    weight, bias = torch.randn(3, 4, generator=generator), torch.randn(3, generator=generator)
    again = objective.split(objective.join(weight, bias))
    assert torch.equal(again[0], weight)
    # A bias moves by a product of four terms of about 5 * 2 and back.
    torch.testing.assert_close(again[1], bias, rtol=0, atol=2e-5)
    parameters = torch.randn(15, generator=generator)
    torch.testing.assert_close(objective.join(*objective.split(parameters)), parameters, rtol=0, atol=2e-5)


def test_blocks_do_not_change_the_objective(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = an_objective(rows(), decay=0.1)
    at = torch.randn(15, generator=torch.Generator().manual_seed(3))
    gradient = torch.randn(15, generator=torch.Generator().manual_seed(4))
    whole, guess = objective(at), objective.preconditioner()(gradient)
    monkeypatch.setattr("rebalance.blocks.BLOCK_BYTES", 4 * 4 * 2)  # two rows a block
    for part, expected in zip(objective(at), whole, strict=True):
        # The same terms added up in another order.
        torch.testing.assert_close(part, expected, rtol=1e-5, atol=1e-5)
    # Where the processor has it the covariance is made in bfloat16, block by block: three digits of a few terms.
    away = torch.linalg.vector_norm(objective.preconditioner()(gradient) - guess)
    assert float(away) <= 0.03 * float(torch.linalg.vector_norm(guess))


def test_at_zero_with_equal_shares_a_step_is_nearly_newtons() -> None:
    """The Hessian there is C / K on vectors that sum to zero over the classes, as gradients do; ours has the factor
    of one class alone, 1/K (1 - 1/K), and so goes K / (K - 1) as far."""
    classes, width = 6, 3
    labels = torch.arange(10 * classes) % classes
    features = torch.randn(len(labels), width, generator=torch.Generator().manual_seed(0)).double()
    features += labels[:, None] * torch.tensor([0.3, -0.1, 0.2])
    mean, balanced = features.mean(0), balanced_weights(labels, class_counts(labels, classes))
    objective = LinearObjective(features, labels, balanced, mean.float(), num_classes=classes, decay=0.0)

    def stated(parameters: Tensor) -> Tensor:
        weight, bias = parameters[: classes * width].view(classes, width), parameters[classes * width :]
        return torch.nn.functional.cross_entropy((features - mean) @ weight.T + bias, labels)

    start = torch.zeros(classes * (width + 1), dtype=torch.float64)
    hessian = torch.autograd.functional.hessian(stated, start)
    _, gradient = objective(start.float())
    newton = torch.linalg.pinv(hessian, rcond=1e-9) @ gradient.double()
    step = objective.preconditioner()(gradient).double()
    # The covariance may be made in bfloat16, of three digits.
    away = torch.linalg.vector_norm(step * (classes - 1) / classes - newton)
    assert float(away) <= 0.03 * float(torch.linalg.vector_norm(newton))


def test_the_preconditioner_of_a_class_follows_its_share() -> None:
    """A class of a small share curves the objective less, so its gradient is worth a longer step."""
    counts = class_counts(LABELS, 3)
    share = torch.tensor([0.8, 0.15, 0.05])
    features = rows()
    given_weights = class_weights(LABELS, counts, share)
    objective = LinearObjective(features, LABELS, given_weights, features.mean(0), num_classes=3, decay=0.0)
    out = objective.preconditioner()(torch.cat([torch.zeros(12), torch.ones(3)]))
    torch.testing.assert_close(out[12:], 1 / (share * (1 - share)), rtol=1e-5, atol=0)
