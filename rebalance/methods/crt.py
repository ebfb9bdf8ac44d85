"""cRT: classifier re-training."""

from __future__ import annotations

from rebalance.blocks import Features, Labels
from rebalance.head import LinearHead
from rebalance.methods.needs import need_rows
from rebalance.objective import LinearObjective, balanced_weights
from rebalance.solver import minimise


def crt(
    head: LinearHead | None,
    features: Features,
    labels: Labels,
    *,
    weight_decay: float = 5e-4,
    tol: float = 1e-3,
) -> LinearHead:
    """A fresh linear classifier, trained with every class weighing the same.

    head: gives the number of classes; its weights are not used (re-initialised, as in the paper); may be None.
    features: (N, D) training rows. labels: (N,).
    weight_decay: strength of the L2 penalty weight_decay / 2 * |weight|^2 on the mean loss.
    tol: the solver stops when the gradient has fallen to this share of its size at the start. Below
    about 1e-4 the rounding of float32 logits ends the search first; the record then says so.
    A class without rows is pushed away from by all others and loses to them. The record holds the objective, the
    gradient, the passes and whether it converged.

    Class-balanced sampling is, in expectation, a row weight 1 / (C n_y), and with fixed features the loss is convex:
    so its minimum is found without sampling, learning rate or seed.
    Source: Kang et al. (ICLR 2020), section 4.1. The reference runs 10 to 30 epochs of SGD (weight decay 5e-4; 1e-4
    for iNaturalist) and stops short of the minimum; it also decays the bias, which here is free.
    """
    if not weight_decay >= 0:
        raise ValueError(f"weight_decay is {weight_decay}; expected 0 or more")
    rows = need_rows(head, features, labels)
    objective = LinearObjective(
        features,
        rows.labels,
        balanced_weights(rows.labels, rows.counts),
        rows.mean.float(),
        num_classes=len(rows.counts),
        decay=weight_decay,
    )
    solution = minimise(objective, objective.zeros(), tol=tol)
    weight, bias = objective.split(solution.parameters)
    record = {
        "method": "crt",
        "hyperparameters": {"weight_decay": weight_decay, "tol": tol},
        "solver": solution.summary(),
    }
    return LinearHead(weight, bias, record=record)
