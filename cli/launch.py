"""A command on several processes, as ``torchrun -m rebalance`` starts them: each reads its part of the rows."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import torch


def first() -> bool:
    """Whether this process is the one that prints and writes: the first of several, or the only one."""
    return int(os.environ.get("RANK", "0")) == 0


@contextlib.contextmanager
def shared() -> Iterator[None]:
    """Rows are shared among the processes that were started together; only the first prints.

    With one process nothing happens. It can decorate a function as well.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    from rebalance import ranks

    with ranks.together(), contextlib.ExitStack() as quiet:
        if not first():
            nowhere = quiet.enter_context(open(os.devnull, "w", encoding="utf-8"))
            quiet.enter_context(contextlib.redirect_stdout(nowhere))
        yield


def place(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Which of how many processes this is: as asked, or as torchrun says."""
    if (rank is None) != (world_size is None):
        raise click.UsageError("--rank and --world-size go together")
    if rank is None or world_size is None:
        return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if rank >= world_size:
        raise click.UsageError(f"--rank {rank} of --world-size {world_size}: expected 0..{world_size - 1}")
    return rank, world_size


def how_to_go_on(option: str | None = None, value: str = "") -> str:
    """The command that runs, with another value of an option; under torchrun it is the job that is started again."""
    words = list(click.get_current_context().find_root().meta.get("rebalance.words", ()))
    if not words:
        return "run the same command again"
    if option is None:
        return "start the same job again" if "TORCHELASTIC_RUN_ID" in os.environ else shlex.join(["rebalance", *words])
    while option in words:
        del words[words.index(option) : words.index(option) + 2]
    words = [word for word in words if not word.startswith(f"{option}=")]
    return shlex.join(["rebalance", *words, option, value])


def own_device(device: torch.device) -> torch.device:
    """The device asked for; of several CUDA devices the one torchrun means for this process."""
    import torch

    if device.type == "cuda" and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    return device
