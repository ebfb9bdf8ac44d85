"""Multiplicative logit adjustment: enlarge the logits of rare classes by a power of their counts."""

from __future__ import annotations

import math

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from rebalance.blocks import Features, Labels
from rebalance.head import LinearHead
from rebalance.methods.needs import lineage, need_linear
from rebalance.prior import log_prior, training_counts
from rebalance.search.intervals import exact_logits, row_intervals
from rebalance.search.path import Floats, power_intervals

LOG_RANGE = 40.0  # half of what float32 holds, e^-87 to e^88; the rest is for the weights themselves


def multiplicative(
    head: LinearHead | None,
    features: Features,
    labels: Labels,
    *,
    gamma: float = 0.3,
    tau: float = 0.0,
    center: bool = True,
    counts: ArrayLike | None = None,
) -> LinearHead:
    """The joint classifier with ``z_k (n_k / n_max)^-gamma - tau log p_k``; z the row's centred logits.

    head: the joint head. features: not used. labels: (N,), used for their counts.
    gamma: the power; 0 leaves the logits, the most frequent class keeps its own at every gamma.
    tau: how much of the training prior p is taken out besides, as in logit_adjust.
    center: first take the mean of a row's logits off each of them, which changes no decision of the joint head; without
    it z are the logits as they are.
    counts: (K,) training rows a class; None: those of the labels. A class without any counts as half a row.
    ValueError when the powers leave float32.

    Rare classes' logits are enlarged. A factor above 1 helps a class where its logit is positive and harms it where it
    is negative. Softmax logits are only known up to one number a row, and so is their sign; centred, it says whether
    the class is above the average, and a shift of all logits changes nothing. The centring folds into the head.
    Source: Hasegawa & Sato (ICLR 2025), multiplicative logit adjustment z_k p_k^-gamma, which is center=False up to a
    factor common to all classes; with tau the inverse of the vector-scaling loss of Kini et al. (NeurIPS 2021), whose
    code has gamma 0.3. Neither centres.
    """
    head = need_linear(head, "multiplicative")
    _check(gamma, tau, center)
    logs = _relative_logs(head, counts, labels)
    factors = torch.exp(-gamma * logs)
    scored = _centred(head) if center else head
    weight = (scored.weight.double() * factors[:, None]).float()
    bias = (scored.bias.double() * factors - tau * logs).float()
    if not bool(torch.isfinite(weight).all() and torch.isfinite(bias).all()):
        raise ValueError(f"gamma {gamma:g} with tau {tau:g} takes the head beyond float32; expected both in 0..2")
    hyperparameters = {"gamma": float(gamma), "tau": float(tau), "center": center}
    record = {"method": "multiplicative", "hyperparameters": hyperparameters}
    return LinearHead(weight, bias, record={**lineage(head), **record})


def gamma_intervals(
    head: LinearHead | None,
    features: Features,
    labels: Tensor,
    *,
    tau: float = 0.0,
    center: bool = True,
    counts: ArrayLike | None = None,
) -> tuple[Floats, Floats]:
    """For each row the open interval (lo, hi) of gamma on which multiplicative is right; lo >= hi where it never is.

    head: the joint head. features: (N, D). labels: (N,), 0..K-1, or -1 (never right). center, counts: as there.
    tau: only 0; another makes a sum of the scores, which is no longer affine in gamma in logarithms.
    """
    head = need_linear(head, "multiplicative")
    _check(0.0, tau, center)
    if tau != 0:
        raise ValueError(
            f"gamma cannot be searched exactly with tau {tau:g}: a row may be right on several intervals of gamma; "
            "give a grid, such as --grid gamma=0:1:0.1, or use tau 0"
        )
    logs = _relative_logs(head, counts, labels)
    scored = _centred(head) if center else head
    return row_intervals(exact_logits(scored, features), labels, lambda z, own: power_intervals(z, logs, own))


def gamma_limits(head: LinearHead | None, *, counts: ArrayLike) -> tuple[float, float]:
    """The range of gamma in which float32 holds the factors with room to spare.

    head: the joint head. counts: (K,) training rows a class.
    """
    smallest = float(_relative_logs(need_linear(head, "multiplicative"), counts, torch.empty(0).long()).min())
    limit = LOG_RANGE / -smallest if smallest < 0 else math.inf
    return -limit, limit


def _check(gamma: float, tau: float, center: bool) -> None:
    for name, value in (("gamma", gamma), ("tau", tau)):
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}; expected a finite number, 0..2 as a rule")
    if not isinstance(center, bool):
        raise ValueError(f"center is {center!r}; expected True or False")


def _relative_logs(head: LinearHead, counts: ArrayLike | None, labels: Labels) -> Tensor:
    """(K,) log(n_k / n_max) on the head's device."""
    logs = log_prior(training_counts(counts, labels, head.num_classes)).to(head.weight.device)
    return logs - logs.max()


def _centred(head: LinearHead) -> LinearHead:
    """The head whose logits are the given one's less their mean over the classes."""
    weight, bias = head.weight.double(), head.bias.double()
    return LinearHead(weight - weight.mean(dim=0), bias - bias.mean())
