"""What trained linear heads minimise: a mean loss over the rows plus L2, with its gradient.

    f(W, b) = sum_i w_i * loss(W x_i + b, y_i) + weight_decay / 2 * |W|^2,      sum_i w_i = 1

With cross-entropy it is convex. Rows are read in blocks, so N may be larger than memory; under ranks.together() every
rank reads its own and the sums are added up. Values are summed in float64, for a float32 sum of a hundred thousand
terms would stop a line search early; the logits are float32, and their rounding is what ends a search, at a gradient of
about 1e-4 to 1e-5 of that at zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from rebalance import ranks
from rebalance.blocks import Features, blocks, product_type
from rebalance.solving.curvature import Curvature, Inverse, dense_inverse, inverse_of_rows
from rebalance.solving.loss import SoftmaxLoss

KEEP = 2**24  # numbers of features up to which (64 MiB) they are kept, converted and centred, from pass to pass


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
    return class_weights(labels, counts, torch.ones_like(counts))


def class_weights(labels: Tensor, counts: Tensor, shares: Tensor) -> Tensor:
    """Row weights (N,) in float32, summing to 1, under which class k holds a part of the objective like shares_k.

    labels: (N,), rows labelled -1 weigh nothing. counts: (K,) rows a class. shares: (K,), 0 or more; that of a class
    without rows is left out.
    """
    if not bool((counts > 0).any()):
        raise ValueError("no row has a label; expected at least one labelled row to fit on")
    held = torch.where(counts > 0, shares.to(counts.device, torch.float64), 0.0)
    each = held / held.sum() / counts.clamp_min(1)
    return torch.where(labels >= 0, each[labels.clamp_min(0)], 0.0).to(torch.float32)


class LinearObjective:
    """The objective of a weight and a bias; only the weight is penalised.

    The parameters are the weight (K, D) and, behind it, the bias (K,) *of centred features*, flattened. Centring
    changes neither the minimum nor the penalty (the bias is free), only the conditioning: ReLU features share a large
    mean, and without it the solver needs several times the passes. :meth:`split` gives the weight and the bias of
    the features as they are.

    features, labels, weights: (N, D), (N,), (N,) rows of this rank. mean: (D,) to centre by. decay: weight_decay.
    products: bfloat16 multiplies features and weights in it, which shifts value and gradient by some thousandths.
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
        loss: SoftmaxLoss | None = None,
        products: torch.dtype = torch.float32,
    ) -> None:
        self._products = products
        self._kept: list[tuple[slice, Tensor]] | None = None
        self._features, self._labels, self._weights, self._mean = features, labels, weights, mean
        self._shape = (num_classes, len(mean))
        self._decay = decay
        self._loss = (loss or SoftmaxLoss()).to(mean.device)

    def zeros(self) -> Tensor:
        """The starting point: a weight and a bias of zeros."""
        return self._mean.new_zeros(self._shape[0] * (self._shape[1] + 1))

    def join(self, weight: Tensor, bias: Tensor) -> Tensor:
        """The parameters of a weight (K, D) and a bias (K,) for uncentred features."""
        return torch.cat([weight.flatten(), bias + weight @ self._mean])

    def split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """The weight (K, D) and the bias (K,) for uncentred features."""
        weight, bias = self._parts(parameters)
        return weight, bias - weight @ self._mean

    def _parts(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        classes, width = self._shape
        return parameters[: classes * width].view(classes, width), parameters[classes * width :]

    def __call__(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        weight, bias = self._parts(parameters)
        value = torch.zeros((), dtype=torch.float64, device=weight.device)
        g_weight, g_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        for part, x in self._centred():
            logits = (x @ weight.to(self._products).T).float().add_(bias)
            loss, g = self._loss(logits, self._labels[part], self._weights[part])
            value += loss
            g_weight += g.to(self._products).T @ x
            g_bias += g.sum(dim=0)
        ranks.total(value, g_weight, g_bias)
        g_weight.add_(weight, alpha=self._decay)
        value += 0.5 * self._decay * weight.double().square().sum()
        return value, torch.cat([g_weight.flatten(), g_bias])

    def _centred(self) -> Iterator[tuple[slice, Tensor]]:
        """The rows less their mean in blocks, from memory where they are few.

        Centred before the product: with a mean taken off the bias instead, large numbers would cancel in float32.
        """
        if self._kept is not None:
            yield from self._kept
            return
        few = len(self._features) * self._shape[1] <= KEEP
        kept: list[tuple[slice, Tensor]] = []
        for part, block in blocks(self._features, device=self._mean.device, columns=self._shape[0]):
            x = (block - self._mean).to(self._products)
            if few:
                kept.append((part, x))
            yield part, x
        if few:
            self._kept = kept

    def preconditioner(self) -> Curvature:
        """An approximate inverse of the Hessian, for the solver's first guess of it."""
        classes, width = self._shape
        share = torch.zeros(classes, device=self._mean.device)
        share.index_add_(0, self._labels.clamp_min(0), self._weights)
        ranks.total(share)
        share = share * (1 - share)
        return Curvature(self._inverse(share), share, width)

    def _inverse(self, share: Tensor) -> Inverse:
        """Of every class's ``share * covariance + decay * I``; from the rows where there are fewer than D."""
        if ranks.size() == 1 and len(self._features) < self._shape[1]:
            return inverse_of_rows(self._weighted_rows(), share, self._decay)
        return dense_inverse(self._covariance(), share, self._decay)

    def _weighted_rows(self) -> Tensor:
        """(N, D) centred features times the roots of their weights: their squares are the covariance."""
        device = self._mean.device
        parts = blocks(self._features, device=device)
        rows = torch.cat([(block - self._mean).mul_(self._weights[part].sqrt()[:, None]) for part, block in parts])
        return _finite(rows)

    def _covariance(self) -> Tensor:
        """(D, D) weighted; a guess needs few digits: the products are in bfloat16 where the device multiplies it."""
        device, width = self._mean.device, self._shape[1]
        kind = product_type(device)
        covariance = torch.zeros((width, width), device=device)
        for part, block in blocks(self._features, device=device):
            centred = (block - self._mean).mul_(self._weights[part].sqrt()[:, None]).to(kind)
            covariance += centred.T @ centred
        ranks.total(covariance)
        return _finite(covariance)


def _finite(values: Tensor) -> Tensor:
    """The same; ValueError where one is not finite."""
    if not bool(torch.isfinite(values).all()):
        raise ValueError("the features are too large: their squares leave float32; scale them down")
    return values
