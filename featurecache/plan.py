"""What ``cache.json`` says: the specification, the classes, and the plan of every split's shards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from featurecache import disk, layout

MAX_DOCUMENT, MAX_SHARDS = 2**26, 10**5  # bytes; files, each of which is looked for
SHARD_BYTES = 4 * 2**30  # rows of a shard, so that most people see one file a split


@dataclass(frozen=True)
class SplitPlan:
    """The plan of one split.

    rows: N. batch_size: rows of an extraction batch; shard bounds are multiples of it. bounds: (shards + 1,)
    ascending from 0 to N. seen: whether the backbone was trained on these rows; None where that is not known.
    data: digest of the ids and labels, None where they are not known beforehand. views: of every image, k.
    made_with: device, threads, seed and versions, which the last bits depend on; None where nobody knows.
    """

    rows: int
    batch_size: int
    bounds: tuple[int, ...]
    seen: bool | None
    data: str | None = None
    views: int = 1
    made_with: dict[str, Any] | None = None

    @property
    def shards(self) -> int:
        """How many files there are."""
        return len(self.bounds) - 1


def even_bounds(rows: int, *, row_bytes: int, batch_size: int, world_size: int = 1) -> tuple[int, ...]:
    """Bounds of shards of about 4 GiB at most, as many for every one of `world_size` processes.

    rows: N. row_bytes: of one row. batch_size: rows that are never divided. ValueError for a split without rows.
    """
    if rows < 1:
        raise ValueError("a split without rows cannot be cached; expected at least one")
    batches = -(-rows // batch_size)
    by_size = -(-rows * row_bytes // SHARD_BYTES)
    shards = min(batches, -(-by_size // world_size) * world_size)
    return (*(i * batches // shards * batch_size for i in range(shards)), rows)


@dataclass(frozen=True)
class CachePlan:
    """The content of ``cache.json``; see featurecache.layout."""

    specification: dict[str, Any]
    classes: int
    class_names: tuple[str, ...] | None = None
    splits: dict[str, SplitPlan] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """SHA-256 of the specification."""
        return layout.specification_hash(self.specification)

    @property
    def is_open_ended(self) -> bool:
        """Whether K is only the largest label met so far, for no head, logits or names say it."""
        said = self.specification.get("head") is not None or self.specification.get("logits") != "none"
        return not said and self.class_names is None

    def with_classes_of(self, other: CachePlan) -> CachePlan:
        """The same plan with at least as many classes as the other, where K is only the largest label met so far."""
        if not (self.is_open_ended and other.is_open_ended):
            return self
        return replace(self, classes=max(self.classes, other.classes))

    def with_split(self, name: str, split: SplitPlan) -> CachePlan:
        """The same plan with one more split."""
        return replace(self, splits={**self.splits, layout.check_split_name(name): split})

    def to_json(self, only: str | None = None) -> dict[str, Any]:
        """The document; with `only`, of that split alone, as every shard carries it."""
        splits = self.splits if only is None else {only: self.splits[only]}
        return {
            "format": layout.CACHE_FORMAT,
            "schema": list(layout.SCHEMA),
            "specification": self.specification,
            "hash": self.hash,
            "classes": self.classes,
            "class_names": None if self.class_names is None else list(self.class_names),
            "splits": {
                name: {
                    "rows": split.rows,
                    "views": split.views,
                    "batch_size": split.batch_size,
                    "bounds": list(split.bounds),
                    "seen": split.seen,
                    "data": split.data,
                    "made_with": split.made_with,
                }
                for name, split in splits.items()
            },
        }

    def save(self, cache: Path, own: str = "") -> None:
        """Write ``cache.json``, whole or not at all. own: see disk.replacing."""
        disk.write_json(cache / layout.CACHE_FILE, self.to_json(), own)

    def check_same(self, other: CachePlan, cache: Path) -> None:
        """ValueError naming the first entry in which the other plan's specification or classes differ."""
        mine = {**_flat(self.specification), "classes": self.classes, "class names": self.class_names}
        theirs = {**_flat(other.specification), "classes": other.classes, "class names": other.class_names}
        for key in dict.fromkeys([*mine, *theirs]):
            one, two = mine.get(key), theirs.get(key)
            if one == two:
                continue
            if isinstance(one, tuple) and isinstance(two, tuple) and len(one) == len(two):
                place = next(i for i, (a, b) in enumerate(zip(one, two, strict=True)) if a != b)
                key, one, two = f"{key} {place}", repr(one[place]), repr(two[place])
            raise ValueError(
                f"{cache}: a cache of another extraction: its {key} is {_short(one)}, "
                f"asked for was {_short(two)}; use another folder for the new one, or delete this one"
            )


def read_plan(cache: Path) -> CachePlan:
    """The plan of a cache. FileNotFoundError or ValueError, in one line, when the folder is not a cache."""
    if not cache.exists():
        raise FileNotFoundError(
            f"{layout.shown(cache)}: no such cache; make it with `rebalance extract` or featurecache.write"
        )
    file = cache / layout.CACHE_FILE
    if not cache.is_dir() or not file.is_file():  # a pipe would be waited for
        what = "a folder without cache.json" if cache.is_dir() else "a file"
        raise ValueError(
            f"{cache}: not a feature cache but {what}; expected the folder `rebalance extract` made "
            "(where cache.json alone was lost, `rebalance info --rebuild` makes it again)"
        )
    text = disk.read_head(file, MAX_DOCUMENT)
    document = layout.parse_json(text, file)
    layout.check_format(document, layout.CACHE_FORMAT, file)
    return parse_plan(document, file)


def parse_plan(document: dict[str, Any], file: Path) -> CachePlan:
    """The plan in a document whose format and version were checked. ValueError naming the entry that is wrong."""
    specification, classes = document.get("specification"), document.get("classes")
    names, splits = document.get("class_names"), document.get("splits")
    if not isinstance(specification, dict) or document.get("hash") != layout.specification_hash(specification):
        raise ValueError(f"{file}: the specification and its hash do not fit: the file was edited or is damaged")
    if type(classes) is not int or not 0 < classes <= layout.MAX_CLASSES:
        raise ValueError(f"{file}: classes is {str(classes)[:40]!r}; expected 1..{layout.MAX_CLASSES}")
    if names is not None and not (
        isinstance(names, list) and len(names) == classes and all(isinstance(name, str) for name in names)
    ):
        raise ValueError(f"{file}: class_names; expected null or a list of {classes} names")
    if not isinstance(splits, dict):
        raise ValueError(f"{file}: splits; expected an object, one entry a split")
    plans = {name: _parse_split(name, entry, file) for name, entry in splits.items()}
    if (files := sum(plan.shards for plan in plans.values())) > MAX_SHARDS:
        raise ValueError(f"{file}: {files} files; expected at most {MAX_SHARDS}")
    return CachePlan(specification, classes, None if names is None else tuple(names), plans)


def _parse_split(name: str, entry: Any, file: Path) -> SplitPlan:
    try:
        layout.check_split_name(name)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    entry = entry if isinstance(entry, dict) else {}
    rows, batch, bounds, views = (entry.get(key) for key in ("rows", "batch_size", "bounds", "views"))
    numbers = [rows, batch, views, *(bounds if isinstance(bounds, list) else [None])]
    if not all(type(number) is int and 0 <= number <= layout.MAX_ROWS for number in numbers) or not (batch and views):
        raise ValueError(f"{file}: split {name!r}: rows, batch_size, views and bounds; expected integers")
    if rows % views:
        raise ValueError(f"{file}: split {name!r}: {rows} rows; expected a multiple of its {views} views")
    if rows < 1 or len(bounds) < 2 or bounds[0] != 0 or bounds[-1] != rows or any(a >= b for a, b in pairwise(bounds)):
        raise ValueError(f"{file}: split {name!r}: bounds; expected numbers ascending from 0 to {rows}")
    seen, data = entry.get("seen"), entry.get("data")
    if not (seen is None or isinstance(seen, bool)):
        raise ValueError(f"{file}: split {name!r}: seen; expected true, false or null")
    if not (data is None or isinstance(data, str)):
        raise ValueError(f"{file}: split {name!r}: data; expected a digest or null")
    made_with = entry.get("made_with")
    if not (made_with is None or isinstance(made_with, dict)):
        raise ValueError(f"{file}: split {name!r}: made_with; expected an object or null")
    return SplitPlan(rows, batch, tuple(bounds), seen, data, views, made_with)


def missing_shards(cache: Path, name: str, split: SplitPlan) -> Sequence[int]:
    """The shards of a split that are still to be made."""
    return [i for i in range(split.shards) if not layout.shard_path(cache, name, i).exists()]


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested entries under dotted names, so that a difference can be named."""
    out: dict[str, Any] = {}
    for key, entry in value.items():
        if isinstance(entry, dict):
            out |= _flat(entry, f"{prefix}{key} ")
        else:
            out[f"{prefix}{key}"] = entry
    return out


def _short(value: Any) -> str:
    text = "absent" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
