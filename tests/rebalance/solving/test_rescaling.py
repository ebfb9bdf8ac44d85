"""Values and gradients of the rescaled logits against their statement in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from rebalance import LinearHead
from rebalance.blocks import blocks
from rebalance.classes import class_counts
from rebalance.solving.loss import SoftmaxLoss
from rebalance.solving.objective import balanced_weights
from rebalance.solving.rescaling import RescaledObjective, logit_blocks

LABELS = torch.tensor([0, 2, 1, -1, 0, 2, 0])
UNIT = torch.tensor([0.5, 2.0, 1.5])


def logits() -> Tensor:
    return 2 * torch.randn(len(LABELS), 3, generator=torch.Generator().manual_seed(0))


def weights() -> Tensor:
    return balanced_weights(LABELS, class_counts(LABELS, 3))


def an_objective(factors: int, offsets: int, **options: Any) -> RescaledObjective:
    pull = torch.full((factors + offsets,), 0.7)
    z = logits()
    return RescaledObjective(
        lambda: blocks(z, rows=2),
        LABELS,
        weights(),
        num_classes=3,
        factors=factors,
        offsets=offsets,
        pull=pull,
        **options,
    )


every_shape = pytest.mark.parametrize(("factors", "offsets"), [(3, 0), (1, 0), (0, 3), (1, 3), (3, 3)])


@every_shape
@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("unit", [None, UNIT], ids=["ones", "unit"])
def test_it_is_its_statement(factors: int, offsets: int, decay: float, unit: Tensor | None) -> None:
    objective = an_objective(factors, offsets, decay=decay, unit=unit)
    parameters = torch.randn(factors + offsets, generator=torch.Generator().manual_seed(1))
    value, gradient = objective(parameters)

    exact = parameters.double().requires_grad_(True)
    u = logits().double()
    if factors:
        u = u * exact[:factors]
    if offsets:
        u = u + exact[factors:] * (1 if unit is None else unit.double())
    known = LABELS >= 0
    each = torch.nn.functional.cross_entropy(u[known], LABELS[known], reduction="none")
    expected = (weights()[known].double() * each).sum() + decay / 2 * (exact - 0.7).square().sum()
    expected.backward()
    assert value.dtype == torch.float64
    assert gradient.shape == parameters.shape
    # Seven rows of logits of about 4 in float32; the pull of 0.7 is rounded too.
    torch.testing.assert_close(value, expected.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient.double(), exact.grad, rtol=1e-5, atol=1e-6)


@every_shape
def test_split_says_what_the_logits_get(factors: int, offsets: int) -> None:
    parameters = torch.arange(1.0, 1 + factors + offsets)
    scale, shift = an_objective(factors, offsets, decay=0.0, unit=UNIT).split(parameters)
    assert scale.tolist() == {0: [1.0] * 3, 1: [1.0] * 3, 3: [1.0, 2.0, 3.0]}[factors]
    expected = parameters[factors:] * UNIT if offsets else torch.zeros(3)
    assert torch.equal(shift, expected)


@every_shape
@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("offset", [None, torch.tensor([1.0, -2.0, 0.5])], ids=["plain", "offsets"])
def test_the_preconditioner_divides_by_the_diagonal_of_the_hessian(
    factors: int, offsets: int, decay: float, offset: Tensor | None
) -> None:
    loss = SoftmaxLoss(offsets=offset)
    objective = an_objective(factors, offsets, decay=decay, unit=UNIT, loss=loss)
    parameters = 0.3 + torch.rand(factors + offsets, generator=torch.Generator().manual_seed(2))
    known, z = LABELS >= 0, logits().double()

    def stated(theta: Tensor) -> Tensor:
        u = z * theta[:factors] if factors else z
        u = u + theta[factors:] * UNIT if offsets else u
        u = u if offset is None else u + offset
        each = torch.nn.functional.cross_entropy(u[known], LABELS[known], reduction="none")
        return (weights()[known] * each).sum() + decay / 2 * (theta - 0.7).square().sum()

    hessian = torch.autograd.functional.hessian(stated, parameters.double())
    gradient = torch.ones(factors + offsets)
    out = objective.preconditioner(parameters)(gradient)
    # Float32 softmax.
    torch.testing.assert_close(out.double(), 1 / hessian.diagonal(), rtol=1e-4, atol=1e-4)


def test_a_parameter_that_nothing_depends_on_does_not_run_away() -> None:
    z = logits()
    z[:, 1] = 0
    objective = RescaledObjective(
        lambda: blocks(z), LABELS, weights(), num_classes=3, factors=3, offsets=0, pull=torch.zeros(3), decay=0.0
    )
    out = objective.preconditioner(torch.ones(3))(torch.ones(3))
    assert bool(torch.isfinite(out).all())
    assert float(out[1]) == float(out.min())


def test_the_loss_it_is_given_is_used() -> None:
    loss = SoftmaxLoss(offsets=torch.tensor([1.0, -2.0, 0.5]), focal=2.0)
    parameters = torch.tensor([0.5, -1.5, 2.0])
    value, gradient = an_objective(3, 0, decay=0.0, loss=loss)(parameters)
    expected, g = loss(logits() * parameters, LABELS, weights())
    # Another order of the sum.
    torch.testing.assert_close(value, expected, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(gradient, (g * logits()).sum(dim=0), rtol=1e-5, atol=1e-7)


def test_without_rows_of_a_class_the_pull_decides_what_it_keeps() -> None:
    """Its logits at zero tie with the others, so only the penalty holds its factor."""
    z = logits().clone()
    z[:, 1] = 0
    labels = torch.where(LABELS == 1, -1, LABELS)
    objective = RescaledObjective(
        lambda: blocks(z), labels, balanced_weights(labels, class_counts(labels, 3)),
        num_classes=3, factors=3, offsets=0, pull=torch.zeros(3), decay=0.5,
    )  # fmt: skip
    _, gradient = objective(torch.tensor([1.0, 4.0, 1.0]))
    assert float(gradient[1]) == pytest.approx(2.0, rel=1e-6)


@pytest.mark.parametrize("keep", [0, 2**27])
def test_logits_come_from_memory_or_anew(problem: Any, keep: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rebalance.solving.rescaling.KEEP", keep)
    monkeypatch.setattr("rebalance.blocks.BLOCK_BYTES", 4 * 8 * 13)
    calls: list[int] = []
    plain = LinearHead.__call__
    monkeypatch.setattr(LinearHead, "__call__", lambda self, x: calls.append(len(x)) or plain(self, x))
    read = logit_blocks(problem.head, problem.features)
    for _ in range(2):
        parts = list(read())
        assert [part.start for part, _ in parts] == sorted(part.start for part, _ in parts)
        # Products of another number of rows may round differently.
        torch.testing.assert_close(torch.cat([z for _, z in parts]), plain(problem.head, problem.features))
        assert all(len(z) == part.stop - part.start for part, z in parts)
    assert sum(calls) == (2 if keep == 0 else 1) * len(problem.features)
