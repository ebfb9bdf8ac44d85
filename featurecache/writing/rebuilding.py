"""Make ``cache.json`` again: every shard, finished or not, carries what it says of its split."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from featurecache import disk, layout
from featurecache.plan import CachePlan, parse_plan
from featurecache.shards.header import read_header
from featurecache.shards.lock import waiting
from featurecache.writing.agreement import PATIENCE

_SHARD = re.compile(rf"\d{{5}}\.h5({re.escape(disk.PART)})?")


def rebuild(path: Path | str) -> CachePlan:
    """The plan of a cache from its shards, written to its cache.json.

    path: the folder. FileNotFoundError or ValueError, in one line, when no shard is there, one is damaged, or two
    belong to different caches; nothing is written then.
    """
    cache = Path(path)
    if not cache.is_dir():
        raise FileNotFoundError(
            f"{layout.shown(cache)}: no such folder; expected a feature cache whose cache.json is lost"
        )
    whole: CachePlan | None = None
    for file in _shards(cache):
        header = read_header(file)
        layout.check_format(header.cache, layout.CACHE_FORMAT, file)
        plan = parse_plan(header.cache, file)
        if header.split != file.parent.name or list(plan.splits) != [header.split]:
            raise ValueError(f"{file}: a shard of split {header.split[:80]!r}; it was moved here: take it away")
        whole = plan if whole is None else _joined(whole, plan, file)
    if whole is None:
        raise ValueError(f"{cache}: no shard here, from which cache.json could be made again; expected SPLIT/00000.h5")
    order = [name for name in dict.fromkeys([*layout.USUAL_SPLITS, *sorted(whole.splits)]) if name in whole.splits]
    whole = replace(whole, splits={name: whole.splits[name] for name in order})
    with waiting(cache / layout.CACHE_FILE, PATIENCE):
        whole.save(cache)
    return whole


def _shards(cache: Path) -> Iterator[Path]:
    for folder in sorted(cache.iterdir()):
        if folder.is_dir():
            yield from (file for file in sorted(folder.iterdir()) if _SHARD.fullmatch(file.name))


def _joined(whole: CachePlan, other: CachePlan, file: Path) -> CachePlan:
    """One plan of two; ValueError where they are of different caches."""
    (name,) = other.splits
    known = whole.splits.get(name)
    if whole.is_open_ended and whole.specification == other.specification:
        # Each new split may have brought classes.
        names = whole.class_names or other.class_names
        whole = CachePlan(whole.specification, max(whole.classes, other.classes), names, whole.splits)
        other = CachePlan(whole.specification, whole.classes, names, other.splits)
    whole.check_same(other, file)
    if known is not None and known != other.splits[name]:
        raise ValueError(f"{file}: its plan of split {name!r} is not that of the files before it; take it away")
    return whole.with_split(name, other.splits[name])
