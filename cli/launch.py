"""A command on several processes, as ``torchrun -m rebalance`` starts them: each reads its part of the rows."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


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
