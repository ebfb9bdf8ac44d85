"""How many files a process may have open: a cache of many shards needs more than systems give by default."""

from __future__ import annotations

import os
import sys

SPARE = 64  # for what is opened meanwhile: images, libraries, pipes


def room_for(files: int, what: str) -> None:
    """See to it that so many files more may be open, by raising the process's own limit as far as it may.

    files: that will be open at once, beside those that are. what: for whom, as the error begins.
    Raises ValueError where the system allows this process fewer.
    """
    if sys.platform == "win32":  # it counts differently, and allows thousands
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = len(os.listdir("/dev/fd")) + files + SPARE
    if soft == resource.RLIM_INFINITY or needed <= soft:
        return
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise ValueError(
            f"{what}: {files} files at once, and this process may open {hard} in all; expected a limit of {needed}: "
            "raise it (`ulimit -Hn`), or share the files among more processes (--world-size)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
