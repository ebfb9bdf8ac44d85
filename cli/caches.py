"""What commands hand from the cache to the heads."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .launch import place
from .output import clean

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from featurecache import FeatureCache, Split
    from rebalance import LinearHead


def open_cache(path: Path, *splits: str) -> FeatureCache:
    """A cache whose splits that are named were compared with their checksums; ValueError naming what is damaged."""
    from featurecache import FeatureCache

    cache = FeatureCache(path)
    verify(cache, splits)
    return cache


def verify(cache: FeatureCache, splits: Iterable[str]) -> None:
    """Compare splits with their checksums; processes that were started together share the files.

    ValueError naming what is damaged.
    """
    rank, world_size = place(None, None)
    cache.verify(splits, rank=rank, world_size=world_size)


def cached_head(cache: FeatureCache, device: torch.device) -> LinearHead | None:
    """The joint head of a cache on a device, or None where it has none; its record says where it is from."""
    from rebalance import LinearHead

    if not cache.has_head:
        return None
    head = LinearHead(*cache.head, record={"method": "joint", "hyperparameters": {}, **provenance(cache)})
    return head.to(device)


def provenance(cache: FeatureCache) -> dict[str, Any]:
    """What a head records of the cache it was made on."""
    specification = cache.plan.specification
    return {
        "cache": cache.hash,
        "layer": specification.get("layer"),
        **({"terms": specification["terms"]} if specification.get("terms") else {}),
        "joint": specification.get("head"),
        **({"transform": specification["transform"]} if specification.get("transform") else {}),
        "class_names": None if cache.class_names is None else list(cache.class_names),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """The versions that a result may depend on."""
    import importlib.metadata

    return {name: importlib.metadata.version(name) for name in ("featurecache-rebalance", "torch", "numpy")}


def open_head(path: Path, cache: FeatureCache, device: torch.device) -> LinearHead:
    """A head from a file, for the features of this cache; ValueError when it is made for others."""
    from rebalance import load_head

    head = load_head(path)
    width = cache.plan.specification["features"]["width"]
    if head.width != width or head.num_classes != cache.num_classes:
        raise ValueError(
            f"{path}: a head of {head.num_classes} classes on {head.width} features; {cache.path} has "
            f"{cache.num_classes} classes on {width} features: use a head fitted on this cache"
        )
    made_on = head.record.get("cache")
    if made_on is not None and made_on != cache.hash:
        raise ValueError(
            f"{path}: fitted on features of another model or extraction (cache {str(made_on)[:12]}, this is "
            f"{cache.hash[:12]}); fit it again on {cache.path}"
        )
    named, names = head.record.get("class_names"), cache.class_names
    if named is not None and names is not None and list(named) != list(names):
        other = next((k for k, (a, b) in enumerate(zip(named, names, strict=False)) if a != b), 0)
        theirs = clean(str(named[other])) if isinstance(named, list) and named else clean(str(named))
        raise ValueError(
            f"{path}: a head for other classes: its class {other} is {theirs!r}, that of {cache.path} "
            f"{clean(names[other])!r}; class ids are columns, so use a head for these classes in this order"
        )
    return head.to(device)


def train_counts(cache: FeatureCache) -> NDArray[np.int64] | None:
    """Training rows a class, or None where the cache has no split called train."""
    return cache.counts if "train" in cache else None


def check_last_classes(cache: FeatureCache, split: Split) -> None:
    """ValueError where a head fitted on a split would have fewer classes than the cache, for nobody says how many."""
    known = int(split.labels.max()) + 1
    if cache.has_head or known == cache.num_classes:
        return
    names = cache.class_names
    first = f"class {known}" if names is None else f"class {clean(names[known])!r} ({known})"
    raise ValueError(
        f"{cache.path}: {first} and all behind it have no row in {split.name} ({cache.num_classes - known} of "
        f"{cache.num_classes}), and there is no joint head to keep their place; expected rows of the last class: add "
        "some, or leave these classes out"
    )


def counts_keyword(name: str, cache: FeatureCache, on: str = "train") -> dict[str, Any]:
    """The training rows a class as a method's keyword; nothing for one without it or that counts the rows of its fit.

    name: of the method. on: the split it is fitted on; several views of an image in it count as one row.
    ValueError when the cache has no training rows to count.
    """
    from rebalance import METHODS
    from rebalance.methods import takes_counts

    line = METHODS[name]
    if not takes_counts(line.function):
        return {}
    if line.on == "train":
        return {"counts": cache.counts} if on == "train" and cache["train"].views > 1 else {}
    counts = train_counts(cache)
    if counts is None:
        raise ValueError(
            f"{cache.path}: no split called train, so the classes have no training counts, which {name} needs; "
            f"there are: {', '.join(cache)}"
        )
    return {"counts": counts}
