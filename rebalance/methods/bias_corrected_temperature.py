"""Bias-corrected temperature scaling: one factor for all logits and an offset a class."""

from __future__ import annotations

from rebalance.blocks import Features, Labels
from rebalance.head import LinearHead
from rebalance.methods.calibration import calibrated


def bias_corrected_temperature(
    head: LinearHead | None,
    features: Features,
    labels: Labels,
    *,
    weight_decay: float = 1e-4,
    tol: float = 1e-4,
) -> LinearHead:
    """The head with logits ``z / T + b_k``, the most likely ones on held-out rows.

    head: of any type. features: (N, D) rows it was not trained on, with the prior the probabilities are meant for: on
    balanced rows the offsets correct the training prior as well. labels: (N,).
    weight_decay: strength of the pull to the head as it is, weight_decay / 2 * ((1 / T - 1)^2 + |b|^2) on the mean
    loss; with 0 the offset of a class without rows has no end.
    tol: the solver stops when the gradient has fallen to this share of its size at zero.
    ValueError when no row is of a class that the head predicts at all; rows of other such classes are left out.
    T is above 0 and at most 1000; the record holds it.

    Every row weighs the same. The loss is convex in 1 / T and b, so its minimum is found; on the rows themselves the
    mean loss is never above the head's own.
    Source: Alexandari et al. (ICML 2020).
    """
    return calibrated(
        head,
        features,
        labels,
        method="bias_corrected_temperature",
        per_class=False,
        offsets=True,
        weight_decay=weight_decay,
        tol=tol,
    )
