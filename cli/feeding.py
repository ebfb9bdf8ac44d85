"""The rows of a split where the heads are computed: brought to a GPU once, not anew for every pass over them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from featurecache import Split
    from rebalance.blocks import Features, Labels

SHARE = 0.5  # of a device's free memory that one split may take: the rest is for other splits and for what is computed
BLOCK_BYTES = 16 * 2**20  # of features on their way at a time


def free_bytes(device: torch.device) -> int:
    """Bytes of a CUDA device that nobody has taken."""
    import torch

    return torch.cuda.mem_get_info(device)[0]


class Feeding:
    """Splits of a cache as methods and judges take them, on one device.

    device: where the heads are computed. free: its free bytes, asked anew for every split.
    """

    def __init__(self, device: torch.device, free: Callable[[torch.device], int] = free_bytes) -> None:
        self._device, self._free = device, free
        self._rows: dict[Split, tuple[Features, Labels]] = {}
        self.notes: list[str] = []  # which splits did not fit, a sentence each

    def rows(self, split: Split) -> tuple[Features, Labels]:
        """Features (N, D), in the stored dtype, and labels (N,); the same objects every time.

        On a CUDA device tensors that lie there where SHARE of its free memory holds them. Else, and always on the CPU,
        the split's own arrays. Processes that share the rows decide alike, each for all rows and its own device.
        """
        if split not in self._rows:
            self._rows[split] = copied(split, self._device) if self._fits(split) else (split.features, split.labels)
        return self._rows[split]

    def _fits(self, split: Split) -> bool:
        if self._device.type != "cuda":
            return False
        size, free = split.features.nbytes + split.labels.nbytes, self._free(self._device)
        fits = everywhere(size <= SHARE * free)
        if not fits:
            self.notes.append(
                f"{split.name} stays in its files: its {size / 1e9:.3g} GB are more than half of a GPU's free memory "
                f"({free / 1e9:.3g} GB here); every pass reads them again, and a method that starts from no head is "
                "fitted on the CPU"
            )
        return fits


def copied(split: Split, device: torch.device) -> tuple[Tensor, Tensor]:
    """Features (N, D), in the stored dtype, and labels (N,) of a split as tensors on a device, copied in blocks."""
    import numpy as np
    import torch

    count, width = split.features.shape
    kind = torch.from_numpy(np.empty(0, split.features.dtype)).dtype
    features = torch.empty((count, width), dtype=kind, device=device)
    labels = torch.empty(count, dtype=torch.int64, device=device)
    start = 0
    for block, own in split.blocks(max(1, BLOCK_BYTES // (width * kind.itemsize)), device):
        features[start : start + len(own)] = block
        labels[start : start + len(own)] = own
        start += len(own)
    return features, labels


def everywhere(yes: bool) -> bool:
    """Whether something holds in every process that shares the rows: they must go the same way."""
    import torch

    from rebalance import ranks

    count = torch.tensor([int(yes)])
    ranks.total(count)
    return int(count) == ranks.size()
