"""The device that is measured: when it is done, and what memory it took."""

from __future__ import annotations

import gc
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Place:
    """A CUDA device; or the CPU, on which everything can be tried and no memory is measured."""

    device: torch.device

    @property
    def is_cuda(self) -> bool:
        return self.device.type == "cuda"

    def wait(self) -> None:
        """Return when the device has done all it was given."""
        if self.is_cuda:
            torch.cuda.synchronize(self.device)

    def forget(self) -> int | None:
        """Let go of memory that nothing uses and begin to look for the peak; the bytes that are in use."""
        gc.collect()
        if not self.is_cuda:
            return None
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)
        return torch.cuda.memory_allocated(self.device)

    def peak(self) -> int | None:
        """The most bytes that were in use at once since `forget`."""
        return torch.cuda.max_memory_allocated(self.device) if self.is_cuda else None
