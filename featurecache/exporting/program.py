"""A written program, opened: what every kind of them has in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

ROWS = 256  # of one call: a whole model's input for more may be larger than the memory


@dataclass(frozen=True)
class Program:
    """A program that was read back from its file and is ready to run, without the code it was written from.

    row: the shape of one row of its input, such as (D,) or (C, H, W).
    about: what was stored with it, plain JSON values.
    run: inputs (B, …) to logits (B, K).
    """

    row: tuple[int, ...]
    about: Mapping[str, Any] = field(repr=False)
    run: Callable[[Tensor], Tensor] = field(repr=False)

    def __call__(self, inputs: Tensor) -> Tensor:
        """The logits (N, K) in float32 on the CPU, computed some hundred rows at a time.

        inputs: (N, …), rows of the program's shape, at least one.

        Raises ValueError for any other shape.
        """
        if not len(inputs) or tuple(inputs.shape[1:]) != self.row:
            raise ValueError(f"inputs {tuple(inputs.shape)}, expected rows of shape {self.row}, at least one")
        parts = [self.run(part.detach().cpu()).float() for part in torch.split(inputs, ROWS)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)
