"""The cache that a head belongs to: the one that is named, or the one of its hash that lies near."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..output import clean

if TYPE_CHECKING:
    from featurecache import FeatureCache
    from rebalance import LinearHead

FIRST = ("test", "val")  # the splits whose rows are taken, before any other


def cache_of(head: LinearHead, path: Path, into: Path | None, named: Path | None) -> FeatureCache | None:
    """The cache whose features a head takes; None where none is named and none that is near is its own.

    path: of the head. into: the checkpoint, if there is one. named: the cache that was asked for.
    Near are the folders of the head and above it, of the checkpoint, and the one worked in.
    ValueError when the named one is another's.
    """
    from featurecache import FeatureCache

    from ..caches import open_head

    if named is not None:
        opened = FeatureCache(named)
        open_head(path, opened, head.weight.device)
        return opened
    wanted = head.record.get("cache")
    for folder in _near(path, into) if isinstance(wanted, str) else ():
        try:
            found = FeatureCache(folder)
        except (OSError, ValueError):  # damaged, or of another release: it is not asked for
            continue
        if found.hash == wanted and found.complete:
            return found
    return None


def split_of(cache: FeatureCache) -> str:
    """The split whose rows are taken: test, else val, else the first that is complete. ValueError where none is."""
    complete = cache.complete
    for name in (*FIRST, *complete):
        if name in complete:
            return name
    raise ValueError(f"{cache.path}: no split is complete; run the same extraction again, it goes on where it stopped")


def absent(head: LinearHead, path: Path) -> str:
    """What to say where no cache was found."""
    made_on = head.record.get("cache")
    which = f"of the cache {clean(str(made_on), 12)} it was made on" if made_on else "on rows of its features"
    return (
        f"{path}: the export is proved {which}, and no such cache is beside the head or the checkpoint; "
        "name it with --cache, or pass --unproved"
    )


def _near(path: Path, into: Path | None) -> Iterator[Path]:
    """Every folder with a cache.json in it that is near, each once; the nearest first."""
    from featurecache.layout import CACHE_FILE

    beside = path.absolute().parent
    folders = [beside, beside.parent, *([] if into is None else [into.absolute().parent]), Path.cwd()]
    seen: set[str] = set()
    for folder in folders:
        try:
            entries = sorted(entry.path for entry in os.scandir(folder) if entry.is_dir())
        except OSError:  # one that may not be read is no place to look
            continue
        for each in (str(folder), *entries):
            if each not in seen and os.path.isfile(os.path.join(each, CACHE_FILE)):
                seen.add(each)
                yield Path(each)
