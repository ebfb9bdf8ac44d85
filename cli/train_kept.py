"""What an interrupted training leaves, how it is gone on with, and that nobody else writes it meanwhile."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from .launch import first


def kept_beside(out: Path) -> Path:
    """The file that an interrupted training goes on from. out: the model's file."""
    return out.with_name(f"{out.name}.training")


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """No other training writes the same files meanwhile: BeingWritten, in one line that says who does."""
    from featurecache.shards.lock import Lock

    lock = Lock(out) if first() else None
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


@contextmanager
def saying_how_to_go_on(kept: Path) -> Iterator[None]:
    """An interruption says how much is safe, and which command goes on."""
    from featurecache.training.state import read_state

    try:
        yield
    except KeyboardInterrupt as stop:
        words = click.get_current_context().find_root().meta.get("rebalance.words")
        how = "run the same command again" if words is None else shlex.join(["rebalance", *words])
        if "TORCHELASTIC_RUN_ID" in os.environ:
            how = "start the same job again"
        try:
            epochs = len(read_state(kept)["history"]) if kept.exists() else 0
        except (OSError, ValueError, KeyError, TypeError):
            epochs = 0
        where = f" in {kept}" if epochs else ""
        stop.add_note(f"{epochs} whole epoch{'' if epochs == 1 else 's'} safe{where}; to go on: {how}")
        raise
