"""A finished shard in memory: its columns as arrays over one map of the file. Nothing is copied or allocated for it."""

from __future__ import annotations

import json
import mmap
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featurecache import disk, layout
from featurecache.plan import CachePlan, parse_plan
from featurecache.shards.header import Header, read_header
from featurecache.storage import as_bytes

# A private map that may be written to in memory is counted as if all of it were: more than the memory is refused.
NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)


class MappedShard:
    """The columns of one shard.

    header: what its user block says. ValueError when it is not the shard that the plan of the cache names.
    """

    def __init__(self, cache: Path, plan: CachePlan, split: str, shard: int) -> None:
        self.path = layout.shard_path(cache, split, shard)
        self.header = checked_header(self.path, plan, split, shard)
        with disk.opened(self.path) as file:
            self._map = _map(file.fileno(), self.header.size)

    def column(self, name: str) -> NDArray[Any]:
        """A column (n, …) as a view of the map; writing to it changes memory only, never the file."""
        column = self.header.columns[name]
        return np.ndarray(column.shape, column.dtype, buffer=self._map, offset=column.offset)

    def read(self, name: str, out: NDArray[Any]) -> None:
        """Copy a column into an array of its shape and dtype, past the map: the fastest way to have all of it."""
        column = self.header.columns[name]
        try:
            with disk.opened(self.path) as file:
                read = disk.read_at(file.fileno(), as_bytes(out), column.offset)
        except OSError as error:
            raise OSError(error.errno, f"column {name} cannot be read: {error.strerror}", str(self.path)) from error
        if read < column.nbytes:
            raise ValueError(f"{self.path}: column {name} ends early: the file was cut short while it was open")

    def will_need(self, name: str, start: int, stop: int) -> None:
        """Tell the system which rows of a column are read next."""
        column = self.header.columns[name]
        row = column.nbytes // column.shape[0]
        low = (column.offset + start * row) // mmap.PAGESIZE * mmap.PAGESIZE
        high = column.offset + stop * row
        if hasattr(mmap, "MADV_WILLNEED") and high > low:
            self._map.madvise(mmap.MADV_WILLNEED, low, high - low)


def _map(file: int, size: int) -> mmap.mmap:
    if sys.platform == "win32":
        return mmap.mmap(file, size, access=mmap.ACCESS_COPY)
    return mmap.mmap(file, size, flags=mmap.MAP_PRIVATE | NO_RESERVE, prot=mmap.PROT_READ | mmap.PROT_WRITE)


def checked_header(path: Path, plan: CachePlan, split: str, shard: int) -> Header:
    """The header of a shard that is the one the plan names; ValueError in one line otherwise."""
    if not path.is_file():
        raise ValueError(f"{path}: not a regular file; expected a shard; {layout.MEND}")
    header = read_header(path)
    if (header.split, header.shard) != (split, shard) or not _is_part_of(header.cache, plan, split, path):
        if (header.split, header.shard) != (split, shard) and header.split in plan.splits:
            raise ValueError(
                f"{path}: a shard of another cache or split: it is {header.split} {str(header.shard)[:20]}, "
                f"expected {split} {shard}; give the files their names again"
            )
        raise ValueError(
            f"{path}: a shard of another cache or split; expected {split} {shard} of this one "
            "(if only cache.json was changed, `rebalance info --rebuild` makes it again)"
        )
    expected = plan.splits[split]
    rows = expected.bounds[shard + 1] - expected.bounds[shard]
    _check_columns(header, plan, rows, expected.views, path)
    if header.block != expected.batch_size:
        raise ValueError(f"{path}: blocks of {header.block} rows; the plan says {expected.batch_size}")
    return header


def _is_part_of(document: dict[str, Any], plan: CachePlan, split: str, path: Path) -> bool:
    """Whether what a shard says of its cache is what the plan says, as far as this release knows the words."""
    try:
        said = parse_plan(document, path)
    except ValueError:
        return False
    if list(said.splits) != [split] or said.classes > plan.classes:
        return False
    # Each new split may have brought classes; those before it know only their own.
    both = plan, said.with_classes_of(plan)
    # As text: in Python 1, 1.0 and true are equal.
    mine, theirs = (json.dumps(each.to_json(only=split), sort_keys=True) for each in both)
    return mine == theirs


def _check_columns(header: Header, plan: CachePlan, rows: int, views: int, path: Path) -> None:
    columns = header.columns
    logits = columns.get("logits")
    stored = {"dtype": columns["features"].dtype.name, "width": columns["features"].shape[1]}
    if stored != plan.specification.get("features") or (logits is None) != (plan.specification.get("logits") == "none"):
        raise ValueError(f"{path}: its columns are not those of the cache ({stored}): the file is damaged")
    if header.rows != rows or (logits and logits.shape[1] != plan.classes):
        raise ValueError(f"{path}: {header.rows} rows; the plan says {rows} rows of {plan.classes} classes")
    if ("view" in columns) != (views > 1):
        raise ValueError(
            f"{path}: it has {'a' if 'view' in columns else 'no'} view column; the plan says {views} views"
        )
