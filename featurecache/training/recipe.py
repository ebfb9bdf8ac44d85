"""What a training run is made of, in numbers and names."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

OPTIMISERS = ("sgd", "adamw")


@dataclass(frozen=True)
class Recipe:
    """Numbers and names of a run, checked.

    epochs: at least 1. batch_size: rows of a step, over all processes; at least 2 a process.
    lr, weight_decay: of the optimiser; the decay is on all parameters. momentum: of SGD only.
    optimiser: sgd (not Nesterov's) or adamw. mixup: alpha of the Beta distribution, 0 for none.
    amp: off, bf16 or fp16. ema: the decay of the averaged weights, None for none.
    Raises ValueError for a value out of range.
    """

    epochs: int
    batch_size: int
    lr: float
    weight_decay: float = 5e-4
    momentum: float = 0.9
    optimiser: str = "sgd"
    mixup: float = 0.0
    amp: str = "off"
    ema: float | None = None

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2:
            raise ValueError(
                f"training: {self.epochs} epochs of batches of {self.batch_size}; expected at least 1 and at least 2"
            )
        if not 0 < self.lr < math.inf:
            raise ValueError(f"training: lr is {self.lr!r}, expected a number above 0")
        for name, value in (("weight_decay", self.weight_decay), ("mixup", self.mixup)):
            if not 0 <= value < math.inf:
                raise ValueError(f"training: {name} is {value!r}, expected a number from 0 on")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"training: momentum is {self.momentum!r}, expected a number from 0 to below 1")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"training: ema is {self.ema!r}, expected a decay between 0 and 1, such as 0.999")
        if self.optimiser not in OPTIMISERS:
            raise ValueError(f"training: optimiser is {self.optimiser!r:.80}, expected {' or '.join(OPTIMISERS)}")

    def make_optimiser(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser of the parameters that are to be trained. parameters: at least one."""
        if self.optimiser == "adamw":
            return torch.optim.AdamW(parameters, lr=self.lr, weight_decay=self.weight_decay)
        return torch.optim.SGD(parameters, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
