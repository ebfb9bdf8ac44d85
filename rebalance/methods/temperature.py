"""Temperature scaling: one factor for all logits, for honest probabilities."""

from __future__ import annotations

from rebalance.blocks import Features, Labels
from rebalance.head import LinearHead
from rebalance.methods.calibration import calibrated


def temperature(
    head: LinearHead | None,
    features: Features,
    labels: Labels,
    *,
    weight_decay: float = 1e-6,
    tol: float = 1e-4,
) -> LinearHead:
    """The head with logits ``z / T``: the same decisions, the most likely probabilities.

    head: of any type. features: (N, D) rows it was not trained on, with the prior the probabilities are meant for.
    labels: (N,).
    weight_decay: strength of the pull to T = 1, weight_decay / 2 * (1 / T - 1)^2 on the mean loss; it keeps T above 0
    where the head is right on every row.
    tol: the solver stops when the gradient has fallen to this share of its size at 1 / T = 0.
    ValueError when no row is of a class that the head predicts at all; rows of other such classes are left out.
    T is at most 1000, where all classes are nearly alike: a head that is worse than chance on the rows gets it. The
    record holds it.

    Every row weighs the same. The loss is convex in 1 / T, so its minimum is found; on the rows themselves the mean
    loss is never above the head's own.
    Source: Guo et al. (ICML 2017), section 4.2. The authors' code minimises over T itself, by L-BFGS from 1.5.
    """
    return calibrated(
        head,
        features,
        labels,
        method="temperature",
        per_class=False,
        offsets=False,
        weight_decay=weight_decay,
        tol=tol,
    )
