"""Logit adjustment: take the training prior out of the logits, and put the prior of the target in."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from rebalance.blocks import Features, Labels
from rebalance.head import GatedHead, LinearHead
from rebalance.methods.ncm import ABSENT
from rebalance.methods.needs import lineage, need_head
from rebalance.prior import TargetPrior, log_prior, log_target, training_counts
from rebalance.search.intervals import exact_logits, row_intervals
from rebalance.search.path import Floats, correct_intervals

LARGEST = 1e3  # nats of correction up to which float32 logits err by less than 1e-4


def logit_adjust(
    head: LinearHead | None,
    features: Features,
    labels: Labels,
    *,
    tau: float = 1.0,
    target_prior: TargetPrior = "uniform",
    counts: ArrayLike | None = None,
) -> LinearHead:
    """The joint classifier with ``z_k - tau log p_k + log q_k``: for the target prior q instead of the training's p.

    head: the joint head, of any type. features: not used. labels: (N,), used for their counts.
    tau: how much of the training prior is taken out: 0 none, 1 all of it, as is right for calibrated probabilities.
    target_prior: the classes' shares where the head is used: uniform, train (tau 1 then changes nothing), or one
    number a class. A class of share 0 is never predicted.
    counts: (K,) training rows a class; None: those of the labels. A class without any counts as half a row.

    Only the bias changes. Both logarithms are taken relative to the most frequent class's, which adds one number to
    all logits and so changes no probability: with a uniform target that class keeps its bias.
    Source: Menon et al. (ICLR 2021), equation 9; with a target prior PC-softmax in Hong et al. (CVPR 2021). The
    posterior re-calibration of Tian et al. (NeurIPS 2020) is the same family, its beta is tau.
    """
    head = need_head(head, "logit_adjust")
    if not math.isfinite(tau):
        raise ValueError(f"tau is {tau}; expected a finite number, 0..2 as a rule")
    logs = log_prior(training_counts(counts, labels, head.num_classes))
    offsets = log_target(target_prior, logs) - tau * (logs - logs.max())
    if not bool((offsets.abs() < -ABSENT)[~offsets.isneginf()].all()):
        raise ValueError(f"tau {tau:g} takes the bias beyond float32; expected a smaller one, 0..2 as a rule")
    hyperparameters = {"tau": float(tau), "target_prior": _plain(target_prior)}
    record = {"method": "logit_adjust", "hyperparameters": hyperparameters}
    return replace(shifted(head, offsets), record={**lineage(head), **record})


def adjust_intervals(
    head: LinearHead | None,
    features: Features,
    labels: Tensor,
    *,
    target_prior: TargetPrior = "uniform",
    counts: ArrayLike | None = None,
) -> tuple[Floats, Floats]:
    """For each row the open interval (lo, hi) of tau on which logit_adjust is right; lo >= hi where it never is.

    head: the joint head. features: (N, D). labels: (N,), 0..K-1, or -1 (never right). target_prior, counts: as there.
    """
    head = need_head(head, "logit_adjust")
    logs = log_prior(training_counts(counts, labels, head.num_classes)).to(head.weight.device)
    target = log_target(target_prior, logs)

    def rule(z: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        possible = torch.isfinite(target)[own]
        # A class that never comes is out of the race; where it is the true one, any other stands in.
        rival = torch.where(possible, own, target.argmax())
        lo, hi = correct_intervals(z + target, logs.max() - logs, rival)
        return torch.where(possible, lo, math.inf), torch.where(possible, hi, -math.inf)

    return row_intervals(exact_logits(head, features), labels, rule)


def adjust_limits(head: LinearHead | None, *, counts: ArrayLike) -> tuple[float, float]:
    """The range of tau in which float32 logits still hold the head's own differences beside the correction.

    head: the joint head. counts: (K,) training rows a class.
    """
    classes = need_head(head, "logit_adjust").num_classes
    logs = log_prior(training_counts(counts, torch.empty(0, dtype=torch.int64), classes))
    spread = float(logs.max() - logs.min())
    limit = LARGEST / spread if spread > 0 else math.inf
    return -limit, limit


def shifted(head: LinearHead, offsets: Tensor) -> LinearHead:
    """The head with a number added to the logits of each class.

    head: of any type; its record stays. offsets: (K,); a class of -inf is never predicted.
    """
    add = torch.where(offsets.isneginf(), ABSENT, offsets).to(head.weight.device, torch.float64)
    moved = {"bias": head.bias.double() + add}
    if isinstance(head, GatedHead):
        # s (scale (z + d) + offset + e) + (1 - s) (z + d) is the old logit + d for e = d (1 - scale).
        moved["offset"] = head.offset.double() + add * (1 - head.scale.double())
    return replace(head, **moved)  # type: ignore[arg-type]  # the names are those of tensors


def _plain(target: TargetPrior) -> str | list[float]:
    """The target prior as a head's record holds it."""
    return target if isinstance(target, str) else torch.as_tensor(target, dtype=torch.float64).tolist()
