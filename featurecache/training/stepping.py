"""One epoch of steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from featurecache.inputs import call, to_device
from featurecache.proof import logits_of
from featurecache.training.averaging import Average
from featurecache.training.loading import Loading
from featurecache.training.mixing import Loss, Mixup
from featurecache.training.precision import Precision
from featurecache.training.schedule import Steps
from featurecache.training.sharing import Ranks

# Each look at the loss makes the device wait; a run that diverges is stopped at most this many steps late.
CHECK_EVERY = 50


@dataclass(frozen=True)
class Stepping:
    """What the steps of every epoch share.

    model: to be called, see `Ranks.wrapped`. begin: puts what trains into training mode.
    average: of the weights, None where there is none. device: of the model.
    """

    model: nn.Module
    begin: Callable[[], None]
    optimiser: torch.optim.Optimizer
    loss: Loss
    mixup: Mixup
    precision: Precision
    average: Average | None
    device: torch.device
    ranks: Ranks

    def epoch(self, loading: Loading, steps: Steps) -> float:
        """The mean loss of one epoch of steps.

        Raises ValueError when a loss is not finite.
        """
        self.begin()
        losses = torch.zeros(steps.count, device=self.device)
        latest, checked = None, 0
        for step, (inputs, labels) in enumerate(loading.epoch(steps.epoch)):
            for group in self.optimiser.param_groups:
                group["lr"] = steps.rate(step)
            self.optimiser.zero_grad(set_to_none=True)
            value = self._loss(inputs, labels, loading.batches.rows_of(step))
            self.precision.step(value, self.optimiser)
            if self.average is not None:
                self.average.update()
            losses[step] = value.detach()
            if (step + 1) % CHECK_EVERY == 0 or step + 1 == steps.count:
                part = self.ranks.total(losses[checked : step + 1]) / self.ranks.size
                latest, checked = _finite(part, checked, steps), step + 1
            steps.report(step, latest)
        return float((self.ranks.total(losses) / self.ranks.size).double().mean())

    def logits(self, model: nn.Module, inputs: Any) -> Tensor:
        """The logits (B, K) that a model makes of inputs, which may be on the CPU still."""
        with self.precision.forward():
            return logits_of(call(model, to_device(inputs, self.device, channels_last=True)))

    def _loss(self, inputs: Any, labels: Tensor, rows: int) -> Tensor:
        """The loss whose gradient, averaged over the processes, is that of the whole batch. rows: of that."""
        inputs = to_device(inputs, self.device, channels_last=True)
        inputs, loss = self.mixup(inputs, labels.to(self.device, non_blocking=True), self.loss)
        value = loss(self.precision.plain(self.logits(self.model, inputs)))
        # The loss is a mean over this process's rows, which may be one fewer than another's.
        return value if self.ranks.size == 1 else value * (len(labels) * self.ranks.size / rows)


def _finite(losses: Tensor, first: int, steps: Steps) -> float:
    """The last of some losses. Raises ValueError naming the first that is not finite."""
    values = losses.tolist()
    for offset, value in enumerate(values):
        if not math.isfinite(value):
            raise ValueError(
                f"training: the loss is {value} in epoch {steps.epoch + 1}, step {first + offset + 1}; lower --lr "
                f"(now {steps.lr:g}) or look for bad images"
            )
    return float(values[-1])
