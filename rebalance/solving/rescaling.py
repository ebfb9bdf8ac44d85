"""What heads minimise that only rescale given logits: ``u = s * z + b`` with few parameters.

    f(s, b) = sum_i w_i * loss(u_i, y_i) + decay / 2 * |theta - pull|^2,      sum_i w_i = 1

It is convex and needs no features; its parameters are one factor a class or one for all, and an offset a class or
none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from rebalance import ranks
from rebalance.blocks import Features, blocks
from rebalance.head import LinearHead
from rebalance.solving.loss import SoftmaxLoss

Block = tuple[slice, Tensor]
KEEP = 2**27  # logits up to this many (0.5 GiB) are kept between passes; more are computed again from the features


class RescaledObjective:
    """The objective of factors and offsets on given logits.

    logits: called once a pass, yields the blocks of z as (slice, (B, K) tensor). labels, weights: (N,), (N,), those of
    this rank. factors: 0 (none: the logits stay), 1 (one for all) or K. offsets: K or 0 (none). unit: (K,), what an
    offset of one adds to the logits (norms in MARC); ones without it. pull: (factors + offsets,), where the penalty
    pulls to. decay: its strength.
    """

    def __init__(
        self,
        logits: Callable[[], Iterator[Block]],
        labels: Tensor,
        weights: Tensor,
        *,
        num_classes: int,
        factors: int,
        offsets: int,
        pull: Tensor,
        decay: float,
        unit: Tensor | None = None,
        loss: SoftmaxLoss | None = None,
    ) -> None:
        self._logits, self._labels, self._weights = logits, labels, weights
        self._classes, self._factors, self._offsets = num_classes, factors, offsets
        self._pull, self._decay = pull, decay
        self._unit = torch.ones(num_classes, device=pull.device) if unit is None else unit
        self._loss = (loss or SoftmaxLoss()).to(pull.device)

    def split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """The factors (K,) and offsets (K,) that the logits get."""
        factors, offsets = parameters[: self._factors], parameters[self._factors :]
        ones = torch.ones(self._classes, device=parameters.device)
        return (
            ones if self._factors == 0 else factors * ones,
            offsets * self._unit if self._offsets else torch.zeros_like(ones),
        )

    def __call__(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        factors, offsets = self.split(parameters)
        value = torch.zeros((), dtype=torch.float64, device=parameters.device)
        g_factors, g_offsets = torch.zeros_like(factors), torch.zeros_like(offsets)
        for part, z in self._logits():
            loss, g = self._loss(torch.addcmul(offsets, z, factors), self._labels[part], self._weights[part])
            value += loss
            g_offsets += g.sum(dim=0)
            g_factors += g.mul_(z).sum(dim=0)
        ranks.total(value, g_factors, g_offsets)
        parts = [] if self._factors == 0 else [g_factors.sum()[None] if self._factors == 1 else g_factors]
        gradient = torch.cat([*parts, *([g_offsets * self._unit] if self._offsets else [])])
        off = parameters - self._pull
        return value + 0.5 * self._decay * off.double().square().sum(), gradient.add_(off, alpha=self._decay)

    def preconditioner(self, parameters: Tensor) -> Callable[[Tensor], Tensor]:
        """Divides a gradient by the curvature of each parameter alone, as it is here (the Hessian's diagonal).

        That of plain cross-entropy, for smoothing and focusing do not change its size.
        """
        factors, offsets = self.split(parameters)
        c_factors, c_offsets = torch.zeros_like(factors), torch.zeros_like(offsets)
        for part, z in self._logits():
            p = torch.softmax(self._loss.adjusted(torch.addcmul(offsets, z, factors)), dim=1)
            weights = self._weights[part][:, None]
            if self._factors == 1:
                mean = (p * z).sum(dim=1, keepdim=True)
                c_factors[0] += (p * (z - mean).square() * weights).sum()
            spread = (p - p * p).mul_(weights)
            c_offsets += spread.sum(dim=0)
            if self._factors > 1:
                c_factors += spread.mul_(z).mul_(z).sum(dim=0)
        ranks.total(c_factors, c_offsets)
        offset_part = [c_offsets * self._unit.square()] if self._offsets else []
        curvature = torch.cat([c_factors[: self._factors], *offset_part]) + self._decay
        # A parameter that nothing depends on gets the steps of the others.
        inverse = 1.0 / torch.where(curvature > 1e-6 * curvature.max(), curvature, curvature.max())
        return lambda gradient: gradient * inverse


def logit_blocks(head: LinearHead, features: Features) -> Callable[[], Iterator[Block]]:
    """A function that yields the head's logits in blocks, from memory where they fit."""
    if len(features) * head.num_classes > KEEP:
        return lambda: (
            (part, head(block)) for part, block in blocks(features, device=head.weight.device, columns=head.num_classes)
        )
    logits = head(features)
    return lambda: blocks(logits)
