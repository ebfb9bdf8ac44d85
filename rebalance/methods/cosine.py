"""A cosine classifier: directions of classes, trained on the angles to them."""

from __future__ import annotations

import math

from numpy.typing import ArrayLike

from rebalance.blocks import Features, Labels
from rebalance.head import LinearHead, NormalizedHead
from rebalance.methods.ncm import ncm
from rebalance.prior import log_prior, training_counts
from rebalance.rows import need_rows
from rebalance.solving.angles import CosineObjective
from rebalance.solving.loss import SoftmaxLoss
from rebalance.solving.solver import minimise


def cosine(
    head: LinearHead | None,
    features: Features,
    labels: Labels,
    *,
    scale: float = 25.0,
    learn_scale: bool = False,
    adjustment: float = 1.0,
    weight_decay: float = 5e-4,
    tol: float = 1e-3,
    counts: ArrayLike | None = None,
) -> LinearHead:
    """Logits ``scale * cos(w_k, x)``, whose directions start at the class means and are trained.

    head: gives the number of classes; may be None. features: (N, D) training rows. labels: (N,).
    scale: the factor of the cosines, above 0; 25 as in LIFT, 10 is where Gidaris and Komodakis start.
    learn_scale: train the factor too, from there.
    adjustment: how many times the log prior is added to the logits in training, and not when the head is used: 1
    balances the classes, 0 is plain cross-entropy.
    weight_decay: strength of the pull to the start, weight_decay / 2 * (sum_k |w_k - m_k|^2 + log(scale / start)^2)
    on the mean loss, w_k and the class mean's direction m_k of length one. A cosine ignores the length of a weight,
    so decay to zero would do nothing.
    tol: the solver stops when the gradient has fallen to this share of its size at the class means.
    counts: (K,) training rows a class, for the prior; None: the counts of `labels`.
    A class without rows has no direction and is never predicted.

    Every row weighs the same. The loss is not convex in directions; L-BFGS from the class means finds a minimum near
    them, the same one each time, without seed or learning rate.
    Source: Gidaris and Komodakis (CVPR 2018); start, scale and loss as in LIFT (Shi et al., ICML 2024), the loss from
    Menon et al. (ICLR 2021). LIFT fine-tunes features too, by SGD with weight decay to zero.
    """
    _check(scale, learn_scale, adjustment, weight_decay)
    start = ncm(head, features, labels, transform="l2n", distance="cosine")
    rows = need_rows(head, features, labels)
    prior = log_prior(training_counts(counts, rows.whole, start.num_classes)).to(start.bias)
    objective = CosineObjective(
        rows.features,
        rows.labels,
        (rows.labels >= 0) / rows.counts.sum(),
        start.weight,
        SoftmaxLoss(offsets=adjustment * prior + start.bias),
        scale=scale,
        learn_scale=learn_scale,
        decay=weight_decay,
    )
    solution = minimise(objective, objective.zeros(), tol=tol)
    directions, factor = objective.split(solution.parameters)
    hyperparameters = {
        "scale": scale,
        "learn_scale": learn_scale,
        "adjustment": adjustment,
        "weight_decay": weight_decay,
        "tol": tol,
    }
    record = {
        "method": "cosine",
        "hyperparameters": hyperparameters,
        "scale": float(factor),
        "absent_classes": int((rows.counts == 0).sum()),
        "solver": solution.summary(),
    }
    return NormalizedHead(factor * directions, start.bias, record=record)


def _check(scale: float, learn_scale: bool, adjustment: float, weight_decay: float) -> None:
    if not (scale > 0 and math.isfinite(scale)):
        raise ValueError(f"scale is {scale}; expected a number above 0, such as 25")
    if not isinstance(learn_scale, bool):
        raise ValueError(f"learn_scale is {learn_scale!r}; expected True or False")
    if not math.isfinite(adjustment):
        raise ValueError(f"adjustment is {adjustment}; expected a finite number, 1 as a rule")
    if not (weight_decay >= 0 and math.isfinite(weight_decay)):
        raise ValueError(f"weight_decay is {weight_decay}; expected 0 or more")
