"""DisAlign: a correction of the logits that each row takes its own share of."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rebalance import ranks
from rebalance.blocks import Features, Labels, blocks
from rebalance.head import GatedHead, LinearHead
from rebalance.methods.needs import lineage, need_linear
from rebalance.rows import Rows, need_rows
from rebalance.solving.loss import SoftmaxLoss
from rebalance.solving.objective import class_weights
from rebalance.solving.rescaling import KEEP
from rebalance.solving.shares import power_shares
from rebalance.solving.solver import minimise
from rebalance.solving.spread import largest_deviation


def disalign(
    head: LinearHead | None,
    features: Features,
    labels: Labels,
    *,
    rho: float = 1.2,
    weight_decay: float = 5e-4,
    tol: float = 1e-3,
) -> LinearHead:
    """Logits ``s (a_k z_k + d_k) + (1 - s) z_k``: z the joint head's, s = sigmoid(v x + c) a number a row.

    head: the joint head; its weight and bias stay as they are. features: (N, D) training rows. labels: (N,).
    rho: a row of a class with n rows weighs n^-rho: 0 every row the same, 1 every class.
    weight_decay: strength of the L2 penalty weight_decay / 2 * (|a|^2 + |d|^2 + |v|^2 + c'^2) on the mean loss, which
    pulls them to zero; c' = c + v m belongs to the gate of features centred by their mean m.
    tol: the solver stops when the gradient has fallen to this share of its size at zero.
    ValueError when all weights are zero: no scale changes anything.
    A class without rows keeps a scale and an offset that make it lose where the gate is open.

    The start is a = 1, d = 0, v = 0, c = 0, where the logits are the joint head's. The loss is not convex in gate and
    correction together; L-BFGS from there finds a minimum, the same one each time, where the authors run SGD, with the
    same decay but of c itself and from a random gate. Other codes write (1 + s a) z + s d, which at a = 1 starts
    elsewhere.
    Source: Zhang et al. (CVPR 2021), adaptive calibration and generalised re-weighting.
    """
    head = need_linear(head, "disalign")
    if not (weight_decay >= 0 and math.isfinite(weight_decay)):
        raise ValueError(f"weight_decay is {weight_decay}; expected 0 or more")
    if not bool(head.weight.any()):
        raise ValueError("all weights of the head are 0: disalign has nothing to align; give a trained head")
    rows = need_rows(head, features, labels)
    here = head.to(rows.device)
    objective = GatedObjective(
        here, rows, class_weights(rows.labels, rows.counts, power_shares(rows.counts, rho)), decay=weight_decay
    )
    solution = minimise(objective, objective.start(), tol=tol)
    scale, offset, gate, gate_bias = objective.split(solution.parameters)
    hyperparameters = {"rho": rho, "weight_decay": weight_decay, "tol": tol}
    record = {"method": "disalign", "hyperparameters": hyperparameters, "solver": solution.summary()}
    return GatedHead(
        here.weight,
        here.bias,
        record={**lineage(head), **record},
        scale=scale,
        offset=offset,
        gate=gate,
        gate_bias=gate_bias,
    )


class GatedObjective:
    """The objective of a scale and an offset a class and of the gate.

    The parameters are a (K,), d (K,), v (D,) times the features' largest deviation, and c' (), flattened: the
    gate of features centred and scaled, so that all parameters are of one size.

    head: gives the logits z. rows: training rows. weights: (M,) of this rank's rows. decay: weight_decay.
    """

    def __init__(self, head: LinearHead, rows: Rows, weights: Tensor, *, decay: float) -> None:
        self._labels, self._weights, self._features = rows.labels, weights, rows.features
        self._kept = head(rows.features) if len(rows.features) * head.num_classes <= KEEP else None
        self._head, self._loss = head, SoftmaxLoss()
        self._classes, self._decay = head.num_classes, decay
        self._mean = rows.mean.float()
        self._length = largest_deviation(rows)

    def start(self) -> Tensor:
        """The parameters at which the logits are the head's."""
        free = self._mean.new_zeros(self._classes + len(self._mean) + 1)
        return torch.cat([self._mean.new_ones(self._classes), free])

    def split(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Scale (K,), offset (K,), gate (D,) and gate bias () for features as they are."""
        scale, offset, gate, centred_bias = self._parts(parameters)
        return scale, offset, gate, centred_bias - gate @ self._mean

    def _parts(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        scale, offset, gate = torch.tensor_split(parameters[:-1], [self._classes, 2 * self._classes])
        return scale, offset, gate / self._length, parameters[-1]

    def __call__(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        scale, offset, gate, gate_bias = parts = self._parts(parameters)
        value = torch.zeros((), dtype=torch.float64, device=parameters.device)
        g_scale, g_offset, g_gate, g_bias = sums = [torch.zeros_like(each) for each in parts]
        for part, x in blocks(self._features, device=parameters.device):
            z = self._head(x) if self._kept is None else self._kept[part]
            share = torch.sigmoid(x @ gate + (gate_bias - gate @ self._mean))[:, None]
            correction = torch.addcmul(offset, z, scale - 1)
            loss, g = self._loss(torch.addcmul(z, share, correction), self._labels[part], self._weights[part])
            value += loss
            slope = (g * correction).sum(dim=1) * (share * (1 - share))[:, 0]
            g_gate += slope @ x
            g_bias += slope.sum()
            g.mul_(share)
            g_offset += g.sum(dim=0)
            g_scale += g.mul_(z).sum(dim=0)
        ranks.total(value, *sums)
        g_gate -= g_bias * self._mean  # the gate's features are x - mean
        value += 0.5 * self._decay * sum(each.double().square().sum() for each in parts)
        for total, each in zip(sums, parts, strict=True):
            total.add_(each, alpha=self._decay)
        return value, torch.cat([g_scale, g_offset, g_gate / self._length, g_bias[None]])
