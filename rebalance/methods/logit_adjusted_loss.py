"""The logit-adjusted loss: train with the prior in the logits, and use the head without it."""

from __future__ import annotations

import math

from numpy.typing import ArrayLike
from torch import Tensor

from rebalance.blocks import Features, Labels
from rebalance.head import LinearHead
from rebalance.methods.logit_adjust import LARGEST
from rebalance.prior import log_prior, training_counts
from rebalance.rows import Rows, need_rows
from rebalance.solving.loss import SoftmaxLoss
from rebalance.solving.trained import refuse_solver, train


def logit_adjusted_loss(
    head: LinearHead | None,
    features: Features,
    labels: Labels,
    *,
    tau: float = 1.0,
    weight_decay: float = 5e-4,
    tol: float | None = None,
    visits: int | None = None,
    seed: int = 0,
    start: LinearHead | None = None,
    counts: ArrayLike | None = None,
) -> LinearHead:
    """A fresh linear classifier z, trained so that ``z_k + tau log p_k`` fits the training rows; p their prior.

    head: gives the number of classes; its weights are not used; may be None. features: (N, D) training rows.
    labels: (N,).
    tau: how many times the log prior is added in training: 0 is plain cross-entropy, 1 balanced softmax.
    weight_decay: strength of the L2 penalty weight_decay / 2 * |weight|^2 on the mean loss.
    tol: run on to the optimum, until the gradient has fallen to this share of its size at the start. Below about 1e-4
    the rounding of float32 logits ends the search first; the record then says so.
    visits: rows that the fast recipe visits; without it as many as there are, at least 102,400. Fewer regularise, like
    a stronger decay.
    seed: of the order of the visits.
    start: a head to begin at instead of zeros.
    counts: (K,) training rows a class, for the prior; None: the counts of `labels`. An empty class counts as half a
    row.
    A class without rows is pushed away from by all others, the less the smaller its prior.

    Every row weighs the same. The head returned is z, for a test set in which all classes are alike. The problem is
    convex; its minimum, or one pass of stochastic descent where that takes long, stands in for the authors' SGD, which
    trains the whole network. On fixed features a free bias takes the offsets up, so the minimum is that of plain
    cross-entropy less tau log p_k; training with the prior and logit_adjust afterwards are one. Their code adds 1e-12
    to the prior inside the logarithm.
    Source: Menon et al. (ICLR 2021), equation 10.
    """
    refuse_solver(weight_decay, tol, visits, seed)
    refuse_tau(tau)
    rows = need_rows(head, features, labels)
    loss = SoftmaxLoss(offsets=prior_offsets(counts, rows, tau))
    weight, bias, solver = train(
        rows, rows.counts, loss, weight_decay=weight_decay, tol=tol, visits=visits, seed=seed, start=start
    )
    hyperparameters = {"tau": tau, "weight_decay": weight_decay, "tol": tol, "visits": visits, "seed": seed}
    record = {"method": "logit_adjusted_loss", "hyperparameters": hyperparameters, "solver": solver}
    return LinearHead(weight, bias, record=record)


def refuse_tau(tau: float) -> None:
    """Raise the ValueError that names tau when it is not a finite number."""
    if not math.isfinite(tau):
        raise ValueError(f"tau is {tau}; expected a finite number, 0..2 as a rule")


def prior_offsets(counts: ArrayLike | None, rows: Rows, tau: float) -> Tensor:
    """What training adds to the logits (K,), float64: tau times the log prior, relative to the most frequent class.

    counts: (K,), or None for those of the rows. ValueError when they are no counts, or the offsets are so
    large that float32 loses the logits beside them.
    """
    logs = log_prior(training_counts(counts, rows.whole, len(rows.counts)))
    offsets = tau * (logs - logs.max())
    if not bool((offsets.abs() <= LARGEST).all()):
        raise ValueError(f"tau {tau:g} hides the logits behind their offsets; expected a smaller one, 0..2 as a rule")
    return offsets
