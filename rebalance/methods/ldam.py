"""LDAM: margins that are larger for rarer classes, with deferred re-weighting."""

from __future__ import annotations

import math
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from rebalance.blocks import Features, Labels
from rebalance.head import LinearHead, NormalizedHead
from rebalance.methods.ncm import ncm
from rebalance.prior import EMPTY, training_counts
from rebalance.rows import Rows, need_rows
from rebalance.solving.angles import CosineObjective
from rebalance.solving.loss import SoftmaxLoss
from rebalance.solving.objective import class_weights
from rebalance.solving.shares import effective_shares
from rebalance.solving.solver import minimise


def ldam(
    head: LinearHead | None,
    features: Features,
    labels: Labels,
    *,
    max_margin: float = 0.5,
    scale: float = 30.0,
    beta: float = 0.9999,
    weight_decay: float = 1e-4,
    tol: float = 1e-3,
    counts: ArrayLike | None = None,
) -> LinearHead:
    """Logits ``scale * cos(w_k, x)``, trained with a margin n_k^(-1/4) off the cosine of the true class.

    head: gives the number of classes; may be None. features: (N, D) training rows. labels: (N,).
    max_margin: the margin of the rarest class, 0 or more, in cosines; the others are in proportion to n_k^(-1/4).
    scale: the factor of the cosines, above 0.
    beta: of the effective numbers that the rows are re-weighted by in the second part: 1 / (1 - beta^n_k) for a row of
    class k; 0 leaves that part out.
    weight_decay: strength of the pull to the start, weight_decay / 2 * sum_k |scale w_k - scale m_k|^2 on the mean
    loss, with weights of the head's own length; m_k is the class mean's direction at first, in the second part where
    the first ended.
    tol: each part stops when the gradient has fallen to this share of its size at its start.
    counts: n_k, (K,) training rows a class; None: the counts of `labels`. An empty class counts as half a row.
    A class without rows has no direction and is never predicted.

    Deferred re-weighting: all rows weigh the same first, then those of rare classes more. The reference switches for
    its last 40 of 200 epochs, which are too few to forget what came before. Two minima would: so here the second part
    is pulled to where the first ended, as strongly as the first to the class means. The loss is not convex in
    directions; L-BFGS from the class means finds a minimum near them, without seed or learning rate.
    Source: Cao et al. (NeurIPS 2019), sections 3.2 and 3.3. The reference decays the weights to zero, which
    their length being divided out makes no difference to but for the learning rate.
    """
    _check(max_margin, scale, weight_decay)
    start = ncm(head, features, labels, transform="l2n", distance="cosine")
    rows = need_rows(head, features, labels)
    known = training_counts(counts, rows.whole, start.num_classes).to(rows.device)
    known = torch.where(known > 0, known, EMPTY)
    deferred = effective_shares(known, beta, rows.counts)
    margins = ldam_margins(known, rows.counts > 0, max_margin)
    loss = SoftmaxLoss(offsets=start.bias, margins=scale * margins)
    parts = [rows.counts, deferred] if beta > 0 else [rows.counts]
    directions, solvers = start.weight, []
    for shares in parts:
        directions, solver = _turned(rows, shares, directions, loss, scale, weight_decay, tol)
        solvers.append(solver)
    hyperparameters = {
        "max_margin": max_margin, "scale": scale, "beta": beta, "weight_decay": weight_decay, "tol": tol
    }  # fmt: skip
    record = {
        "method": "ldam",
        "hyperparameters": hyperparameters,
        "absent_classes": int((rows.counts == 0).sum()),
        "solver": {
            **solvers[-1],
            "passes": sum(each["passes"] for each in solvers),
            "converged": all(each["converged"] for each in solvers),
        },
    }
    return NormalizedHead(scale * directions, start.bias, record=record)


def ldam_margins(counts: Tensor, present: Tensor, largest: float) -> Tensor:
    """Margins (K,) in proportion to counts^(-1/4), the largest of the classes present being `largest`.

    counts: (K,), above 0. present: (K,), which classes have rows; the others' margins are never used, and 0.
    """
    margins = torch.where(present, counts.double() ** -0.25, 0.0)
    return (largest * margins / margins.max()).float()


def _turned(
    rows: Rows, shares: Tensor, anchors: Tensor, loss: SoftmaxLoss, scale: float, decay: float, tol: float
) -> tuple[Tensor, dict[str, Any]]:
    """The directions (K, D) of a minimum near the anchors, and the solver's summary."""
    objective = CosineObjective(
        rows.features,
        rows.labels,
        class_weights(rows.labels, rows.counts, shares),
        anchors,
        loss,
        scale=scale,
        learn_scale=False,
        decay=decay * scale**2,
    )
    solution = minimise(objective, objective.zeros(), tol=tol)
    directions, _ = objective.split(solution.parameters)
    return directions, solution.summary()


def _check(max_margin: float, scale: float, weight_decay: float) -> None:
    if not (max_margin >= 0 and math.isfinite(max_margin)):
        raise ValueError(f"max_margin is {max_margin}; expected a number from 0 on, such as 0.5")
    if not (scale > 0 and math.isfinite(scale)):
        raise ValueError(f"scale is {scale}; expected a number above 0, such as 30")
    if not (weight_decay >= 0 and math.isfinite(weight_decay)):
        raise ValueError(f"weight_decay is {weight_decay}; expected 0 or more")
