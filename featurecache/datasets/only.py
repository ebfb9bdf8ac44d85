"""Some rows of any source: `SOURCE:only=LIST.txt`, as `rebalance train` divides what has no files of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from featurecache.datasets.lists import listed_ids
from featurecache.quoting import shown

WORD = ":only="


class Rows(Protocol):
    """What open_images returns."""

    @property
    def sample_ids(self) -> list[str] | None: ...

    def __len__(self) -> int: ...

    def subset(self: T, indices: Sequence[int], name: str | None = None) -> T: ...


T = TypeVar("T", bound=Rows)


def divided(source: str) -> tuple[str, Path | None]:
    """The source itself, and the list of its rows that are meant (None: all)."""
    whole, word, path = source.rpartition(WORD)
    return (whole, Path(path)) if word and whole and path else (source, None)


def only(images: T, path: Path, source: str) -> T:
    """The rows that a list names, in its order.

    images: all rows; those without sample ids are called by their numbers.
    path: a `sample-id label` list, whose labels are not looked at: the source knows its own.
    source: what messages call the part.
    Raises ValueError naming the first sample that is not there, or stands twice.
    """
    ids = images.sample_ids
    place = {name: row for row, name in enumerate(map(str, range(len(images))) if ids is None else ids)}
    rows: dict[int, None] = {}
    try:
        names = listed_ids(path)
    except FileNotFoundError:
        raise ValueError(f"data {shown(source)}: {shown(path)} does not exist; expected a list of its rows") from None
    for name in names:
        row = place.get(name)
        if row is None or row in rows:
            problem = "is not in these data" if row is None else "is named twice"
            raise ValueError(f"data {shown(source)}: {shown(name)} of {shown(path)} {problem}; expected its sample ids")
        rows[row] = None
    if not rows:
        raise ValueError(f"data {shown(source)}: {shown(path)} names no rows; expected `sample-id label` lines")
    return images.subset(np.array(list(rows)), source)  # type: ignore[arg-type]  # an array does as well
