"""Mixed precision: which numbers the forward pass computes with, and the scaling that float16 needs."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Precision:
    """The forward pass in lower precision, the loss and the weights in float32.

    amp: off, bf16 or fp16. device: of the model.
    Raises ValueError for another name, and for fp16 without CUDA: its gradients need a scaling that only pays there.
    """

    def __init__(self, amp: str, device: torch.device) -> None:
        if amp not in ("off", *DTYPES):
            raise ValueError(f"training: amp is {amp!r:.80}, expected off, bf16 or fp16")
        if amp == "fp16" and device.type != "cuda":
            raise ValueError(f"training: amp fp16 needs a CUDA device, this is {device.type}; use bf16")
        self._dtype, self._device = DTYPES.get(amp), device
        self._scaler = torch.amp.GradScaler(device.type) if amp == "fp16" else None

    def forward(self) -> AbstractContextManager[Any]:
        """Surrounds a forward pass."""
        return nullcontext() if self._dtype is None else torch.autocast(self._device.type, self._dtype)

    def plain(self, logits: Tensor) -> Tensor:
        """The logits (B, K) for a loss or a score: float32 where they are of lower precision."""
        return logits if self._dtype is None else logits.float()

    def step(self, loss: Tensor, optimiser: torch.optim.Optimizer) -> None:
        """Gradients of the loss and one step along them; float16 leaves a step out where they overflow."""
        if self._scaler is None:
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            return
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.step(optimiser)
        self._scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """What the scaling has learned; nothing without it."""
        return {} if self._scaler is None else self._scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes the scaling up where `state_dict` left it."""
        if self._scaler is not None and state:
            self._scaler.load_state_dict(state)
