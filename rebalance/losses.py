"""Losses of long-tailed recognition to train a whole network with, by name.

They are the losses of the methods of the same names, where only the classifier is fitted. Each is a mean over the rows
of a batch, ``mean_i v_y * loss(z_i, y_i)``, in which the weights v have mean one over the training rows: parts of a
batch may be averaged by their rows, and the learning rate means the same with and without weights. (The authors' codes
divide by the weights of the batch at hand, or leave the size of the loss to the counts.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn.functional import cross_entropy

from rebalance.methods.ldam import ldam_margins
from rebalance.prior import EMPTY, log_prior, training_counts
from rebalance.solving.loss import SoftmaxLoss
from rebalance.solving.shares import effective_shares


class ClassLoss:
    """Called with logits (B, K) and labels (B,): the mean of the rows' losses, each times its class's weight.

    loss: of a row.
    weights: (K,), None for ones.
    since: the epoch, from 0, from which on the weights count.
    scale: what the logits must be: the cosines of features and classes times this; None: any.
    """

    def __init__(
        self, loss: SoftmaxLoss, *, weights: Tensor | None = None, since: int = 0, scale: float | None = None
    ) -> None:
        self.scale = scale
        self._loss, self._weights, self._since = loss, weights, since
        self._epoch = 0
        self._placed: tuple[torch.device, SoftmaxLoss, Tensor | None] | None = None

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch it is, from 0; only deferred weights ask."""
        self._epoch = epoch

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        loss, weights = self._on(logits.device)
        if weights is None or self._epoch < self._since:
            each = torch.ones(len(labels), device=logits.device)
        else:
            each = weights[labels]
        value: Tensor = _Analytic.apply(logits, labels, each / len(labels), loss)  # type: ignore[no-untyped-call]
        return value

    def _on(self, device: torch.device) -> tuple[SoftmaxLoss, Tensor | None]:
        if self._placed is None or self._placed[0] != device:
            weights = None if self._weights is None else self._weights.to(device)
            self._placed = device, self._loss.to(device), weights
        return self._placed[1:]


class _Analytic(torch.autograd.Function):
    """A row loss as autograd wants it, in float32; its gradient is computed beside its value."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, weights: Tensor, loss: SoftmaxLoss) -> Tensor:
        value, gradient = loss(logits.float(), labels, weights)
        ctx.save_for_backward(gradient.to(logits.dtype))
        return value.to(logits.dtype)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * outer[0], None, None, None


Loss = Callable[[Tensor, Tensor], Tensor]


def plain(counts: ArrayLike, *, epochs: int, smoothing: float = 0.0) -> Loss:
    """Cross-entropy.

    counts: (K,) training rows a class; here as elsewhere K of them, not all 0. epochs: of the training.
    smoothing: the share of the target that all classes have alike, from 0 to below 1.
    """
    _counts(counts)
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing is {smoothing}; expected a number from 0 to below 1, such as 0.1")
    return lambda logits, labels: cross_entropy(logits, labels, label_smoothing=smoothing)


def focal(counts: ArrayLike, *, epochs: int, gamma: float = 2.0, beta: float = 0.0) -> ClassLoss:
    """``-(1 - p_y)^gamma log p_y``.

    counts, epochs: as of `plain`. gamma: 0 is plain cross-entropy. beta: as of `class_balanced`; 0 weighs rows alike.
    Source: Lin et al. (ICCV 2017), equation 4, in its softmax form; beta from Cui et al. (CVPR 2019), section 4.
    """
    if not 0 <= gamma < float("inf"):
        raise ValueError(f"gamma is {gamma}; expected 0 or more, such as 2")
    known = _counts(counts)
    return ClassLoss(SoftmaxLoss(focal=gamma), weights=_effective(known, beta) if beta else None)


def class_balanced(counts: ArrayLike, *, epochs: int, beta: float = 0.9999) -> ClassLoss:
    """Cross-entropy in which a row weighs one over the effective number of rows of its class.

    counts, epochs: as of `plain`. beta: from 0, all rows alike, to 1, all classes alike.
    Source: Cui et al. (CVPR 2019), section 4.
    """
    return ClassLoss(SoftmaxLoss(), weights=_effective(_counts(counts), beta))


def balanced_softmax(counts: ArrayLike, *, epochs: int) -> ClassLoss:
    """Cross-entropy of ``z_k + log n_k``: the logit-adjusted loss at tau 1.

    counts, epochs: as of `plain`; an empty class counts as half a row.
    Source: Ren et al. (NeurIPS 2020), section 3.
    """
    return logit_adjusted(counts, epochs=epochs)


def logit_adjusted(counts: ArrayLike, *, epochs: int, tau: float = 1.0) -> ClassLoss:
    """Cross-entropy of ``z_k + tau log p_k``, p the prior.

    counts, epochs: as of `balanced_softmax`. tau: 0 is plain cross-entropy.
    Source: Menon et al. (ICLR 2021), equation 10.
    """
    if not abs(tau) < float("inf"):
        raise ValueError(f"tau is {tau}; expected a finite number, 0..2 as a rule")
    logs = log_prior(_counts(counts))
    return ClassLoss(SoftmaxLoss(offsets=tau * (logs - logs.max())))


def ldam(
    counts: ArrayLike, *, epochs: int, max_margin: float = 0.5, scale: float = 30.0, beta: float = 0.9999
) -> ClassLoss:
    """Cross-entropy of ``scale * cos`` less a margin n_k^(-1/4) off the cosine of the true class, then re-weighted.

    Deferred re-weighting: from four fifths of the epochs on a row weighs one over its class's effective number of rows
    (epoch 160 of 200 in the reference). The logits must be scale times cosines: the classifier is to be normalised.

    counts, epochs: as of `plain`. max_margin: of the rarest class, in cosines. beta: of the effective numbers; 0 leaves
    the re-weighting out.
    Source: Cao et al. (NeurIPS 2019), sections 3.2 and 3.3.
    """
    if not (0 <= max_margin < float("inf") and 0 < scale < float("inf")):
        raise ValueError(f"max_margin is {max_margin} and scale {scale}; expected 0 or more, and more than 0")
    known = _counts(counts)
    margins = ldam_margins(torch.where(known > 0, known, EMPTY), known > 0, max_margin)
    weights = _effective(known, beta) if beta else None
    return ClassLoss(SoftmaxLoss(margins=scale * margins), weights=weights, since=epochs * 4 // 5, scale=scale)


LOSSES: dict[str, Callable[..., Loss]] = {
    "ce": plain,
    "focal": focal,
    "cb": class_balanced,
    "ldam": ldam,
    "balanced-softmax": balanced_softmax,
    "logit-adjusted": logit_adjusted,
}


def _counts(counts: ArrayLike) -> Tensor:
    return training_counts(counts, torch.empty(0, dtype=torch.int64), np.size(counts))


def _effective(counts: Tensor, beta: float) -> Tensor:
    """The weight of a row of every class (K,), by its effective number; their mean over the rows is one."""
    shares = effective_shares(counts, beta)
    each = torch.where(counts > 0, shares / counts, 0.0)
    return (each * (counts.sum() / shares.sum())).float()
