"""Every loss against its definition in float64, its gradient against differentiation, and its limits."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rebalance.solving.loss import SoftmaxLoss

LABELS = torch.tensor([0, 2, 1, -1, 3, 2, 0])
WEIGHTS = torch.tensor([0.2, 0.1, 0.3, 0.0, 0.05, 0.15, 0.2])
OFFSETS = torch.tensor([0.5, -1.0, 0.0, 2.0])
FACTORS = torch.tensor([1.0, 0.3, -0.5, 2.0])
MARGINS = torch.tensor([0.1, 0.5, 0.0, 0.3])
SMOOTHING = torch.tensor([0.3, 0.0, 0.1, 1.0])

LOSSES = {
    "plain": SoftmaxLoss(),
    "offsets": SoftmaxLoss(offsets=OFFSETS),
    "factors": SoftmaxLoss(factors=FACTORS),
    "margins": SoftmaxLoss(margins=MARGINS),
    "smoothing": SoftmaxLoss(smoothing=SMOOTHING),
    "focal 0.5": SoftmaxLoss(focal=0.5),
    "focal 1": SoftmaxLoss(focal=1),
    "focal 2": SoftmaxLoss(focal=2),
    "focal 5": SoftmaxLoss(focal=5),
    "all but focal": SoftmaxLoss(offsets=OFFSETS, factors=FACTORS, margins=MARGINS, smoothing=SMOOTHING),
    "all but smoothing": SoftmaxLoss(offsets=OFFSETS, factors=FACTORS, margins=MARGINS, focal=1.5),
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
gammas = pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
logit_rows = st.lists(
    st.lists(st.floats(-30, 30, width=32), min_size=4, max_size=4), min_size=len(LABELS), max_size=len(LABELS)
)


def some_logits(seed: int = 0, scale: float = 2.0) -> Tensor:
    return scale * torch.randn(len(LABELS), 4, generator=torch.Generator().manual_seed(seed))


def stated(loss: SoftmaxLoss, logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """The definition, row by row, in float64."""
    total = torch.zeros((), dtype=torch.float64)
    for z, y, w in zip(logits.double(), labels.tolist(), weights.double(), strict=True):
        if y < 0:
            continue
        u = z if loss.factors is None else z * loss.factors
        u = u if loss.offsets is None else u + loss.offsets
        own = torch.nn.functional.one_hot(torch.tensor(y), len(z)).double()
        u = u if loss.margins is None else u - loss.margins * own
        share = 0.0 if loss.smoothing is None else loss.smoothing[y].double()
        log_p = u - torch.logsumexp(u, 0)
        row = -(((1 - share) * own + share / len(z)) * log_p).sum()
        if loss.focal:
            row = (-torch.expm1(log_p[y])) ** loss.focal * row
        total = total + w * row
    return total


def slope_of(loss: SoftmaxLoss, logits: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Value and gradient of the definition, by automatic differentiation."""
    exact = logits.double().requires_grad_(True)
    value = stated(loss, exact, labels, weights)
    (gradient,) = torch.autograd.grad(value, exact)
    return value.detach(), gradient


@every_loss
@settings(max_examples=40)
@given(rows=logit_rows)
def test_a_loss_is_its_definition_and_its_gradient_autograd(loss: SoftmaxLoss, rows: list[list[float]]) -> None:
    logits = torch.tensor(rows)
    value, gradient = loss(logits, LABELS, WEIGHTS)
    expected, slope = slope_of(loss, logits, LABELS, WEIGHTS)
    # Adjusted logits of at most 62 in float32 err by 4e-6, and so do their softmax's logarithms.
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)
    # A power below one has an infinite slope where p_y is 1: there only the autograd statement is not a number.
    known = torch.isfinite(slope)
    torch.testing.assert_close(gradient.double()[known], slope[known], rtol=1e-4, atol=1e-5)
    assert bool(torch.isfinite(gradient).all())


@every_loss
def test_a_gradient_is_the_slope_of_the_values(loss: SoftmaxLoss) -> None:
    """Central differences of the loss itself: no second statement at all."""
    logits, h = some_logits(), 1e-2
    _, gradient = loss(logits, LABELS, WEIGHTS)
    for i in range(logits.numel()):
        step = torch.zeros(logits.numel())
        step[i] = h
        up, down = (loss(logits + sign * step.view_as(logits), LABELS, WEIGHTS)[0] for sign in (1, -1))
        # Third derivatives below 20 times a weight of 0.3: 20 * 0.3 * h^2 / 6; float32 rounding 1e-7 / h.
        assert float(up - down) / (2 * h) == pytest.approx(float(gradient.flatten()[i]), abs=1.2e-4)


@every_loss
def test_the_kinds_of_what_comes_back(loss: SoftmaxLoss) -> None:
    value, gradient = loss(some_logits(), LABELS, WEIGHTS)
    assert (value.dtype, value.shape) == (torch.float64, ())
    assert (gradient.dtype, gradient.shape) == (torch.float32, (len(LABELS), 4))


@every_loss
def test_the_arguments_are_left_alone(loss: SoftmaxLoss) -> None:
    given_arrays = some_logits(), LABELS.clone(), WEIGHTS.clone(), OFFSETS, FACTORS, MARGINS, SMOOTHING
    before = [each.clone() for each in given_arrays]
    loss(*given_arrays[:3])
    assert all(torch.equal(one, other) for one, other in zip(given_arrays, before, strict=True))


@every_loss
def test_a_row_without_a_label_changes_nothing(loss: SoftmaxLoss) -> None:
    logits, known = some_logits(), LABELS >= 0
    value, gradient = loss(logits, LABELS, WEIGHTS)
    without, rows = loss(logits[known], LABELS[known], WEIGHTS[known])
    assert float(value) == pytest.approx(float(without), rel=1e-12)
    torch.testing.assert_close(gradient[known], rows, rtol=1e-6, atol=1e-8)
    assert not gradient[~known].any()


@every_loss
def test_the_order_of_classes_does_not_matter(loss: SoftmaxLoss) -> None:
    new_id = torch.tensor([2, 0, 3, 1])
    old_id = new_id.argsort()
    names = ("offsets", "factors", "margins", "smoothing")
    moved = {name: None if getattr(loss, name) is None else getattr(loss, name)[old_id] for name in names}
    labels = torch.where(LABELS >= 0, new_id[LABELS], -1)
    value, gradient = loss(some_logits(), LABELS, WEIGHTS)
    other, turned = SoftmaxLoss(**moved, focal=loss.focal)(some_logits()[:, old_id], labels, WEIGHTS)
    assert float(other) == pytest.approx(float(value), rel=1e-6)
    torch.testing.assert_close(turned[:, new_id], gradient, rtol=1e-5, atol=1e-7)


@every_loss
def test_one_number_added_to_a_row_changes_nothing(loss: SoftmaxLoss) -> None:
    """The adjusted logits matter up to a constant a row, so their gradient sums to zero."""
    factors = torch.ones(4) if loss.factors is None else loss.factors
    logits = some_logits()
    value, gradient = loss(logits, LABELS, WEIGHTS)
    # Float32 sums of four terms of at most 3.
    assert float((gradient / factors).sum(dim=1).abs().max()) <= 2e-6
    shifted, _ = loss(logits + 3 / factors, LABELS, WEIGHTS)
    assert float(shifted) == pytest.approx(float(value), rel=1e-5)


@pytest.mark.parametrize("labels", [[0, 1], [1, 1], [2, 0]])
@every_loss
def test_extreme_logits_are_finite_and_right(loss: SoftmaxLoss, labels: list[int]) -> None:
    logits = torch.tensor([[1e30, -1e30, 0.0, 1.0], [-1e4, 1e4, 0.0, 88.0]])
    value, gradient = loss(logits, torch.tensor(labels), torch.tensor([0.5, 0.5]))
    # The statement in float64 has its own overflow in the slopes; its value is exact.
    expected = stated(loss, logits, torch.tensor(labels), torch.tensor([0.5, 0.5]))
    assert float(value) == pytest.approx(float(expected), rel=1e-6)
    assert bool(torch.isfinite(gradient).all())


def test_extreme_logits_have_the_gradient_of_a_step() -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]])
    value, gradient = SoftmaxLoss()(logits, torch.tensor([1, 1]), torch.tensor([0.5, 0.5]))
    assert float(value) == pytest.approx(1e4, rel=1e-6)
    assert gradient.tolist() == [[0.5, -0.5, 0.0], [0.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    "same",
    [
        SoftmaxLoss(offsets=torch.zeros(4)),
        SoftmaxLoss(factors=torch.ones(4)),
        SoftmaxLoss(margins=torch.zeros(4)),
        SoftmaxLoss(smoothing=torch.zeros(4)),
        SoftmaxLoss(focal=0.0),
        SoftmaxLoss(focal=0),
    ],
    ids=["offsets", "factors", "margins", "smoothing", "focal", "focal as an integer"],
)
def test_nothing_adjusted_is_the_plain_loss(same: SoftmaxLoss) -> None:
    value, gradient = same(some_logits(), LABELS, WEIGHTS)
    expected, slope = SoftmaxLoss()(some_logits(), LABELS, WEIGHTS)
    assert torch.equal(value, expected)
    assert torch.equal(gradient, slope)


@gammas
def test_focal_loss_of_a_certain_row_is_nothing(gamma: float) -> None:
    value, gradient = SoftmaxLoss(focal=gamma)(
        torch.tensor([[200.0, 0.0], [0.0, 200.0]]), torch.tensor([0, 1]), torch.ones(2)
    )
    assert float(value) == 0
    assert not gradient.any()


@gammas
@pytest.mark.parametrize("gap", [5.0, 10.0, 14.0])
def test_focal_loss_is_exact_where_a_row_is_nearly_certain(gamma: float, gap: float) -> None:
    """1 - p_y is 1e-6 there: taken from a rounded p_y it would have one digit."""
    logits, labels = torch.tensor([[gap, 0.0]]), torch.tensor([0])
    value, gradient = SoftmaxLoss(focal=gamma)(logits, labels, torch.ones(1))
    expected, slope = slope_of(SoftmaxLoss(focal=gamma), logits, labels, torch.ones(1))
    # The logarithm of p_y keeps 1e-7 / (1 - p_y) of relative precision, seven powers of gamma.
    error = 2e-7 / float(torch.sigmoid(torch.tensor(-gap)))
    assert float(value) == pytest.approx(float(expected), rel=(1 + gamma) * max(error, 1e-5), abs=1e-30)
    # p - target loses the same digits again.
    assert gradient[0, 0] == pytest.approx(float(slope[0, 0]), rel=(2 + gamma) * max(error, 1e-5), abs=1e-30)


@given(rows=logit_rows)
def test_a_larger_gamma_weighs_less(rows: list[list[float]]) -> None:
    values = [float(SoftmaxLoss(focal=gamma)(torch.tensor(rows), LABELS, WEIGHTS)[0]) for gamma in (0, 0.5, 1, 2, 5)]
    assert all(low <= high * (1 + 1e-6) + 1e-12 for high, low in pairwise(values))
    assert min(values) >= 0


@pytest.mark.parametrize("share", [0.1, 0.5, 0.98, 1.0])
def test_smoothed_targets_are_where_the_loss_is_least(share: float) -> None:
    """At the logarithm of the target the gradient vanishes: probabilities are pulled there and no further."""
    target = (1 - share) * torch.eye(4) + share / 4
    logits = target.log()
    _, gradient = SoftmaxLoss(smoothing=torch.full((4,), share))(logits, torch.arange(4), torch.ones(4))
    assert float(gradient.abs().max()) <= 2e-7


def test_the_smoothing_is_that_of_the_true_class() -> None:
    smoothing = torch.tensor([0.0, 0.5])
    logits = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    value, _ = SoftmaxLoss(smoothing=smoothing)(logits, torch.tensor([0, 1]), torch.tensor([1.0, 0.0]))
    plain, _ = SoftmaxLoss()(logits, torch.tensor([0, 1]), torch.tensor([1.0, 0.0]))
    assert float(value) == float(plain)


def test_a_margin_is_paid_by_the_true_class_alone() -> None:
    logits = torch.zeros(1, 2)
    value, _ = SoftmaxLoss(margins=torch.tensor([2.0, 7.0]))(logits, torch.tensor([0]), torch.ones(1))
    assert float(value) == pytest.approx(float(torch.tensor(1 + torch.e**2).log()), rel=1e-6)


def test_log_counts_as_offsets_cancel_the_prior() -> None:
    """A row at the logits -log n has equal probabilities under balanced softmax."""
    counts = torch.tensor([100.0, 10.0, 1.0, 0.5])
    value, _ = SoftmaxLoss(offsets=counts.log())(-counts.log()[None], torch.tensor([2]), torch.ones(1))
    assert float(value) == pytest.approx(float(torch.tensor(4.0).log()), rel=1e-6)


def test_values_are_summed_in_double_precision() -> None:
    """Float32 would lose each of the small terms beside the large one."""
    logits = torch.tensor([[0.0, 2.0**24]] + [[0.0, 0.0]] * 1000)
    value, _ = SoftmaxLoss()(logits, torch.zeros(1001, dtype=torch.int64), torch.ones(1001))
    assert float(value) == pytest.approx(2**24 + 1000 * float(torch.tensor(2.0).double().log()), rel=1e-9)


def test_focal_loss_of_smoothed_targets_is_refused(refuses: Any) -> None:
    with refuses("focal", "smooth"):
        SoftmaxLoss(focal=1.0, smoothing=SMOOTHING)


def test_moving_makes_float32_and_keeps_the_rest() -> None:
    loss = SoftmaxLoss(offsets=OFFSETS.double(), margins=MARGINS.half(), focal=2.0)
    moved = loss.to(torch.device("cpu"))
    assert torch.equal(moved.offsets, OFFSETS)
    assert moved.margins.dtype == torch.float32
    assert (moved.focal, moved.factors, moved.smoothing) == (2.0, None, None)
    assert loss.offsets.dtype == torch.float64
