"""Is every byte of a split still the one that was written, and is what was written what it should be?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featurecache import disk, layout
from featurecache.plan import CachePlan, missing_shards
from featurecache.reading.mapped import MappedShard
from featurecache.reading.split import Split
from featurecache.shards import checksums
from featurecache.shards.header import PREFIX, Header


@dataclass(frozen=True)
class Damage:
    """Something that is wrong with a shard.

    file: the shard. start, stop: rows of the split. column: its name, or "the HDF5 structure". problem: in words.
    """

    file: Path
    start: int
    stop: int
    column: str
    problem: str

    @property
    def message(self) -> str:
        """All of it in one line, with what to do."""
        rows = f" of rows {self.start}..{self.stop - 1}" if self.stop > self.start else ""
        return f"{layout.shown(self.file)}: {self.column}{rows}: {self.problem}; {layout.MEND}"


def damages(split: Split, rank: int = 0, world_size: int = 1) -> Iterator[Damage]:
    """Everything that is wrong with a split: first what differs from its checksums, then values that cannot be.

    rank, world_size: of the files only those whose number is `rank` modulo `world_size`.
    """
    files = list(zip(split.bounds, split.shards, strict=False))
    for start, shard in files[rank::world_size]:
        yield from _damages_of(shard, start, split.num_classes, len(split) // split.views)


def damages_there(cache: Path, plan: CachePlan, name: str) -> Iterator[Damage]:
    """The same of the files of a split that are there, be it unfinished; one that cannot be opened is damage too."""
    entry, missing = plan.splits[name], set(missing_shards(cache, name, plan.splits[name]))
    for number, start in enumerate(entry.bounds[:-1]):
        if number not in missing:
            try:
                shard = MappedShard(cache, plan, name, number)
            except (ValueError, OSError) as error:
                path = layout.shard_path(cache, name, number)
                problem = str(error).removeprefix(f"{path}: ").removesuffix(f"; {layout.MEND}")
                yield Damage(path, start, entry.bounds[number + 1], "the file", problem)
                continue
            yield from _damages_of(shard, start, plan.classes, entry.rows // entry.views)


def _damages_of(shard: MappedShard, start: int, classes: int, images: int) -> Iterator[Damage]:
    wrong = list(_changed(shard, start))
    yield from wrong
    names = {damage.column for damage in wrong}
    if "crc" not in names:  # else the file is gone, cut short or on a broken disk: its map must not be touched
        yield from _structure(shard)
        sound = {"labels", "index", "status", "view"} - names
        yield from _implausible(shard, start, classes, images, sound)


def _changed(shard: MappedShard, first: int) -> Iterator[Damage]:
    """Blocks whose bytes are others, neighbours as one; NaN and infinity count as such."""
    header = shard.header
    table = np.empty(header.columns["crc"].shape, header.columns["crc"].dtype)
    try:
        shard.read("crc", table)
        with disk.opened(shard.path) as file:
            crcs = dict(enumerate(table.tolist()))
            bad = set(checksums.wrong_blocks(file.fileno(), header, crcs, finite=True))
            again = {block: crcs[block] for block, _ in bad}
            changed = set(checksums.wrong_blocks(file.fileno(), header, again))
    except (OSError, ValueError) as error:
        yield Damage(shard.path, first, first + header.rows, "crc", f"not readable ({str(error)[-200:]})")
        return
    for problem, found in (
        ("not what was written (checksum differs), or not readable", bad & changed),
        ("holds NaN or infinity", bad - changed),
    ):
        for name, start, stop in _runs(header, found):
            yield Damage(shard.path, first + start, first + stop, name, problem)


def _runs(header: Header, bad: set[tuple[int, str]]) -> Iterator[tuple[str, int, int]]:
    """Column, first row and the one after the last of neighbouring blocks."""
    for name in header.data:
        blocks = sorted(block for block, column in bad if column == name)
        for _, run in groupby(enumerate(blocks), lambda pair: pair[1] - pair[0]):
            numbers = [block for _, block in run]
            yield name, numbers[0] * header.block, min((numbers[-1] + 1) * header.block, header.rows)


def _structure(shard: MappedShard) -> Iterator[Damage]:
    """What HDF5 programs read and this package does not: a change there harms nobody here, and everybody else."""
    try:
        with disk.opened(shard.path) as file:
            head = file.read(shard.header.user_block)
            found = checksums.structure(file.fileno(), shard.header)
    except OSError as error:
        yield Damage(shard.path, 0, 0, "the HDF5 structure", f"not readable ({str(error)[-200:]})")
        return
    if found != shard.header.structure or any(head[PREFIX.size + PREFIX.unpack_from(head)[1] :]):
        yield Damage(shard.path, 0, 0, "the HDF5 structure", "not what was written: other programs may read it wrongly")


def _implausible(shard: MappedShard, first: int, classes: int, images: int, columns: set[str]) -> Iterator[Damage]:
    """Labels that are no class, rows out of place, unknown states."""
    rows = shard.header.rows
    place = np.arange(first, first + rows)

    def check(name: str, good: NDArray[np.bool_], problem: str) -> Iterator[Damage]:
        if not good.all():
            row = first + int(np.flatnonzero(~good)[0])
            yield Damage(shard.path, row, row + 1, name, problem)

    if "labels" in columns:
        labels = shard.column("labels")
        good = (labels >= -1) & (labels < classes)
        yield from check("labels", good, f"a label that is not -1..{classes - 1}")
    if "index" in columns:
        yield from check("index", shard.column("index") == place, "not the row's place in its split")
    if {"status", "labels"} <= columns:
        status = shard.column("status")
        good = (status == 0) | ((status == 1) & (shard.column("labels") == -1))
        yield from check("status", good, "not 0, or 1 with label -1")
    if "view" in columns and "view" in shard.header.columns:
        good = shard.column("view") == place // images
        yield from check("view", good, "not the row's view of its image")
