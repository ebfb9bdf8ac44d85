"""The steps of a training run: which rows, at which learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from torch.utils.data import Sampler

Progress = Callable[[int, int, str], None]


class Indices(Protocol):
    """Rows of one epoch, in order; anything from torch.utils.data.Sampler on."""

    def __iter__(self) -> Iterator[int]: ...

    def __len__(self) -> int: ...


def cosine(step: int, steps: int) -> float:
    """The learning rate's factor: 1 at step 0, falling along a half cosine to 0 at step == steps."""
    return 0.5 * (1 + math.cos(math.pi * step / steps))


class Batches(Sampler[list[int]]):
    """Lists of rows, the last as long as rows are left; of several processes each gets its part of every list.

    rows: one epoch of them.
    size: of a batch.
    least: a last batch of fewer rows is left out.
    rank, ranks: which of how many processes this is.
    """

    def __init__(self, rows: Indices, size: int, least: int = 2, rank: int = 0, ranks: int = 1) -> None:
        self._rows, self._size, self._least = rows, size, least
        self._rank, self._ranks = rank, ranks

    def __len__(self) -> int:
        full, rest = divmod(len(self._rows), self._size)
        return full + (rest >= self._least)

    def __iter__(self) -> Iterator[list[int]]:
        batch: list[int] = []
        for row in self._rows:
            batch.append(int(row))
            if len(batch) == self._size:
                yield self._part(batch)
                batch = []
        if len(batch) >= self._least:
            yield self._part(batch)

    def rows_of(self, step: int) -> int:
        """The rows of a step's batch, those of all processes together."""
        return min(self._size, len(self._rows) - step * self._size)

    def _part(self, batch: list[int]) -> list[int]:
        return batch[len(batch) * self._rank // self._ranks : len(batch) * (self._rank + 1) // self._ranks]


@dataclass(frozen=True)
class Steps:
    """Where one epoch's steps stand in the whole run."""

    epoch: int
    epochs: int
    count: int
    lr: float
    progress: Progress | None

    def rate(self, step: int) -> float:
        """The learning rate of a step of this epoch."""
        return self.lr * cosine(self.epoch * self.count + step, self.epochs * self.count)

    def report(self, step: int, loss: float | None) -> None:
        """Tells the caller that a step is done. loss: the latest one known."""
        if self.progress is not None:
            shown = "" if loss is None else f", loss {loss:.3f}"
            text = f"epoch {self.epoch + 1}/{self.epochs}{shown}"
            self.progress(self.epoch * self.count + step + 1, self.epochs * self.count, text)
