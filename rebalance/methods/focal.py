"""Focal loss: rows that are right already count for less."""

from __future__ import annotations

import math

from rebalance.blocks import Features, Labels
from rebalance.head import LinearHead
from rebalance.rows import need_rows
from rebalance.solving.loss import SoftmaxLoss
from rebalance.solving.shares import effective_shares
from rebalance.solving.trained import refuse_solver, train


def focal(
    head: LinearHead | None,
    features: Features,
    labels: Labels,
    *,
    gamma: float = 2.0,
    beta: float = 0.0,
    weight_decay: float = 5e-4,
    tol: float | None = None,
    visits: int | None = None,
    seed: int = 0,
    start: LinearHead | None = None,
) -> LinearHead:
    """A fresh linear classifier, trained with the loss ``-(1 - p_y)^gamma log p_y``; p its softmax.

    head: gives the number of classes; its weights are not used; may be None. features: (N, D) training rows.
    labels: (N,).
    gamma: 0 or more: 0 is plain cross-entropy, more leaves more to the rows that are wrong.
    beta: how far classes are balanced, from 0 to 1, by the effective number of their rows: 0 weighs every row the
    same, 1 every class; in between this is the class-balanced focal loss.
    weight_decay: strength of the L2 penalty weight_decay / 2 * |weight|^2 on the mean loss.
    tol: run on to the optimum, until the gradient has fallen to this share of its size at the start. Below about 1e-4
    the rounding of float32 logits ends the search first; the record then says so.
    visits: rows that the fast recipe visits; without it as many as there are, at least 102,400. Fewer regularise, like
    a stronger decay.
    seed: of the order of the visits.
    start: a head to begin at instead of zeros.
    A class without rows is pushed away from by all others and loses to them.

    With gamma above 0 the loss is not convex where a row is badly wrong. L-BFGS from zeros, or one pass of stochastic
    descent where that takes long, finds a minimum, the same one each time, in place of the authors' SGD, which trains
    the whole network. They have a sigmoid a class; this is the softmax form that the long-tailed literature uses.
    Source: Lin et al. (ICCV 2017), equation 4; beta from Cui et al. (CVPR 2019), section 4 (class-balanced focal loss).
    """
    refuse_solver(weight_decay, tol, visits, seed)
    if not (gamma >= 0 and math.isfinite(gamma)):
        raise ValueError(f"gamma is {gamma}; expected 0 or more, such as 2")
    rows = need_rows(head, features, labels)
    shares = effective_shares(rows.counts, beta)
    loss = SoftmaxLoss(focal=gamma)
    weight, bias, solver = train(
        rows, shares, loss, weight_decay=weight_decay, tol=tol, visits=visits, seed=seed, start=start
    )
    hyperparameters = {
        "gamma": gamma, "beta": beta, "weight_decay": weight_decay, "tol": tol, "visits": visits, "seed": seed
    }  # fmt: skip
    return LinearHead(weight, bias, record={"method": "focal", "hyperparameters": hyperparameters, "solver": solver})
