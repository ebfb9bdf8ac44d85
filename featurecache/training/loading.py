"""Batches of rows, read by this process or by others beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from featurecache.training.generators import mixed, seed_all
from featurecache.training.schedule import Batches

Data = Dataset[tuple[Any, int]]


class Loading:
    """One epoch of batches after another.

    data: (input, label) items; its attribute `collate`, where it has one, makes a batch of a list of them.
    batches: of rows.
    device: where the batches go; pinned memory is used for CUDA.
    workers: processes that read; 0: this one.
    seed: of what they draw: that depends on it, the epoch and the worker, not on what was drawn before.
    """

    def __init__(self, data: Data, batches: Batches, device: torch.device, workers: int, seed: int) -> None:
        self.batches = batches
        self._dated = _Dated(batches)
        self._loader: DataLoader[Any] = DataLoader(
            _Reseeded(data, seed) if workers else data,
            batch_sampler=self._dated if workers else batches,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=device.type == "cuda",
            generator=torch.Generator().manual_seed(seed),
            collate_fn=getattr(data, "collate", None),
        )

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, epoch: int) -> Iterator[tuple[Any, torch.Tensor]]:
        """The batches of an epoch."""
        self._dated.epoch = epoch
        return iter(self._loader)


class _Dated(Sampler[list[tuple[int, int]]]):
    """Batches whose rows say the epoch they are of."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self.epoch = 0

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch = self.epoch
        return ([(epoch, row) for row in batch] for batch in self._batches)


class _Reseeded(Dataset[tuple[Any, int]]):
    """The data within a worker, whose generators begin every epoch anew.

    A worker's generators cannot be written down from outside; like this a run goes on as if it had never stopped.
    """

    def __init__(self, data: Data, seed: int) -> None:
        self._data, self._seed, self._epoch = data, seed, -1

    def __getitem__(self, dated: tuple[int, int]) -> tuple[Any, int]:
        epoch, row = dated
        worker = get_worker_info()
        if epoch != self._epoch and worker is not None:
            self._epoch = epoch
            seed_all(mixed(self._seed, epoch, worker.id))
        return self._data[row]


def rows_in(data: Data, what: str, least: int = 1) -> int:
    """How many rows there are. what: the data in a message. Raises ValueError when there are fewer than `least`."""
    rows = len(data)  # type: ignore[arg-type]
    if rows < least:
        held = "no rows" if not rows else f"{rows} rows"
        raise ValueError(f"training: the {what} have {held}; expected at least {'one' if least == 1 else least}")
    return int(rows)
