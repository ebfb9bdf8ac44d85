"""Losses for a whole network: against plain loops, PyTorch and the identities of the papers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy

from rebalance.losses import LOSSES, balanced_softmax, class_balanced, focal, ldam, logit_adjusted, plain

COUNTS = [60, 30, 12, 5, 3]
LABELS = torch.tensor([0, 1, 2, 3, 4, 0, 0, 4])

every_loss = pytest.mark.parametrize("name", LOSSES)
seeds = given(st.integers(0, 99))


def logits(seed: int = 0, size: float = 3.0) -> Tensor:
    rows = torch.randn(len(LABELS), len(COUNTS), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return size * rows


def close(actual: Tensor, expected: Tensor | float) -> None:
    # Computed in float32, from logits of up to about 30.
    torch.testing.assert_close(actual, torch.as_tensor(expected, dtype=actual.dtype), rtol=1e-5, atol=1e-5)


@every_loss
def test_its_gradient_is_the_one_of_its_values(name: str) -> None:
    loss = LOSSES[name](COUNTS, epochs=1)
    # In float32: a step of 0.01 leaves errors of the third derivative and of rounding, both below 1e-4.
    z = logits().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss(z, LABELS), z, eps=1e-2, atol=2e-4, rtol=1e-3)


@every_loss
def test_parts_of_a_batch_average_to_the_whole(name: str) -> None:
    """As processes do that divide a batch."""
    loss, z = LOSSES[name](COUNTS, epochs=1), logits()
    parts = [(len(rows) / len(LABELS)) * loss(z[rows], LABELS[rows]) for rows in torch.arange(8).split(3)]
    close(sum(parts, torch.tensor(0.0)), float(loss(z, LABELS)))


@every_loss
def test_it_is_a_scalar_of_the_logits_type_and_finite_for_large_logits(name: str) -> None:
    loss = LOSSES[name](COUNTS, epochs=1)
    for dtype in (torch.float32, torch.float64):
        z = logits(size=1e4).to(dtype).requires_grad_()
        value = loss(z, LABELS)
        assert (value.shape, value.dtype) == ((), dtype)
        value.backward()
        assert z.grad is not None
        assert torch.isfinite(value)
        assert torch.isfinite(z.grad).all()


@every_loss
def test_counts_are_checked(name: str, refuses: Any) -> None:
    for counts, says in (([0, 0], "counts are all 0"), ([1, -1], "class 1 is -1"), ([], "counts")):
        with refuses(says):
            LOSSES[name](counts, epochs=1)


@seeds
def test_plain_is_cross_entropy(seed: int) -> None:
    z = logits(seed)
    assert torch.equal(plain(COUNTS, epochs=1)(z, LABELS), cross_entropy(z, LABELS))
    smooth = plain(COUNTS, epochs=1, smoothing=0.1)(z, LABELS)
    target = torch.nn.functional.one_hot(LABELS, 5) * 0.9 + 0.1 / 5
    close(smooth, float(-(target * torch.log_softmax(z, 1)).sum(1).mean()))


@seeds
def test_focal_is_the_formula_and_cross_entropy_without_gamma(seed: int) -> None:
    z = logits(seed)
    p = torch.softmax(z, 1)[torch.arange(8), LABELS]
    close(focal(COUNTS, epochs=1)(z, LABELS), float((-((1 - p) ** 2) * p.log()).mean()))
    close(focal(COUNTS, epochs=1, gamma=0)(z, LABELS), float(cross_entropy(z, LABELS)))


def effective_weights(beta: float) -> Tensor:
    """The plain loop; scaled so that they are one on average over the training rows."""
    each = [(1 - beta) / (1 - beta**n) for n in COUNTS]
    mean = sum(n * v for n, v in zip(COUNTS, each, strict=True)) / sum(COUNTS)
    return torch.tensor([v / mean for v in each], dtype=torch.float64)


@seeds
def test_class_balanced_weighs_by_the_effective_number(seed: int) -> None:
    z = logits(seed)
    expected = cross_entropy(z, LABELS, weight=effective_weights(0.99), reduction="sum") / len(LABELS)
    close(class_balanced(COUNTS, epochs=1, beta=0.99)(z, LABELS), float(expected))
    close(class_balanced(COUNTS, epochs=1, beta=0)(z, LABELS), float(cross_entropy(z, LABELS)))


@seeds
def test_focal_takes_the_same_weights(seed: int) -> None:
    z = logits(seed)
    p = torch.softmax(z, 1)[torch.arange(8), LABELS]
    expected = (-effective_weights(0.99)[LABELS] * (1 - p) * p.log()).mean()
    close(focal(COUNTS, epochs=1, gamma=1, beta=0.99)(z, LABELS), float(expected))


@seeds
def test_balanced_softmax_is_cross_entropy_of_the_logits_and_the_log_counts(seed: int) -> None:
    z = logits(seed)
    expected = cross_entropy(z + torch.tensor(COUNTS, dtype=torch.float64).log(), LABELS)
    close(balanced_softmax(COUNTS, epochs=1)(z, LABELS), float(expected))
    close(logit_adjusted(COUNTS, epochs=1)(z, LABELS), float(expected))
    half = cross_entropy(z + 0.5 * torch.tensor(COUNTS, dtype=torch.float64).log(), LABELS)
    close(logit_adjusted(COUNTS, epochs=1, tau=0.5)(z, LABELS), float(half))


@seeds
def test_ldam_takes_the_margin_off_the_true_class(seed: int) -> None:
    z = 30 * torch.tanh(logits(seed))  # scaled cosines
    margins = [0.5 * (3 / n) ** 0.25 for n in COUNTS]
    losses = []
    for row, label in zip(z.tolist(), LABELS.tolist(), strict=True):
        row[label] -= 30 * margins[label]
        largest = max(row)
        losses.append(math.log(sum(math.exp(u - largest) for u in row)) + largest - row[label])
    loss = ldam(COUNTS, epochs=5)
    close(loss(z, LABELS), sum(losses) / len(losses))
    close(ldam(COUNTS, epochs=5, max_margin=0)(z, LABELS), float(cross_entropy(z, LABELS)))


def test_ldam_weighs_rows_in_the_last_fifth_of_the_epochs() -> None:
    z, loss = logits(), ldam(COUNTS, epochs=10, max_margin=0)
    weighted = cross_entropy(z, LABELS, weight=effective_weights(0.9999), reduction="sum") / len(LABELS)
    for epoch in range(10):
        loss.set_epoch(epoch)
        close(loss(z, LABELS), float(weighted if epoch >= 8 else cross_entropy(z, LABELS)))
    reference = ldam(COUNTS, epochs=200, max_margin=0)
    values = []
    for epoch in (159, 160):
        reference.set_epoch(epoch)
        values.append(float(reference(z, LABELS)))
    assert values[0] != values[1]  # the reference's epoch 160 of 200


def test_only_ldam_wants_scaled_cosines() -> None:
    scales = {name: getattr(make(COUNTS, epochs=1), "scale", None) for name, make in LOSSES.items()}
    assert {name for name, scale in scales.items() if scale is not None} == {"ldam"}
    assert ldam(COUNTS, epochs=1, scale=16.0).scale == 16.0


def test_a_class_without_rows_harms_no_other() -> None:
    for make in LOSSES.values():
        loss = make([10, 0, 5], epochs=1)
        z = torch.randn(4, 3, requires_grad=True)
        loss(z, torch.tensor([0, 2, 2, 0])).backward()
        assert z.grad is not None
        assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize(
    ("make", "options", "says"),
    [
        (plain, {"smoothing": 1.0}, "smoothing is 1.0"),
        (focal, {"gamma": -1.0}, "gamma is -1.0"),
        (class_balanced, {"beta": 1.5}, "beta is 1.5"),
        (logit_adjusted, {"tau": math.nan}, "tau is nan"),
        (ldam, {"max_margin": -0.1}, "max_margin is -0.1"),
        (ldam, {"scale": 0.0}, "scale 0.0"),
    ],
)
def test_values_out_of_range_are_refused(
    make: Callable[..., Any], options: dict[str, float], says: str, refuses: Any
) -> None:
    with refuses(says):
        make(COUNTS, epochs=1, **options)


@pytest.mark.cuda
@every_loss
def test_a_gpu_computes_the_same(name: str) -> None:
    loss, z = LOSSES[name](COUNTS, epochs=1), logits().float()
    on_cpu = loss(z, LABELS)
    # Sums in another order.
    torch.testing.assert_close(loss(z.cuda(), LABELS.cuda()).cpu(), on_cpu, rtol=1e-5, atol=1e-5)
