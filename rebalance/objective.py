"""What trained heads minimise: softmax cross-entropy with row weights plus L2, and its gradient.

    f(theta) = sum_i w_i * CE(logits_i(theta), y_i) + weight_decay / 2 * |theta|^2,      sum_i w_i = 1

Both objectives are convex. They read their rows in blocks, so N may be larger than memory. The values are added up in
float64, for a float32 sum of a hundred thousand terms would stop a line search early; the logits are float32, and their
rounding is what ends it, at a gradient of about 1e-4 to 1e-5 of that at the start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from rebalance.blocks import Features, blocks

Block = tuple[slice, Tensor]


class Objective(Protocol):
    """A function of one flat parameter vector."""

    def __call__(self, parameters: Tensor, /) -> tuple[Tensor, Tensor]:
        """Value (a float64 scalar) and gradient (like the parameters), both on the parameters' device."""
        ...


def balanced_weights(labels: Tensor, counts: Tensor) -> Tensor:
    """Row weights (N,) in float32 that give every class the same share: 1 / (C n_y), C the classes that have rows.

    Drawing classes uniformly, as class-balanced sampling does, has this weighted sum as its expectation. Rows
    labelled -1 weigh nothing.
    """
    present = int((counts > 0).sum())
    if present == 0:
        raise ValueError("no row has a label; expected at least one labelled row to fit on")
    share = 1.0 / (present * counts.clamp_min(1).to(torch.float64))
    return torch.where(labels >= 0, share[labels.clamp_min(0)], 0.0).to(torch.float32)


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted sum of the rows' cross-entropies (float64) and its gradient in the logits (B, K).

    logits: (B, K). labels: (B,), -1 allowed where the weight is 0. weights: (B,).
    """
    log_p = log_softmax(logits, dim=1)
    column = labels.clamp_min(0)[:, None]
    value = -(log_p.gather(1, column)[:, 0].double() * weights).sum()
    gradient = log_p.exp_().scatter_add_(1, column, logits.new_full((len(logits), 1), -1.0))
    return value, gradient.mul_(weights[:, None])


class LinearObjective:
    """The objective of a weight and a bias; only the weight is penalised.

    The parameters are the weight (K, D) and, behind it, the bias (K,) *of centred features*, flattened. Centring
    changes neither the minimum nor the penalty (the bias is free), only the conditioning: ReLU features share a large
    mean, and without it the solver needs several times the passes. :meth:`split` gives the weight and the bias of
    the features as they are.
    """

    def __init__(
        self,
        features: Features,
        labels: Tensor,
        weights: Tensor,
        mean: Tensor,
        *,
        num_classes: int,
        decay: float,
    ) -> None:
        self._features, self._labels, self._weights, self._mean = features, labels, weights, mean
        self._shape = (num_classes, len(mean))
        self._decay = decay

    def zeros(self) -> Tensor:
        """The starting point: a weight and a bias of zeros."""
        return self._mean.new_zeros(self._shape[0] * (self._shape[1] + 1))

    def split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """The weight (K, D) and the bias (K,) for uncentred features."""
        weight, bias = self._parts(parameters)
        return weight, bias - weight @ self._mean

    def _parts(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        classes, width = self._shape
        return parameters[: classes * width].view(classes, width), parameters[classes * width :]

    def __call__(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        weight, bias = self.split(parameters)
        value = 0.5 * self._decay * weight.double().square().sum()
        g_weight, g_bias = self._decay * weight, torch.zeros_like(bias)
        for part, block in blocks(self._features, device=weight.device):
            logits = torch.addmm(bias, block, weight.T)
            loss, g = cross_entropy(logits, self._labels[part], self._weights[part])
            value = value + loss
            g_weight.addmm_(g.T, block)
            g_bias += g.sum(dim=0)
        # The centred features are block - mean; their share of the gradient is taken off once, at the end.
        g_weight.addr_(g_bias, self._mean, alpha=-1)
        return value, torch.cat([g_weight.flatten(), g_bias])


class ScaleObjective:
    """The objective of one factor a class on given logits: ``logits_k = s_k z_k``; the penalty pulls s to zero.

    logits: called once a pass, yields the blocks of z as (slice, (B, K) tensor).
    """

    def __init__(self, logits: Callable[[], Iterator[Block]], labels: Tensor, weights: Tensor, *, decay: float) -> None:
        self._logits, self._labels, self._weights, self._decay = logits, labels, weights, decay

    def __call__(self, scales: Tensor) -> tuple[Tensor, Tensor]:
        value = 0.5 * self._decay * scales.double().square().sum()
        gradient = self._decay * scales
        for part, z in self._logits():
            loss, g = cross_entropy(z * scales, self._labels[part], self._weights[part])
            value = value + loss
            gradient = gradient + (g * z).sum(dim=0)
        return value, gradient
