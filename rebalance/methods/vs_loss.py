"""VS-loss: training sees the logits of rare classes made smaller, so it makes them larger."""

from __future__ import annotations

import math

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from rebalance.blocks import Features, Labels
from rebalance.head import LinearHead
from rebalance.methods.logit_adjusted_loss import prior_offsets, refuse_tau
from rebalance.prior import log_prior, training_counts
from rebalance.rows import Rows, need_rows
from rebalance.solving.loss import SoftmaxLoss
from rebalance.solving.trained import refuse_solver, train


def vs_loss(
    head: LinearHead | None,
    features: Features,
    labels: Labels,
    *,
    gamma: float = 0.3,
    tau: float = 1.0,
    weight_decay: float = 5e-4,
    tol: float | None = None,
    visits: int | None = None,
    seed: int = 0,
    start: LinearHead | None = None,
    counts: ArrayLike | None = None,
) -> LinearHead:
    """A fresh linear classifier z, trained so that ``(n_k / n_max)^gamma z_k + tau log p_k`` fits the training rows.

    head: gives the number of classes; its weights are not used; may be None. features: (N, D) training rows.
    labels: (N,).
    gamma: the power in the factors, 0 or more: 0 leaves the logit-adjusted loss.
    tau: how many times the log prior is added in training.
    weight_decay: strength of the L2 penalty weight_decay / 2 * |weight|^2 on the mean loss.
    tol: run on to the optimum, until the gradient has fallen to this share of its size at the start. Below about 1e-4
    the rounding of float32 logits ends the search first; the record then says so.
    visits: rows that the fast recipe visits; without it as many as there are, at least 102,400. Fewer regularise, like
    a stronger decay.
    seed: of the order of the visits.
    start: a head to begin at instead of zeros.
    counts: n, (K,) training rows a class, of which p are the shares; None: the counts of `labels`. An empty class
    counts as half a row.
    A class without rows is pushed away from by all others, the less the smaller its prior.

    Every row weighs the same. The head returned is z; what factors and offsets hold down in training is free to win
    in use. Rare classes get larger logits by that, but pay more of the weight decay; a strong one turns it round. The
    problem is convex; its minimum, or one pass of stochastic descent where that takes long, stands in for the authors'
    SGD, which trains the whole network. gamma and tau are the defaults of their code.
    Source: Kini et al. (NeurIPS 2021), vector-scaling loss.
    """
    refuse_solver(weight_decay, tol, visits, seed)
    refuse_tau(tau)
    if not (gamma >= 0 and math.isfinite(gamma)):
        raise ValueError(f"gamma is {gamma}; expected 0 or more, such as 0.3")
    rows = need_rows(head, features, labels)
    loss = SoftmaxLoss(offsets=prior_offsets(counts, rows, tau), factors=prior_factors(counts, rows, gamma))
    weight, bias, solver = train(
        rows, rows.counts, loss, weight_decay=weight_decay, tol=tol, visits=visits, seed=seed, start=start
    )
    hyperparameters = {
        "gamma": gamma, "tau": tau, "weight_decay": weight_decay, "tol": tol, "visits": visits, "seed": seed
    }  # fmt: skip
    return LinearHead(weight, bias, record={"method": "vs_loss", "hyperparameters": hyperparameters, "solver": solver})


def prior_factors(counts: ArrayLike | None, rows: Rows, gamma: float) -> Tensor:
    """What training multiplies the logits by (K,), float64: 1 for the most frequent class, less for rarer ones.

    counts: (K,), or None for those of the rows.
    """
    logs = log_prior(training_counts(counts, rows.whole, len(rows.counts)))
    return torch.exp(gamma * (logs - logs.max()))
