"""MARC: margin calibration."""

from __future__ import annotations

import math

import torch

from rebalance.blocks import Features, Labels
from rebalance.head import LinearHead
from rebalance.methods.needs import lineage, need_linear
from rebalance.rows import need_rows
from rebalance.solving.objective import class_weights
from rebalance.solving.rescaling import RescaledObjective, logit_blocks
from rebalance.solving.shares import power_shares
from rebalance.solving.solver import minimise


def marc(
    head: LinearHead | None,
    features: Features,
    labels: Labels,
    *,
    rho: float = 1.2,
    weight_decay: float = 5e-4,
    tol: float = 1e-4,
) -> LinearHead:
    """The joint classifier with a learned factor and margin a class: ``a_k (w_k x + b_k) + d_k |w_k|``.

    head: the joint head; its weight and bias stay as they are up to the factor and the margin. features: (N, D)
    training rows. labels: (N,).
    rho: a row of a class with n rows weighs n^-rho: 0 every row the same, 1 every class.
    weight_decay: strength of the L2 penalty weight_decay / 2 * (|a|^2 + |d|^2), which pulls factors and margins to
    zero.
    tol: the solver stops when the gradient has fallen to this share of its size at zero.
    ValueError when all weights are zero: no factor or margin changes anything.
    A class without rows keeps a factor and a margin that only make it lose.

    The factors start at one and the margins at zero, the joint head; the problem is convex, so the minimum is found
    without sampling or seed where the authors run SGD, with the same decay to zero.
    Source: Wang et al. (ACML 2022), the margin calibration function; its loss is the generalised re-weighting of
    Zhang et al. (CVPR 2021).
    """
    head = need_linear(head, "marc")
    if not (weight_decay >= 0 and math.isfinite(weight_decay)):
        raise ValueError(f"weight_decay is {weight_decay}; expected 0 or more")
    if not bool(head.weight.any()):
        raise ValueError("all weights of the head are 0: marc has nothing to calibrate; give a trained head")
    rows = need_rows(head, features, labels)
    here = head.to(rows.device)
    norms = torch.linalg.vector_norm(here.weight.double(), dim=1).float()
    classes = here.num_classes
    start = torch.cat([torch.ones(classes), torch.zeros(classes)]).to(rows.device)
    objective = RescaledObjective(
        logit_blocks(here, rows.features),
        rows.labels,
        class_weights(rows.labels, rows.counts, power_shares(rows.counts, rho)),
        num_classes=classes,
        factors=classes,
        offsets=classes,
        unit=norms,
        pull=torch.zeros_like(start),
        decay=weight_decay,
    )
    solution = minimise(objective, start, tol=tol)
    factors, offsets = objective.split(solution.parameters)
    hyperparameters = {"rho": rho, "weight_decay": weight_decay, "tol": tol}
    record = {"method": "marc", "hyperparameters": hyperparameters, "solver": solution.summary()}
    return LinearHead(here.weight * factors[:, None], here.bias * factors + offsets, record={**lineage(head), **record})
