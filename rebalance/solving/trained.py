"""How the methods that train a linear head run their solver: fast, or on to the optimum."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from rebalance.blocks import product_type
from rebalance.head import LinearHead
from rebalance.rows import Rows
from rebalance.solving.descent import descend
from rebalance.solving.loss import SoftmaxLoss
from rebalance.solving.objective import LinearObjective, class_weights
from rebalance.solving.solver import minimise

SMALL = 2**30  # numbers N * D * K up to which the optimum itself takes about a second
CLOSE = 1e-3  # the tolerance of the optimum where none is given
LARGE = 2**28  # numbers N * K * (D + 1) from which on the first passes are worth doing in bfloat16
COARSE = 2e-2  # how far they go: its rounding hides what is smaller


def refuse_solver(weight_decay: float, tol: float | None, visits: int | None, seed: int) -> None:
    """Raise the ValueError that names a hyperparameter of the solver with a value that makes no sense."""
    if not (weight_decay >= 0 and math.isfinite(weight_decay)):
        raise ValueError(f"weight_decay is {weight_decay}; expected 0 or more")
    if tol is not None and not (tol > 0 and math.isfinite(tol)):
        raise ValueError(f"tol is {tol}; expected a number above 0, such as 1e-3, or None")
    if visits is not None and not (isinstance(visits, int) and visits >= 1):
        raise ValueError(f"visits is {visits}; expected a whole number of rows, 1 or more, or None")
    if not (isinstance(seed, int) and seed >= 0):
        raise ValueError(f"seed is {seed}; expected a whole number, 0 or more")


def train(
    rows: Rows,
    shares: Tensor,
    loss: SoftmaxLoss,
    *,
    weight_decay: float,
    tol: float | None,
    visits: int | None,
    seed: int,
    start: LinearHead | None = None,
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """A trained weight (K, D), bias (K,), and the solver's entry of the record.

    rows: the training rows. shares: (K,), what part of the objective each class holds. loss: of a row.
    weight_decay, tol, visits, seed: as the methods describe them. start: a head to begin at.

    Without `tol` and `visits` a small problem is solved to its optimum, a large one by descent.
    """
    if start is not None and start.weight.shape != rows.sums.shape:
        shape, wanted = tuple(start.weight.shape), tuple(rows.sums.shape)
        raise ValueError(f"start is a head of shape {shape}; expected {wanted}, classes by features of these rows")
    begin = None if start is None else (start.weight.to(rows.device), start.bias.to(rows.device))
    size = int(rows.counts.sum()) * rows.sums.shape[1] * len(rows.counts)
    if tol is None and (visits is not None or size > SMALL):
        return descend(rows, shares, loss, decay=weight_decay, visits=visits, seed=seed, start=begin)
    return _optimum(rows, shares, loss, weight_decay, tol or CLOSE, begin)


def _optimum(
    rows: Rows, shares: Tensor, loss: SoftmaxLoss, decay: float, tol: float, start: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Weight, bias and record of the optimum; most of the way in bfloat16 where the processor multiplies it."""
    weights = class_weights(rows.labels, rows.counts, shares)
    mean, classes, kind = rows.mean.float(), len(rows.counts), product_type(rows.device)

    def objective(products: torch.dtype) -> LinearObjective:
        return LinearObjective(
            rows.features, rows.labels, weights, mean, num_classes=classes, decay=decay, loss=loss, products=products
        )

    exact = objective(torch.float32)
    precondition = exact.preconditioner()
    parameters, passes = exact.zeros() if start is None else exact.join(*start), 0
    if kind != torch.float32 and len(rows.whole) * parameters.numel() > LARGE:
        near = minimise(objective(kind), parameters, tol=max(tol, COARSE), max_passes=25, precondition=precondition)
        parameters, passes = near.parameters, near.passes
    solution = minimise(exact, parameters, tol=tol, precondition=precondition)
    weight, bias = exact.split(solution.parameters)
    found = {"recipe": "optimum", **solution.summary(), "coarse_passes": passes}
    return weight, bias, found
