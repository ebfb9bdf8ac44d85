"""What an interrupted training leaves, how it is gone on with, and that nobody else writes it meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..launch import first, how_to_go_on


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
        try:
            epochs = len(read_state(kept)["history"]) if kept.exists() else 0
        except (OSError, ValueError, KeyError, TypeError):
            epochs = 0
        where = f" in {kept}" if epochs else ""
        stop.add_note(f"{epochs} whole epoch{'' if epochs == 1 else 's'} safe{where}; to go on: {how_to_go_on()}")
        raise
