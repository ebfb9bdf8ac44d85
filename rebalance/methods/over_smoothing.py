"""LOS: label over-smoothing, a short way from the joint head towards targets that are hardly above one another."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rebalance.blocks import Features, Labels
from rebalance.head import LinearHead
from rebalance.methods.needs import lineage, need_linear
from rebalance.rows import need_rows
from rebalance.solving.loss import SoftmaxLoss
from rebalance.solving.objective import LinearObjective, class_weights
from rebalance.solving.solver import minimise


def over_smoothing(
    head: LinearHead | None,
    features: Features,
    labels: Labels,
    *,
    smoothing: float = 0.98,
    weight_decay: float = 0.1,
    tol: float = 1e-3,
) -> LinearHead:
    """The joint classifier, moved towards targets of ``1 - smoothing`` plus smoothing / K everywhere.

    head: the joint head. features: (N, D) training rows. labels: (N,).
    smoothing: from 0 to 1: 0 is plain cross-entropy; at 0.98 every row, of whatever class, asks for the same small
    margin of its logit, log(1 + K (1 - smoothing) / smoothing).
    weight_decay: strength of the pull to the joint head, weight_decay / 2 * (|w - w_joint|^2 + |b - b_joint|^2) on the
    mean loss; of the order of 1 over the time of the gradient descent it stands for, see below.
    tol: the solver stops when the gradient has fallen to this share of its size at the joint head. Below about
    5e-4 the rounding of float32 logits ends the search first; the record then says so.
    A class without rows is asked for smoothing / K by every row, so it may win where no other class fits.

    Every row weighs the same and no count is used. The authors go 20 epochs at a small rate without decay, and that
    they stop is part of the method; the loss has its minimum at a head that serves the frequent classes. Here the pull
    holds back in place of the stop. The problem is convex and needs no seed, and with a weight decay of (1 - momentum)
    over the sum of the learning rates, 0.1 for theirs on CIFAR-100-LT, its minimum is nearly where SGD stops.
    Source: Sun et al. (ICLR 2025), label over-smoothing.
    """
    head = need_linear(head, "over_smoothing")
    if not 0 <= smoothing <= 1:
        raise ValueError(f"smoothing is {smoothing}; expected a number from 0 to 1, such as 0.98")
    if not (weight_decay >= 0 and math.isfinite(weight_decay)):
        raise ValueError(f"weight_decay is {weight_decay}; expected 0 or more, such as 0.1")
    rows = need_rows(head, features, labels)
    here = head.to(rows.device)
    loss = LinearObjective(
        rows.features,
        rows.labels,
        class_weights(rows.labels, rows.counts, rows.counts),
        torch.zeros(here.width, device=rows.device),  # uncentred: the pull is on the bias that the head has
        num_classes=here.num_classes,
        decay=0.0,
        loss=SoftmaxLoss(smoothing=torch.full((here.num_classes,), smoothing)),
    )
    joint = loss.join(here.weight, here.bias)

    def pulled(way: Tensor) -> tuple[Tensor, Tensor]:
        """The objective of how far the parameters are from the joint head's."""
        value, gradient = loss(joint + way)
        return value + 0.5 * weight_decay * way.double().square().sum(), gradient.add_(way, alpha=weight_decay)

    solution = minimise(pulled, torch.zeros_like(joint), tol=tol)
    weight, bias = loss.split(joint + solution.parameters)
    hyperparameters = {"smoothing": smoothing, "weight_decay": weight_decay, "tol": tol}
    record = {"method": "over_smoothing", "hyperparameters": hyperparameters, "solver": solution.summary()}
    return LinearHead(weight, bias, record={**lineage(head), **record})
