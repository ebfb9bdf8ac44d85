"""Ranks as real processes, forked from one that has loaded everything, and a record of what they did.

The record is one file that all append to: what a process wrote there before it was killed stays. A line says that a
block is about to be written (`W FILE BLOCK`), or that its commit has returned (`A FILE BLOCK CRC …`).
"""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from numpy.typing import NDArray

from featurecache.shards.journal import Journal
from featurecache.writer import ShardWriter
from killing.work import Work, shard_name

REFUSED, BROKEN = 3, 4  # exit codes


class Record:
    """The file that all ranks of all rounds append to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)

    def say(self, *words: object) -> None:
        """Append a line, in one call."""
        os.write(self._file, (" ".join(map(str, words)) + "\n").encode())

    def lines(self) -> Iterator[list[str]]:
        """What was said, in words."""
        yield from (line.split() for line in self.path.read_text().splitlines())

    @property
    def size(self) -> int:
        """Bytes that were said."""
        return self.path.stat().st_size

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


@dataclass
class Rank:
    """A running rank. began: when it was forked."""

    pid: int
    began: float

    def wait(self) -> int:
        """Its exit code, or the negative signal that ended it."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def kill(self) -> bool:
        """End it at once; whether it was still running."""
        os.kill(self.pid, signal.SIGKILL)
        return self.wait() == -signal.SIGKILL


def start(work: Work, cache: Path, rank: int, world: int, record: Record, *, seconds: float) -> Rank:
    """Fork a rank. seconds: that a picture takes to load."""
    began = time.monotonic()
    if pid := os.fork():
        return Rank(pid, began)
    code = BROKEN
    try:
        with patch.object(ShardWriter, "write", _recorded(record, ShardWriter.write)), _acknowledged(record):
            work.run(cache, rank, world, seconds)
        code = 0
    except ValueError as error:
        record.say("R", os.getpid(), f"{time.monotonic() - began:.3f}", error)
        code = REFUSED
    except BaseException:
        record.say("X", *traceback.format_exc()[-700:].split())
    finally:
        os._exit(code)


def _recorded(record: Record, write: Callable[..., None]) -> Callable[..., None]:
    def recorded(self: ShardWriter, block: int, values: Mapping[str, NDArray[Any]]) -> None:
        record.say("W", shard_name(self), block)
        write(self, block, values)

    return recorded


def _acknowledged(record: Record) -> Any:
    class Acknowledged(Journal):
        """A journal that tells outside which commits have returned."""

        def __init__(self, path: Path, key: int, columns: int, blocks: int) -> None:
            super().__init__(path, key, columns, blocks)
            self._shard = f"{path.parent.name}/{path.name.removesuffix('.journal')}"

        def append(self, blocks: Mapping[int, Sequence[int]]) -> None:
            super().append(blocks)
            for block, crcs in blocks.items():
                record.say("A", self._shard, block, *crcs)

    return patch("featurecache.writer.Journal", Acknowledged)
