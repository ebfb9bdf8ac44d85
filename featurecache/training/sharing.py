"""One training run on several processes, as ``torchrun`` starts them.

Every process holds the whole model and reads its part of every batch; gradients are averaged so that a step is that of
the whole batch. Batch normalisation is not shared: its statistics in a step are of the process's own part, as in the
paper's code, and those that are kept are the first process's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this is; alone, none of its methods communicates.

    All processes must call the same methods in the same order.
    """

    rank: int = 0
    size: int = 1

    def wrapped(self, model: nn.Module) -> nn.Module:
        """The model to call in training: it averages gradients over the processes and starts with the first's weights.

        model: on its device, with at least one parameter that is trained.
        """
        if self.size == 1:
            return model
        return nn.parallel.DistributedDataParallel(model)

    def total(self, values: Tensor) -> Tensor:
        """The sum over the processes, on the CPU. values: a tensor, left alone."""
        values = values.detach().cpu()
        if self.size > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def same(self, tensors: Sequence[Tensor]) -> None:
        """Gives every process the first one's values, in place."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def gathered(self, rows: Tensor) -> Tensor:
        """The rows of all processes in their order, on the CPU; for all but the first process only its own.

        rows: (n, ...) on the CPU, n may differ between processes.
        """
        if self.size == 1:
            return rows
        counts = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(counts, torch.tensor([len(rows)]))
        most = max(int(count) for count in counts)
        padded = torch.cat([rows, rows.new_zeros(most - len(rows), *rows.shape[1:])])
        parts = [torch.empty_like(padded) for _ in range(self.size)] if self.rank == 0 else None
        dist.gather(padded, parts, dst=0)
        if parts is None:
            return rows
        return torch.cat([part[: int(count)] for part, count in zip(parts, counts, strict=True)])

    def window(self, rows: int) -> range:
        """This process's contiguous part of so many rows."""
        return range(rows * self.rank // self.size, rows * (self.rank + 1) // self.size)

    def agree(self, value: int, what: str) -> None:
        """Raises ValueError where the processes have different values. what: the value in the message."""
        if self.size > 1:
            values = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
            dist.all_gather(values, torch.tensor([value]))
            found = sorted({int(each) for each in values})
            if len(found) > 1:
                raise ValueError(
                    f"training: the processes differ in {what} ({', '.join(map(str, found))}); "
                    "run all of them on the same files"
                )


ALONE = Ranks()


@contextmanager
def together() -> Iterator[Ranks]:
    """This process's place among those that torchrun started; alone where it started none.

    The process group is made and ended here if there is none.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    started = not dist.is_initialized()
    if started:
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        dist.init_process_group()  # sums of CUDA tensors go over NCCL, those of others over gloo
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    finally:
        if started:
            dist.destroy_process_group()
