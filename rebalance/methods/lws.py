"""LWS: learnable weight scaling."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from rebalance.blocks import Features, Labels, blocks
from rebalance.head import LinearHead
from rebalance.methods.needs import lineage, need_linear, need_rows
from rebalance.objective import Block, ScaleObjective, balanced_weights
from rebalance.solver import minimise

KEEP = 2**27  # logits up to this many (0.5 GiB) are kept between passes; more are computed again from the features


def lws(
    head: LinearHead | None,
    features: Features,
    labels: Labels,
    *,
    weight_decay: float = 5e-4,
    tol: float = 1e-4,
) -> LinearHead:
    """The joint classifier with one learned factor a class: ``s_k (w_k x + b_k)``.

    head: the joint head; its weight and bias stay as they are up to the factor. features: (N, D) training rows.
    labels: (N,).
    weight_decay: strength of the L2 penalty weight_decay / 2 * |s|^2, which pulls the factors to zero.
    tol: the solver stops when the gradient has fallen to this share of its size at zero.
    ValueError when all weights are zero: no factor changes anything.
    A class without rows keeps a factor that only makes it lose.

    The factors start at one and minimise the class-balanced cross-entropy; the problem is convex, so the minimum is
    found without sampling or seed.
    Source: Kang et al. (ICLR 2020), section 4.1; as in its code the factor scales the bias too. The reference runs 5
    epochs of SGD (learning rate 0.1 or 0.2) and stops short of the minimum.
    """
    head = need_linear(head, "lws")
    if not weight_decay >= 0:
        raise ValueError(f"weight_decay is {weight_decay}; expected 0 or more")
    if not bool(head.weight.any()):
        raise ValueError("all weights of the head are 0: lws has nothing to scale; give a trained head")
    rows = need_rows(head, features, labels)
    here = head.to(rows.device)
    objective = ScaleObjective(
        _logit_blocks(here, features),
        rows.labels,
        balanced_weights(rows.labels, rows.counts),
        decay=weight_decay,
    )
    solution = minimise(objective, torch.ones(head.num_classes, device=rows.device), tol=tol)
    scales = solution.parameters
    record = {
        "method": "lws",
        "hyperparameters": {"weight_decay": weight_decay, "tol": tol},
        "solver": solution.summary(),
    }
    return LinearHead(here.weight * scales[:, None], here.bias * scales, record={**lineage(head), **record})


def _logit_blocks(head: LinearHead, features: Features) -> Callable[[], Iterator[Block]]:
    """A function that yields the head's logits in blocks, from memory where they fit."""
    if len(features) * head.num_classes > KEEP:
        return lambda: ((part, head(block)) for part, block in blocks(features, device=head.weight.device))
    logits: Tensor = head(features)
    return lambda: blocks(logits)
