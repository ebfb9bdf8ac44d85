"""tau-normalisation: rescale each class's weight by a power of its norm."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from rebalance.blocks import Features, Labels, width
from rebalance.head import LinearHead
from rebalance.methods.needs import lineage, need_linear
from rebalance.search.intervals import Block, exact_logits, given_logits, row_intervals
from rebalance.search.path import Floats, power_intervals

LOG_RANGE = 80.0  # float32 reaches from e^-87 to e^88; the entries of a weight are below its norm


def tau_norm(
    head: LinearHead | None,
    features: Features,
    labels: Labels,
    *,
    tau: float = 1.0,
    bias: Literal["drop", "keep", "scale"] = "drop",
) -> LinearHead:
    """The joint classifier with ``weight_k / |weight_k|^tau``; nothing is fitted.

    head: the joint head. features, labels: not used (they choose tau: see tune).
    tau: 0 leaves the weights, 1 makes all norms one.
    bias: drop it, as the paper and its code do (so tau = 0 is not the joint head either), keep it, or scale it like
    its class's weight.
    ValueError when a class's weight has norm 0: there is nothing to rescale.
    Source: Kang et al. (ICLR 2020), section 4.
    """
    head = need_linear(head, "tau_norm")
    if not math.isfinite(tau):
        raise ValueError(f"tau is {tau}; expected a finite number, 0..2 as a rule")
    # In float64: w / |w|^tau leaves float32's range for tiny norms long before the result does.
    factors = torch.exp(-tau * _log_norms(head))
    weight = (head.weight.double() * factors[:, None]).float()
    if not bool(torch.isfinite(weight).all()):
        raise ValueError(f"tau {tau:g} takes the weights beyond float32; expected a smaller one, 0..2 as a rule")
    biases = {"drop": torch.zeros_like(head.bias), "keep": head.bias, "scale": (head.bias * factors).float()}
    if bias not in biases:
        raise ValueError(f"bias is {bias!r}; expected drop, keep or scale")
    record = {"method": "tau_norm", "hyperparameters": {"tau": float(tau), "bias": bias}}
    return LinearHead(weight, biases[bias], record={**lineage(head), **record})


def tau_intervals(
    head: LinearHead | None, features: Features, labels: Tensor, *, bias: str = "drop"
) -> tuple[Floats, Floats]:
    """For each row the open interval (lo, hi) of tau on which tau_norm is right; lo >= hi where it never is.

    head: the joint head. features: (N, D). labels: (N,), 0..K-1, or -1 (never right). bias: drop or scale; a kept
    bias makes the scores no longer affine in tau (a row may be right on several intervals), which is refused.

    With z the logits, class k scores z_k |w_k|^-tau.
    """
    head = need_linear(head, "tau_norm")
    if bias == "keep":
        raise ValueError(
            "tau cannot be searched exactly with bias=keep: a row may be right on several intervals of tau; "
            "give a grid, such as --grid tau=0:2:0.1, or use bias=drop or bias=scale"
        )
    scored = head if bias == "scale" else replace(head, bias=torch.zeros_like(head.bias))
    return _searched(head, exact_logits(scored, features), labels)


def tau_intervals_of_logits(head: LinearHead | None, logits: Features, labels: Tensor) -> tuple[Floats, Floats]:
    """The same from logits at hand, with bias=drop: no product of features and weight is needed.

    head: the joint head. logits: (N, K), its logits, bias included. labels: (N,), as there.
    """
    head = need_linear(head, "tau_norm")
    if width(logits) != head.num_classes or len(logits) != len(labels):
        raise ValueError(
            f"logits have shape {tuple(logits.shape)}; expected ({len(labels)}, {head.num_classes}), those of the head"
        )
    return _searched(head, given_logits(logits, head.bias), labels)


def _searched(head: LinearHead, logits: Iterable[Block], labels: Tensor) -> tuple[Floats, Floats]:
    log_norms = _log_norms(head)
    return row_intervals(logits, labels, lambda z, own: power_intervals(z, log_norms, own))


def tau_limits(head: LinearHead | None) -> tuple[float, float]:
    """The range of tau in which float32 still holds every rescaled norm with room to spare."""
    largest = float(_log_norms(need_linear(head, "tau_norm")).abs().max())
    limit = LOG_RANGE / largest if largest > 0 else math.inf
    return 1 - limit, 1 + limit  # the norm becomes |w|^(1 - tau)


def _log_norms(head: LinearHead) -> Tensor:
    """(K,) log|w_k| in float64."""
    norms = torch.linalg.vector_norm(head.weight.double(), dim=1)
    zero = torch.nonzero(norms == 0)
    if len(zero):
        raise ValueError(
            f"the weight of class {int(zero[0])} has norm 0 ({len(zero)} of {len(norms)} classes have): "
            "tau_norm cannot rescale it; use another method or a head trained on every class"
        )
    log_norms: Tensor = norms.log()
    return log_norms
