"""Class-balanced loss: a row weighs one over the effective number of rows of its class."""

from __future__ import annotations

from rebalance.blocks import Features, Labels
from rebalance.head import LinearHead
from rebalance.rows import need_rows
from rebalance.solving.loss import SoftmaxLoss
from rebalance.solving.shares import effective_shares
from rebalance.solving.trained import refuse_solver, train


def class_balanced(
    head: LinearHead | None,
    features: Features,
    labels: Labels,
    *,
    beta: float = 0.9999,
    weight_decay: float = 5e-4,
    tol: float | None = None,
    visits: int | None = None,
    seed: int = 0,
    start: LinearHead | None = None,
) -> LinearHead:
    """A fresh linear classifier, trained with every row weighing ``(1 - beta) / (1 - beta^n)``; n its class's rows.

    head: gives the number of classes; its weights are not used; may be None. features: (N, D) training rows.
    labels: (N,), whose counts are n.
    beta: from 0 to 1: how far rows of one class repeat each other. 0 weighs every row the same, 1 every class, as crt
    does; near that it counts classes of fewer than about 1 / (1 - beta) rows alike.
    weight_decay: strength of the L2 penalty weight_decay / 2 * |weight|^2 on the mean loss.
    tol: run on to the optimum, until the gradient has fallen to this share of its size at the start. Below about 1e-4
    the rounding of float32 logits ends the search first; the record then says so.
    visits: rows that the fast recipe visits; without it as many as there are, at least 102,400. Fewer regularise, like
    a stronger decay.
    seed: of the order of the visits.
    start: a head to begin at instead of zeros.
    A class without rows is pushed away from by all others and loses to them.

    The weights are scaled to sum to one, so that the loss is a mean; the authors' sum to the number of classes over
    the classes, and leave the size of the loss, which a weight decay is against, to the counts. This is their softmax
    form; for the focal form see `focal`. The problem is convex; its minimum, or one pass of stochastic descent where
    that takes long, stands in for their SGD, which trains the whole network.
    Source: Cui et al. (CVPR 2019), section 4 (class-balanced softmax).
    """
    refuse_solver(weight_decay, tol, visits, seed)
    rows = need_rows(head, features, labels)
    shares = effective_shares(rows.counts, beta)
    weight, bias, solver = train(
        rows, shares, SoftmaxLoss(), weight_decay=weight_decay, tol=tol, visits=visits, seed=seed, start=start
    )
    hyperparameters = {"beta": beta, "weight_decay": weight_decay, "tol": tol, "visits": visits, "seed": seed}
    record = {"method": "class_balanced", "hyperparameters": hyperparameters, "solver": solver}
    return LinearHead(weight, bias, record=record)
