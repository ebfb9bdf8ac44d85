"""Label-aware smoothing: the targets of frequent classes are smoothed more, for the head is sure of them anyway."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from rebalance.blocks import Features, Labels
from rebalance.head import LinearHead
from rebalance.rows import need_rows
from rebalance.solving.loss import SoftmaxLoss
from rebalance.solving.trained import refuse_solver, train


def label_aware_smoothing(
    head: LinearHead | None,
    features: Features,
    labels: Labels,
    *,
    epsilon_head: float = 0.3,
    epsilon_tail: float = 0.0,
    shape: Literal["concave", "linear", "convex"] = "concave",
    weight_decay: float = 5e-4,
    tol: float | None = None,
    visits: int | None = None,
    seed: int = 0,
    start: LinearHead | None = None,
) -> LinearHead:
    """A fresh linear classifier, trained on targets ``1 - e_y`` plus e_y spread over all classes, classes alike.

    head: gives the number of classes; its weights are not used; may be None. features: (N, D) training rows.
    labels: (N,), whose counts n decide e.
    epsilon_head: e of the most frequent class, from 0 to 1.
    epsilon_tail: e of the rarest class that has rows, no more than epsilon_head.
    shape: how e goes from one to the other with t = (n - n_min) / (n_max - n_min): concave sin(t pi / 2), linear t,
    convex 1 - cos(t pi / 2). Where all counts are equal, all classes are the most frequent.
    weight_decay: strength of the L2 penalty weight_decay / 2 * |weight|^2 on the mean loss.
    tol: run on to the optimum, until the gradient has fallen to this share of its size at the start. Below about 1e-4
    the rounding of float32 logits ends the search first; the record then says so.
    visits: rows that the fast recipe visits; without it as many as there are, at least 102,400. Fewer regularise, like
    a stronger decay.
    seed: of the order of the visits.
    start: a head to begin at instead of zeros, such as the joint head, where the authors begin.
    A class without rows is pushed down to the e_y / K that the targets leave it.

    Every class weighs the same. The problem is convex; its minimum, or one pass of stochastic descent where that takes
    long, stands in for the authors' 10 epochs of class-balanced SGD. They train s_k and w_k of ``s_k (w_k x + b_k)``,
    the latter at a smaller rate; the heads that this can express are the same. e of 0.4 and 0.1 are theirs for
    Places-LT and CIFAR-100-LT.
    Source: Zhong et al. (CVPR 2021), label-aware smoothing (section 3). Their code also has a shape exp, not offered.
    """
    refuse_solver(weight_decay, tol, visits, seed)
    _check(epsilon_head, epsilon_tail, shape)
    rows = need_rows(head, features, labels)
    loss = SoftmaxLoss(smoothing=smoothing_factors(rows.counts, epsilon_head, epsilon_tail, shape))
    weight, bias, solver = train(
        rows,
        torch.ones(len(rows.counts), device=rows.device),
        loss,
        weight_decay=weight_decay,
        tol=tol,
        visits=visits,
        seed=seed,
        start=start,
    )
    hyperparameters = {
        "epsilon_head": epsilon_head, "epsilon_tail": epsilon_tail, "shape": shape,
        "weight_decay": weight_decay, "tol": tol, "visits": visits, "seed": seed,
    }  # fmt: skip
    record = {"method": "label_aware_smoothing", "hyperparameters": hyperparameters, "solver": solver}
    return LinearHead(weight, bias, record=record)


def smoothing_factors(counts: Tensor, head: float, tail: float, shape: str) -> Tensor:
    """How much of its target each class gives away (K,), float64.

    counts: (K,) rows a class; one without rows, whose factor is never used, has that of the rarest. head, tail: at the
    largest count and at the smallest above 0. shape: concave, linear or convex in between.
    """
    known = counts.double()
    least, most = known[known > 0].min(), known.max()
    t = torch.where(most > least, ((known - least) / (most - least).clamp_min(1)).clamp_min(0), 1.0)
    if shape == "concave":
        t = torch.sin(t * math.pi / 2)
    elif shape == "convex":
        t = 1 - torch.cos(t * math.pi / 2)
    return tail + (head - tail) * t


def _check(head: float, tail: float, shape: str) -> None:
    if not 0 <= head <= 1:
        raise ValueError(f"epsilon_head is {head}; expected a number from 0 to 1, such as 0.3")
    if not 0 <= tail <= head:
        raise ValueError(f"epsilon_tail is {tail}; expected a number from 0 to epsilon_head, which is {head}")
    if shape not in ("concave", "linear", "convex"):
        raise ValueError(f"shape is {shape!r}; expected concave, linear or convex")
