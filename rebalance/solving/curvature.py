"""The solver's first guess of an inverse Hessian: ``(share_k C + decay I)^-1`` for every class k.

At zero, where all classes are equally likely, this is the inverse of the Hessian of a linear head up to the classes'
coupling; and it stays of the right shape, because a class's rows are what curves its weight.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

Inverse: TypeAlias = Callable[[Tensor], Tensor]  # (K, D) -> (K, D), row k times class k's inverse

# Directions without variance have no curvature where the decay is 0: this part of the largest keeps their steps finite.
# The later ones are for a covariance that rounding has left with negative eigenvalues; the last always suffices.
FLOORS = (1e-6, 1e-3, 1.0)


class Curvature:
    """The inverse applied to parameters of a LinearObjective: a weight (K, D) and, behind it, a bias (K,), flat.

    inverse: for the weight. share: (K,), how much curvature a class's bias gets. width: D.
    """

    def __init__(self, inverse: Inverse, share: Tensor, width: int) -> None:
        self._weights, self._width = inverse, width
        self._biases = 1.0 / moving(share)

    def __call__(self, gradient: Tensor) -> Tensor:
        """The preconditioned gradient, flat like the parameters."""
        end = len(self._biases) * self._width
        weight, bias = gradient[:end].view(-1, self._width), gradient[end:]
        return torch.cat([self._weights(weight).flatten(), bias * self._biases])


def moving(share: Tensor) -> Tensor:
    """(K,) the shares; a class without rows still moves with the others."""
    return share.clamp_min(1e-3 / len(share))


def dense_inverse(covariance: Tensor, share: Tensor, decay: float) -> Inverse:
    """From the covariance (D, D). share: (K,). decay: weight_decay."""
    share = moving(share)
    return (_shared if bool((share == share[0]).all()) else _own)(covariance, share, decay)


def inverse_of_rows(rows: Tensor, share: Tensor, decay: float) -> Inverse:
    """The same from fewer rows than columns, whose covariance is ``rows.T @ rows``: no D x D matrix is made.

    In the span of the rows the matrices are diagonal in the eigenvectors of C, which are those of the rows' products;
    across it C is zero, and every direction gets the floor.

    rows: (N, D), N below D.
    """
    share = moving(share)[:, None]
    values, basis = torch.linalg.eigh(rows.double() @ rows.double().T)
    floor = FLOORS[0] * values[-1].clamp_min(torch.finfo(torch.float32).tiny)
    kept = values > floor
    values, basis = values[kept], rows.double().T @ basis[:, kept] / values[kept].sqrt()
    across = (1.0 / (share * floor + decay)).float()
    within = (1.0 / (share * values + decay)).float() - across
    directions = basis.float()
    return lambda weight: weight * across + (weight @ directions).mul_(within) @ directions.T


def _shared(covariance: Tensor, share: Tensor, decay: float) -> Inverse:
    """Where all classes have the same share: one factorisation."""
    matrix = (covariance * share[0]).double()
    largest = matrix.diagonal().max().clamp_min(torch.finfo(torch.float32).tiny)
    for floor in FLOORS:
        lower, failed = torch.linalg.cholesky_ex(matrix + (decay + floor * largest) * torch.eye(len(matrix)).to(matrix))
        if not bool(failed):
            break
    inverse = torch.cholesky_inverse(lower).float()
    return lambda weight: weight @ inverse


def _own(covariance: Tensor, share: Tensor, decay: float) -> Inverse:
    """Where each class has its own share: in the eigenvectors of C all these matrices are diagonal."""
    # In float64: in float32 it does not always converge.
    values, basis = (each.float() for each in torch.linalg.eigh(covariance.double()))
    values = values.clamp_min(FLOORS[0] * values[-1].clamp_min(torch.finfo(torch.float32).tiny))
    inverse = 1.0 / (share[:, None] * values + decay)
    return lambda weight: (weight @ basis).mul_(inverse) @ basis.T
