"""Several processes on one set of rows, as ``torchrun`` starts them.

Within ``with together():`` every rank reads only its own contiguous range of rows, and what is a sum over rows is
added up over the ranks; all of them end with the same result. Outside of it, or with one process, nothing is shared:
a program that uses torch.distributed for something else is never made to wait here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.distributed as dist
from torch import Tensor

_SHARING: ContextVar[bool] = ContextVar("rebalance_ranks_sharing", default=False)


@contextmanager
def together() -> Iterator[None]:
    """Rows are shared among the ranks of the default process group, which is made and ended here if there is none.

    Every rank must enter, and call the same things with the same arguments within. Sums of CUDA tensors go over NCCL
    (each rank on the device of its LOCAL_RANK), those of others over gloo.
    """
    started = not dist.is_initialized()
    if started:
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group()
    token = _SHARING.set(True)
    try:
        yield
    finally:
        _SHARING.reset(token)
        if started:
            dist.destroy_process_group()


def rank() -> int:
    """This process's number, 0 where rows are not shared."""
    return dist.get_rank() if _SHARING.get() else 0


def size() -> int:
    """How many processes share the rows; 1 where they are not shared."""
    return dist.get_world_size() if _SHARING.get() else 1


def window(rows: int) -> slice:
    """This rank's contiguous range of so many rows; the ranges of all ranks cover every row once."""
    return slice(rows * rank() // size(), rows * (rank() + 1) // size())


def total(*tensors: Tensor) -> None:
    """Add the tensors up over the ranks, in place; nothing happens where rows are not shared."""
    if size() > 1:
        for tensor in tensors:
            dist.all_reduce(tensor)
