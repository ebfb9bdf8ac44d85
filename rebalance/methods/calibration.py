"""What the calibrating methods share: factors and offsets of given logits, fitted to held-out rows."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rebalance.blocks import Features, Labels
from rebalance.head import GatedHead, LinearHead
from rebalance.methods.logit_adjust import shifted
from rebalance.methods.ncm import ABSENT
from rebalance.methods.needs import lineage, need_head
from rebalance.rows import Rows, need_rows
from rebalance.solving.objective import class_weights
from rebalance.solving.rescaling import RescaledObjective, logit_blocks
from rebalance.solving.solver import Solution, minimise

FLATTEST = 1e-3  # the smallest factor of a temperature: 1000 is as good as infinite
NEVER = 1e-10 * ABSENT  # a bias below it is that of a class never predicted, also if it was rescaled


def calibrated(
    head: LinearHead | None,
    features: Features,
    labels: Labels,
    *,
    method: str,
    per_class: bool,
    offsets: bool,
    weight_decay: float,
    tol: float,
) -> LinearHead:
    """The head with logits ``s_k z_k + b_k`` that minimise the mean cross-entropy on the rows and a penalty.

    head: of any type. features, labels: (N, D) and (N,), rows the head was not trained on. method: for the record.
    per_class: a factor a class, of any sign; otherwise one for all, FLATTEST or more. offsets: whether there are any.
    weight_decay: strength of the pull to the head as it is. tol: where the solver stops.
    ValueError when no row is of a class that the head predicts at all.
    """
    head = need_head(head, method)
    if not (weight_decay >= 0 and math.isfinite(weight_decay)):
        raise ValueError(f"weight_decay is {weight_decay}; expected 0 or more")
    rows = _predicted(head, need_rows(head, features, labels), method)
    here = head.to(rows.device)
    classes = here.num_classes
    factors, shifts, solution = _solve(
        here, rows, factors=classes if per_class else 1, offsets=offsets, decay=weight_decay, tol=tol
    )
    if not per_class and float(factors[0]) < FLATTEST:
        # The problem is convex: where the best factor is out of range, the best one within is its end.
        factors = torch.full_like(factors, FLATTEST)
        if offsets:
            pinned = rescaled(here, factors)
            _, shifts, solution = _solve(pinned, rows, factors=0, offsets=True, decay=weight_decay, tol=tol)
    hyperparameters = {"weight_decay": weight_decay, "tol": tol}
    record: dict[str, Any] = {"method": method, "hyperparameters": hyperparameters, "solver": solution.summary()}
    if not per_class:
        record["temperature"] = 1 / float(factors[0])
    moved = shifted(rescaled(here, factors), shifts) if offsets else rescaled(here, factors)
    return replace(moved, record={**lineage(head), **record})


def rescaled(head: LinearHead, factors: Tensor) -> LinearHead:
    """The head whose logits are the given one's times a factor a class.

    head: of any type; its record stays. factors: (K,).
    """
    changed = {"weight": head.weight * factors[:, None], "bias": head.bias * factors}
    if isinstance(head, GatedHead):
        changed["offset"] = head.offset * factors
    return replace(head, **changed)  # type: ignore[arg-type]  # the names are those of tensors


def _predicted(head: LinearHead, rows: Rows, method: str) -> Rows:
    """The rows without those of classes that the head never predicts: their loss is as good as infinite."""
    known = head.bias.to(rows.device) > NEVER
    if not bool((rows.counts * known).any()):
        raise ValueError(
            f"no row is of a class that the head ever predicts: {method} has nothing to go by; "
            "expected rows of the classes it was trained on"
        )
    labels = torch.where((rows.labels >= 0) & known[rows.labels.clamp_min(0)], rows.labels, -1)
    return replace(rows, labels=labels, counts=rows.counts * known)


def _solve(
    head: LinearHead, rows: Rows, *, factors: int, offsets: bool, decay: float, tol: float
) -> tuple[Tensor, Tensor, Solution]:
    """The best factors (K,) and offsets (K,) on the rows, and the solver's summary."""
    identity = torch.cat([torch.ones(factors), torch.zeros(head.num_classes * offsets)]).to(rows.device)
    objective = RescaledObjective(
        logit_blocks(head, rows.features),
        rows.labels,
        class_weights(rows.labels, rows.counts, rows.counts),
        num_classes=head.num_classes,
        factors=factors,
        offsets=head.num_classes * offsets,
        pull=identity,
        decay=decay,
    )
    solution = minimise(objective, identity, tol=tol)
    return *objective.split(solution.parameters), solution
