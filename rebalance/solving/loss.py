"""The loss of a row and its gradient in the logits: softmax cross-entropy and its long-tailed relatives.

Every loss here is a cross-entropy of adjusted logits ``u = factors * z + offsets - margin at the true class``
against a target that is the true class, smoothed or not; focal loss weighs it by how wrong the row is.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class SoftmaxLoss:
    """Softmax cross-entropy; as it stands, the plain one.

    offsets: (K,), added to the logits: log n_k in balanced softmax, tau log pi_k in the logit-adjusted loss.
    factors: (K,), multiply the logits (VS-loss).
    margins: (K,), taken off the true class's logit (LDAM).
    smoothing: (K,) by true class, in [0, 1]: the target is 1 - s at the true class plus s / K everywhere.
    focal: gamma, weighs a row by (1 - p_y)^gamma; not together with smoothing.
    """

    offsets: Tensor | None = None
    factors: Tensor | None = None
    margins: Tensor | None = None
    smoothing: Tensor | None = None
    focal: float = 0.0

    def __post_init__(self) -> None:
        if self.focal and self.smoothing is not None:
            raise ValueError("focal loss with smoothed targets is not defined; expected one of the two")

    def to(self, device: torch.device) -> Self:
        """The same loss with float32 tensors on a device."""
        moved: dict[str, Any] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            moved[each.name] = value.to(device, torch.float32) if isinstance(value, Tensor) else value
        return type(self)(**moved)

    def __call__(self, logits: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """The weighted sum of the rows' losses (float64) and its gradient in the logits (B, K).

        logits: (B, K) float32, left alone. labels: (B,), -1 allowed where the weight is 0. weights: (B,).
        """
        column = labels.clamp_min(0)[:, None]
        u = self._with_margins(self.adjusted(logits), column)
        slope = None
        if self.focal:
            log_p = torch.log_softmax(u, dim=1)  # exact where a row is nearly certain, which this loss looks at
            value, slope = self._focal(log_p.gather(1, column)[:, 0])
            p = log_p.exp_()
        else:
            p = torch.softmax(u, dim=1)
            # Of log p without a second exponential: the largest p is exp(largest u - log sum exp u).
            largest, certain = u.amax(dim=1), p.amax(dim=1).log()
            value = -(u.gather(1, column)[:, 0] - largest + certain)
            if self.smoothing is not None:
                share = self.smoothing[column[:, 0]]
                value = (1 - share) * value - share * (u.mean(dim=1) - largest + certain)
        gradient = self._gradient(p, column, slope).mul_(weights[:, None])
        if self.factors is not None:
            gradient.mul_(self.factors)
        return (value.double() * weights).sum(), gradient

    def adjusted(self, logits: Tensor) -> Tensor:
        """The logits times the factors plus the offsets (B, K): what the softmax is taken of, but for the margins."""
        if self.factors is not None:
            logits = logits * self.factors
        return logits if self.offsets is None else logits + self.offsets

    def _with_margins(self, logits: Tensor, column: Tensor) -> Tensor:
        return logits if self.margins is None else logits.scatter_add(1, column, -self.margins[column])

    def _gradient(self, p: Tensor, column: Tensor, slope: Tensor | None) -> Tensor:
        """Gradient in the adjusted logits, written over the probabilities."""
        if slope is not None:
            return p.scatter_add_(1, column, p.new_full(column.shape, -1.0)).mul_(slope[:, None])
        if self.smoothing is None:
            return p.scatter_add_(1, column, p.new_full(column.shape, -1.0))
        share = self.smoothing[column]
        return p.sub_(share / p.shape[1]).scatter_add_(1, column, share - 1)

    def _focal(self, log_q: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and the factor of (p - target), from log q, q = p_y: (1-q)^g - g q (1-q)^(g-1) log q."""
        # expm1 keeps 1 - q exact where q is nearly 1; at 1 itself loss and slope are 0.
        miss = -torch.expm1(log_q)
        power = miss.clamp_min(torch.finfo(miss.dtype).tiny) ** self.focal
        slope = power - self.focal * log_q.exp() * torch.where(miss > 0, power / miss, 0.0) * log_q
        return -power * log_q, torch.where(miss > 0, slope, 0.0)
