"""What must hold whatever was killed: nothing committed is lost or computed again, and the end is always the same."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from featurecache import FeatureCache, disk
from featurecache.shards.header import read_header
from featurecache.shards.journal import recorded
from killing.ranks import Record
from killing.work import ROWS, Known, by_split


@dataclass
class Seen:
    """What was counted. wrong: a line for everything that must not be."""

    kills: int = 0
    rounds: int = 0
    chains: int = 0
    acknowledged: int = 0
    lost: int = 0
    again: int = 0
    differing: int = 0
    wrong: list[str] = field(default_factory=list)

    def blame(self, *words: object) -> None:
        """Keep a finding."""
        self.wrong.append(" ".join(map(str, words))[:1000])


def check_commits(cache: Path, record: Record, seen: Seen) -> int:
    """How many blocks were acknowledged; each must be in its file, and in the journal of one that is unfinished."""
    acknowledged: dict[tuple[str, int], list[int]] = {}
    for what, shard, *rest in record.lines():
        if what == "A":
            acknowledged[shard, int(rest[0])] = [int(crc) for crc in rest[1:]]
    for (shard, block), crcs in acknowledged.items():
        if not _is_there(cache / shard, block, crcs):
            seen.lost += 1
            seen.blame("lost:", shard, "block", block)
    return len(acknowledged)


def _is_there(final: Path, block: int, crcs: list[int]) -> bool:
    part = disk.part_name(final)
    if not final.exists() and not part.exists():
        return False
    file = final if final.exists() else part
    header = read_header(file)
    if block >= header.blocks:
        return False
    with file.open("rb") as opened:
        spans = [header.span(name, block) for name in header.data]
        found = [zlib.crc32(os.pread(opened.fileno(), length, start)) for start, length in spans]
    if file == part:
        journal = final.with_name(final.name + ".journal")
        done = recorded(journal, zlib.crc32(header.pack()), len(header.data), header.blocks)
        return found == crcs == list(done.get(block, ()))
    return found == crcs


def check_once(record: Record, seen: Seen) -> None:
    """No block is written again, or committed again, once its commit had returned."""
    done = set()
    for what, shard, *rest in record.lines():
        if what in "WA" and (shard, rest[0]) in done:
            seen.again += 1
            seen.blame("again:", what, shard, "block", rest[0])
        if what == "A":
            done.add((shard, rest[0]))
        if what == "X":
            seen.blame(what, shard, *rest)


def check_end(cache: Path, known: Known, seen: Seen) -> None:
    """The tree of an extraction that nobody stopped, every row in its place once, nothing left beside it."""
    found = by_split(cache)
    beside = sorted(path.name for path in cache.iterdir() if path.name not in ROWS)
    same = {name for name, _ in found} == set(ROWS) and all(known.get(key) == files for key, files in found.items())
    if not same or beside != ["cache.json", "head.safetensors"]:
        seen.differing += 1
        left = [name for key, files in found.items() for name in files.keys() ^ known.get(key, {}).keys()]
        seen.blame("another end:", cache.name, beside, left, [key for key in found if key not in known])
        return
    whole = FeatureCache(cache, verify=True)
    for name, rows in ROWS.items():
        if not np.array_equal(np.sort(whole[name].index), np.arange(rows)):
            seen.differing += 1
            seen.blame("rows:", cache.name, name)
