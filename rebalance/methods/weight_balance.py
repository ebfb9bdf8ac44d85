"""Weight balancing: a class-balanced head whose weights are kept below a common length."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from rebalance.blocks import Features, Labels
from rebalance.head import LinearHead
from rebalance.methods.needs import need_linear
from rebalance.rows import need_rows
from rebalance.solving.balls import Balls, minimise_within
from rebalance.solving.loss import SoftmaxLoss
from rebalance.solving.objective import LinearObjective, class_weights
from rebalance.solving.shares import effective_shares
from rebalance.solving.spread import largest_deviation


def weight_balance(
    head: LinearHead | None,
    features: Features,
    labels: Labels,
    *,
    weight_decay: float = 5e-4,
    radius: float | None = None,
    beta: float = 0.9999,
    loss: Literal["softmax", "bce"] = "softmax",
    tol: float = 1e-3,
    start: LinearHead | None = None,
) -> LinearHead:
    """A linear classifier trained on re-weighted rows, no class's weight longer than the radius (MaxNorm).

    head: the joint head, whose norms give the radius and where the solver starts, unless zeros are better.
    features: (N, D) training rows. labels: (N,).
    weight_decay: strength of the L2 penalty weight_decay / 2 * |weight|^2 on the mean loss.
    radius: the largest norm a class's weight may have, above 0; None: a tenth of the way from the smallest to the
    largest norm of the head's weights, as in the reference.
    beta: of the effective numbers: a row of a class with n rows weighs 1 / (1 - beta^n).
    loss: softmax cross-entropy, or bce, the reference's: the binary cross-entropies of the softmax probabilities,
    added up over the classes. The reference takes their mean, which is the same with a weight decay K times as large.
    tol: the solver stops when the gradient has fallen to this share of its size at zero or at the start; where a weight
    is at the radius, what would only lengthen it does not count.
    start: a head to begin at instead of the given one.
    ValueError when no radius is given and all weights are zero.
    A class without rows is pushed away from by all others and loses to them. The record holds the radius, how many
    classes feel it and what the solver did.

    With softmax the problem is convex, so its minimum is found, by projected gradients over all rows in place of
    the reference's SGD with a projection an epoch; with bce it is not, and a minimum near the start is found. The bias
    is free. The reference's weight decay of 0.1 belongs to ten epochs from the joint head, which end long before any
    minimum: at the minimum it would leave the radius without effect.
    Source: Alshammari et al. (CVPR 2022), its MaxNorm constraint; the weights of rows from Cui et al. (CVPR 2019).
    """
    head = need_linear(head, "weight_balance")
    bound = _radius(head, radius)
    if not (weight_decay >= 0 and math.isfinite(weight_decay)):
        raise ValueError(f"weight_decay is {weight_decay}; expected 0 or more")
    if loss not in ("softmax", "bce"):
        raise ValueError(f"loss is {loss!r}; expected softmax or bce")
    rows = need_rows(head, features, labels)
    objective = LinearObjective(
        rows.features,
        rows.labels,
        class_weights(rows.labels, rows.counts, effective_shares(rows.counts, beta)),
        rows.mean.float(),
        num_classes=head.num_classes,
        decay=weight_decay,
        loss=SoftmaxLoss() if loss == "softmax" else SoftmaxBce(),
    )
    begin = (head if start is None else start).to(rows.device)
    balls = Balls(head.num_classes, head.width, bound, largest_deviation(rows))
    solution, multipliers = minimise_within(objective, objective.join(begin.weight, begin.bias), balls, tol=tol)
    weight, bias = objective.split(solution.parameters)
    hyperparameters = {"weight_decay": weight_decay, "radius": radius, "beta": beta, "loss": loss, "tol": tol}
    record = {
        "method": "weight_balance",
        "hyperparameters": hyperparameters,
        "radius": bound,
        "bounded_classes": int((multipliers > 0).sum()),
        "solver": solution.summary(),
    }
    return LinearHead(weight, bias, record=record)


def _radius(head: LinearHead, radius: float | None) -> float:
    if radius is not None:
        if not (radius > 0 and math.isfinite(radius)):
            raise ValueError(f"radius is {radius}; expected a number above 0, or None")
        return float(radius)
    norms = torch.linalg.vector_norm(head.weight.double(), dim=1)
    bound = float(norms.min() + 0.1 * (norms.max() - norms.min()))
    if not bound > 0:
        raise ValueError("all weights of the head are 0, so they give no radius; give one, or a trained head")
    return bound


class SoftmaxBce(SoftmaxLoss):
    """Binary cross-entropies of softmax probabilities, added up over the classes; not convex."""

    def __call__(self, logits: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """The weighted sum of the rows' losses (float64) and its gradient in the logits (B, K).

        logits: (B, K) float32, left alone. labels: (B,), -1 allowed where the weight is 0. weights: (B,).
        """
        column = labels.clamp_min(0)[:, None]
        log_p = torch.log_softmax(logits, dim=1)
        own, p = log_p.gather(1, column), log_p.exp()
        top = log_p.argmax(dim=1, keepdim=True)
        # Of the largest p, which may round to 1, the complement is the sum of the others.
        rest = log_p.scatter(1, top, -math.inf).logsumexp(dim=1, keepdim=True)
        log_miss = torch.log1p(-p).scatter_(1, top, rest).scatter_(1, column, 0.0)
        value = -own[:, 0] - log_miss.sum(dim=1)
        # p_j (2 - sum of the odds p / (1 - p) of the other wrong classes) for a wrong class j. The odds of a wrong top
        # class may leave float32: times p_j they are p_top times j's share of what the top class leaves.
        odds = (log_p - log_miss).exp_().scatter_(1, column, 0.0).scatter_(1, top, 0.0)
        others = odds.sum(dim=1, keepdim=True)
        left = (log_p - rest).scatter_(1, top, -math.inf).exp_()
        pushed = torch.where(top == column, 0.0, left * p.gather(1, top))
        right = torch.expm1(own) - p.gather(1, column) * others - pushed.gather(1, column)
        gradient = (p * (2 - others + odds) - pushed).scatter_(1, column, right).mul_(weights[:, None])
        return (value.double() * weights).sum(), gradient
