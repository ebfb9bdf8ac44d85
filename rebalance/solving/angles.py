"""What classifiers of directions minimise: a loss of scaled cosines, with a pull to given directions.

    f(w, t) = sum_i v_i * loss(t * cos(w_k, x_i), y_i) + decay / 2 * (sum_k |w_k - m_k|^2 + log(t / scale)^2)

Not convex in the directions w_k, which have length one; a solver finds a minimum near where it starts.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rebalance import ranks
from rebalance.blocks import Features, blocks
from rebalance.head import normalize
from rebalance.solving.loss import SoftmaxLoss


class CosineObjective:
    """The objective of directions (K, D) and, if it is learned, of a factor.

    The parameters are v, flattened, with w_k = (m_k + v_k) / |m_k + v_k|, and behind them a with the factor
    scale * e^a if it is learned: all zeros are the start. A class whose m_k is zero keeps a cosine of zero.

    features, labels, weights: (N, D), (N,), (N,) rows of this rank, the weights 0 where a label is -1. anchors: m,
    (K, D). loss: of a row's logits.
    """

    def __init__(
        self,
        features: Features,
        labels: Tensor,
        weights: Tensor,
        anchors: Tensor,
        loss: SoftmaxLoss,
        *,
        scale: float,
        learn_scale: bool,
        decay: float,
    ) -> None:
        self._features, self._labels, self._weights = features, labels, weights
        self._anchors, self._loss = anchors, loss
        self._scale, self._learn_scale, self._decay = scale, learn_scale, decay

    def zeros(self) -> Tensor:
        """The starting point: the anchors and the scale given."""
        return self._anchors.new_zeros(self._anchors.numel() + self._learn_scale)

    def split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """The directions (K, D) and the factor ()."""
        moved, log_factor = self._parts(parameters)
        return normalize(moved), self._scale * log_factor.exp()

    def _parts(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        moved = self._anchors + parameters[: self._anchors.numel()].view_as(self._anchors)
        return moved, parameters[-1] if self._learn_scale else parameters.new_zeros(())

    def __call__(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        moved, log_factor = self._parts(parameters)
        directions, factor = self.split(parameters)
        value = torch.zeros((), dtype=torch.float64, device=directions.device)
        g_directions, g_factor = torch.zeros_like(directions), torch.zeros_like(factor)
        for part, block in blocks(self._features, device=directions.device):
            rows = normalize(block)
            logits = factor * (rows @ directions.T)
            loss, g = self._loss(logits, self._labels[part], self._weights[part])
            value += loss
            g_directions.addmm_(g.T, rows)
            g_factor += (g * logits).sum()
        ranks.total(value, g_directions, g_factor)
        far = (directions.double() - self._anchors).square().sum() + log_factor.double().square()
        value += 0.5 * self._decay * far
        g_factor += self._decay * log_factor
        # On the sphere |w - m|^2 / 2 = 1 - w.m; what is left of a gradient there is its part across w, over |m + v|.
        g_directions = factor * g_directions - self._decay * self._anchors
        along = (g_directions * directions).sum(dim=1, keepdim=True)
        length = torch.linalg.vector_norm(moved, dim=1, keepdim=True)
        g_moved = torch.where(length > 0, (g_directions - along * directions) / length, 0.0)
        return value, torch.cat([g_moved.flatten(), g_factor[None]]) if self._learn_scale else g_moved.flatten()
