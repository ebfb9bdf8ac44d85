"""Mixup: every image of a batch mixed with another, and its loss with the other's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]


class Mixup:
    """``share * x + (1 - share) * x'`` for the images x, the same images in another order x', and their losses alike.

    One share a batch, from Beta(alpha, alpha); share and order come from torch's default generators.
    Source: Zhang et al. (ICLR 2018), algorithm of section 2.

    alpha: 0 mixes nothing.
    """

    def __init__(self, alpha: float) -> None:
        self._alpha = alpha

    def __call__(self, inputs: Any, labels: Tensor, loss: Loss) -> tuple[Any, Callable[[Tensor], Tensor]]:
        """The inputs for the model, and the loss of the logits (B, K) that it makes of them.

        inputs: floats (B, ...) on the device. labels: (B,). loss: logits, labels -> scalar.
        Raises ValueError when there is something to mix and the inputs are no such tensor.
        """
        if not self._alpha:
            return inputs, lambda logits: loss(logits, labels)
        if not isinstance(inputs, Tensor) or not inputs.is_floating_point():
            kind = inputs.dtype if isinstance(inputs, Tensor) else type(inputs).__name__[:80]
            raise ValueError(f"training: mixup mixes tensors of floats, the data give {kind}; leave mixup out")
        share = float(torch.distributions.Beta(self._alpha, self._alpha).sample())
        order = torch.randperm(len(inputs), device=inputs.device)
        others = labels[order]
        mixed = torch.lerp(inputs[order], inputs, share)
        return mixed, lambda logits: share * loss(logits, labels) + (1 - share) * loss(logits, others)
