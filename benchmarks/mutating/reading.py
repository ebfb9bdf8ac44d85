"""Everything a reader can see of a cache, and what must hold of any cache that is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from featurecache import FeatureCache
from featurecache.reading.split import Split

Seen: TypeAlias = dict[str, Any]

COLUMNS = ("features", "labels", "index", "sample_id", "status", "view")


def seen(path: Path, splits: tuple[str, ...]) -> Seen:
    """What a reader sees who verifies first: plain values, equal where the caches look alike.

    splits: those that are asked for, beside those that are there.
    """
    return look(FeatureCache(path, verify=True), splits)


def look(cache: FeatureCache, splits: tuple[str, ...]) -> Seen:
    """What there is to see of an open cache."""
    described = {key: value for key, value in cache.describe().items() if key != "path"}
    return {
        "plan": _plain(cache.plan.to_json()),
        "described": _plain(described),
        "classes": (cache.num_classes, cache.class_names, cache.hash, cache.has_head, sorted(cache), len(cache)),
        "head": [tensor.numpy().tobytes() for tensor in cache.head] if cache.has_head else None,
        "counts": cache.counts.tolist(),
        "shown": len(repr(cache)) > 0,
        "splits": {name: _split(cache[name]) for name in sorted({*splits, *cache})},
    }


def _split(split: Split) -> Seen:
    names = [*COLUMNS, "logits"] if split.stores_logits else [*COLUMNS]
    stored = [name for name in names if name != "view" or split.views > 1]
    first, label = split[0]
    return {
        "said": (len(split), split.seen, split.views, split.num_classes, split.bounds, split.nbytes, split.name),
        "shown": repr(split),
        "arrays": {name: _array(np.asarray(getattr(split, name))) for name in names},
        "read": {name: _array(split.read(name)) for name in stored},
        "rows": (first.numpy().tobytes(), label, len(split.__getitems__([0, len(split) - 1]))),
        "blocks": [(rows.numpy().tobytes(), labels.tolist()) for rows, labels in split.blocks(3)],
    }


def _array(values: np.ndarray[Any, Any]) -> tuple[str, tuple[int, ...], bytes]:
    return str(values.dtype), values.shape, values.tobytes()


def _plain(value: dict[str, Any]) -> str:
    """As JSON whose keys are in order: 1, 1.0 and true differ in it, as they do for a reader."""
    return json.dumps(value, sort_keys=True, allow_nan=False)


def implausible(path: Path) -> str | None:
    """What cannot be in a cache that verifies, whoever made it; None where all is as it must be."""
    cache = FeatureCache(path, verify=True)
    wrong = [f"{name}: {what}" for name in cache for what in _wrong(cache[name], cache)]
    if cache.class_names is not None and len(cache.class_names) != cache.num_classes:
        wrong.append("names")
    if int(cache.counts.sum()) > len(cache["train"]):
        wrong.append("counts")
    return "; ".join(wrong) or None


def _wrong(split: Split, cache: FeatureCache) -> list[str]:
    rows, place = len(split), np.arange(len(split))
    labels, status = split.labels, split.status
    columns = [np.asarray(split.features)] + ([np.asarray(split.logits)] if split.stores_logits else [])
    checks = {
        "rows": all(len(column) == rows for column in (*columns, labels, status, split.view, split.sample_id)),
        "width": columns[0].shape == (rows, cache.plan.specification["features"]["width"]),
        "classes": len(columns) == 1 or columns[1].shape == (rows, cache.num_classes),
        "finite": all(bool(np.isfinite(column).all()) for column in columns),
        "labels": bool(((labels >= -1) & (labels < cache.num_classes)).all()),
        "index": bool((split.index == place).all()),
        "status": bool(((status == 0) | ((status == 1) & (labels == -1))).all()),
        "view": bool((split.view == place // (rows // split.views)).all()),
    }
    return [what for what, good in checks.items() if not good]
