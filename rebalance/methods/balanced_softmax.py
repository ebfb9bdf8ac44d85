"""Balanced softmax: train as if every class had been seen as often as its count says."""

from __future__ import annotations

from numpy.typing import ArrayLike

from rebalance.blocks import Features, Labels
from rebalance.head import LinearHead
from rebalance.methods.logit_adjusted_loss import prior_offsets
from rebalance.rows import need_rows
from rebalance.solving.loss import SoftmaxLoss
from rebalance.solving.trained import refuse_solver, train


def balanced_softmax(
    head: LinearHead | None,
    features: Features,
    labels: Labels,
    *,
    weight_decay: float = 5e-4,
    tol: float | None = None,
    visits: int | None = None,
    seed: int = 0,
    start: LinearHead | None = None,
    counts: ArrayLike | None = None,
) -> LinearHead:
    """A fresh linear classifier z, trained so that ``z_k + log n_k`` fits the training rows; n their counts.

    head: gives the number of classes; its weights are not used; may be None. features: (N, D) training rows.
    labels: (N,).
    weight_decay: strength of the L2 penalty weight_decay / 2 * |weight|^2 on the mean loss.
    tol: run on to the optimum, until the gradient has fallen to this share of its size at the start. Below about 1e-4
    the rounding of float32 logits ends the search first; the record then says so.
    visits: rows that the fast recipe visits; without it as many as there are, at least 102,400. Fewer regularise, like
    a stronger decay.
    seed: of the order of the visits.
    start: a head to begin at instead of zeros.
    counts: n, (K,) training rows a class; None: the counts of `labels`. An empty class counts as half a row.
    A class without rows is pushed away from by all others, the less the smaller its count.

    Every row weighs the same, as with instance-balanced sampling; this is the logit-adjusted loss at tau 1. The head
    returned is z, for a test set in which all classes are alike. This is the decoupled form, on fixed features, and
    convex; its minimum, or one pass of stochastic descent where that takes long, stands in for the authors' 10 epochs
    of SGD. As the bias is free, the minimum is that of plain cross-entropy less log n_k. Their meta-learned sampler is
    not part of it.
    Source: Ren et al. (NeurIPS 2020), balanced softmax (section 3).
    """
    refuse_solver(weight_decay, tol, visits, seed)
    rows = need_rows(head, features, labels)
    loss = SoftmaxLoss(offsets=prior_offsets(counts, rows, tau=1.0))
    weight, bias, solver = train(
        rows, rows.counts, loss, weight_decay=weight_decay, tol=tol, visits=visits, seed=seed, start=start
    )
    hyperparameters = {"weight_decay": weight_decay, "tol": tol, "visits": visits, "seed": seed}
    record = {"method": "balanced_softmax", "hyperparameters": hyperparameters, "solver": solver}
    return LinearHead(weight, bias, record=record)
