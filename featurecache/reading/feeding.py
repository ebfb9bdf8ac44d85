"""Feed a device with blocks of rows: the next one is on its way while this one is worked on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Sliceable(Protocol):
    """An array that gives rows by slice: (N, D)."""

    @property
    def dtype(self) -> np.dtype[Any]: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, rows: slice, /) -> NDArray[Any]: ...


class Feed:
    """Iterates over (features (n, D), labels (n,)) on a device.

    features: (N, D). labels: (N,). rows: of a block. will_need: told the rows (start, stop) that are read next.
    """

    def __init__(
        self,
        features: Sliceable,
        labels: NDArray[np.int64],
        rows: int,
        device: torch.device,
        will_need: Callable[[int, int], None],
    ) -> None:
        self._features, self._labels, self._device, self._will_need = features, labels, device, will_need
        total = len(labels)
        self._bounds = list(pairwise([*range(0, total, rows), total]))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self._pinned() if self._device.type == "cuda" else self._mapped()

    def _mapped(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Views of the map; the system is told what comes next."""
        following = [*self._bounds[1:], None]
        for (start, stop), after in zip(self._bounds, following, strict=True):
            if after is not None:
                self._will_need(*after)
            features = torch.from_numpy(self._features[start:stop])
            yield features.to(self._device), torch.from_numpy(self._labels[start:stop]).to(self._device)

    def _pinned(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Blocks through two pinned buffers, filled by a thread; each is filled again when its copy has left."""
        rows = max(stop - start for start, stop in self._bounds)
        empty = torch.from_numpy(np.empty((0,), self._features.dtype))
        buffers = [
            (
                torch.empty((rows, *self._features.shape[1:]), dtype=empty.dtype, pin_memory=True),
                torch.empty(rows, dtype=torch.int64, pin_memory=True),
                torch.cuda.Event(),  # type: ignore[no-untyped-call]
            )
            for _ in range(min(2, len(self._bounds)))
        ]

        def fill(block: int) -> None:
            start, stop = self._bounds[block]
            features, labels, left = buffers[block % 2]
            left.synchronize()
            np.copyto(features.numpy()[: stop - start], self._features[start:stop])
            np.copyto(labels.numpy()[: stop - start], self._labels[start:stop])

        with ThreadPoolExecutor(1) as reader:
            filled = reader.submit(fill, 0)
            for block, (start, stop) in enumerate(self._bounds):
                filled.result()
                if block + 1 < len(self._bounds):
                    filled = reader.submit(fill, block + 1)
                features, labels, left = buffers[block % 2]
                with torch.cuda.device(self._device):
                    out = (
                        features[: stop - start].to(self._device, non_blocking=True),
                        labels[: stop - start].to(self._device, non_blocking=True),
                    )
                    left.record()
                yield out
