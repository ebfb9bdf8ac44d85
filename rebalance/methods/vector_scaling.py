"""Vector scaling: a factor and an offset for the logits of each class."""

from __future__ import annotations

from rebalance.blocks import Features, Labels
from rebalance.head import LinearHead
from rebalance.methods.calibration import calibrated


def vector_scaling(
    head: LinearHead | None,
    features: Features,
    labels: Labels,
    *,
    weight_decay: float = 1e-4,
    tol: float = 1e-4,
) -> LinearHead:
    """The head with logits ``s_k z_k + b_k``, the most likely ones on held-out rows.

    head: of any type. features: (N, D) rows it was not trained on, with the prior the probabilities are meant for: on
    balanced rows the offsets correct the training prior as well. labels: (N,).
    weight_decay: strength of the pull to the head as it is, weight_decay / 2 * (|s - 1|^2 + |b|^2) on the mean loss;
    with 0 the offset of a class without rows has no end.
    tol: the solver stops when the gradient has fallen to this share of its size at zero.
    ValueError when no row is of a class that the head predicts at all; rows of other such classes are left out.

    Every row weighs the same, and a factor may have any sign. The loss is convex, so its minimum is found; on the rows
    themselves the mean loss is never above the head's own.
    Source: Guo et al. (ICML 2017), section 4.2.
    """
    return calibrated(
        head,
        features,
        labels,
        method="vector_scaling",
        per_class=True,
        offsets=True,
        weight_decay=weight_decay,
        tol=tol,
    )
