"""Features of other people's making into a cache, and a cache into other people's formats."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from ..output import clean
from .class_names import read_names


def write_out(source: Path, target: Path, to: str | None) -> dict[str, Any]:
    """Every split of a cache, compared with its checksums first, in another format."""
    from featurecache import FeatureCache
    from featurecache.convert import convert_out

    from ..caches import open_cache

    cache = open_cache(source, *FeatureCache(source))
    files = convert_out(cache, target, to=to)
    return {
        "source": str(source),
        "format": "feature cache",
        "target": str(target),
        "files": [str(file) for file in files],
        "rows": {name: len(split) for name, split in cache.items()},
        "width": cache.plan.specification["features"]["width"],
        "classes": cache.num_classes,
    }


def read_in(
    source: Path,
    target: Path,
    split: str | None,
    names: Mapping[str, str],
    dtype: str,
    head: Path | None,
    class_names: Path | None,
    seen: str | None,
) -> dict[str, Any]:
    """A foreign file as one split of a cache, or a folder of them as one split each."""
    from featurecache import FeatureCache
    from featurecache.convert import convert_in
    from featurecache.layout import HEAD_FILE
    from rebalance import load_head

    parts = _parts(source, split)
    if head is None and source not in parts.values() and (source / HEAD_FILE).is_file():
        head = source / HEAD_FILE
    for name, part in parts.items():
        found = convert_in(
            part,
            target,
            name,
            names=names,
            head=None if head is None else load_head(head),
            class_names=None if class_names is None else read_names(class_names),
            dtype=dtype,
            seen=None if seen is None else seen == "yes",
        )
    cache = FeatureCache(target)
    rows = [cache[name] for name in parts]
    return {
        "source": str(source),
        "format": found.usage,
        "target": str(target),
        "files": [],
        "rows": {name: len(cache[name]) for name in parts},
        "width": rows[0].features.shape[1],
        "classes": cache.num_classes,
        "logits": all(split.stores_logits for split in rows),
        "unlabelled": sum(int((split.labels < 0).sum()) for split in rows),
    }


def _parts(source: Path, split: str | None) -> dict[str, Path]:
    """The files to read by split: the source itself, or what lies in a folder that `convert` wrote."""
    from featurecache.convert import format_of
    from featurecache.layout import USUAL_SPLITS

    try:
        format_of(source)
    except ValueError:
        found = {}
        for path in sorted(source.iterdir()) if source.is_dir() and split is None else ():
            with suppress(ValueError):
                format_of(path)
                found[path.stem] = path
        if not found:
            raise
        return {name: found[name] for name in dict.fromkeys([*USUAL_SPLITS, *found]) if name in found}
    return {split or "train": source}


def show(payload: dict[str, Any], done: str) -> None:
    """A line for the source, and one a split. done: written or read."""
    source, target = clean(payload["source"], 300), clean(payload["target"], 300)
    click.echo(f"{source}: {payload['format']}")
    for split, rows in payload["rows"].items():
        unlabelled = f", {payload['unlabelled']} rows without a label" if payload.get("unlabelled") else ""
        logits = ", with logits" if payload.get("logits") else ""
        click.echo(
            f"{target}: {split} {done}, {rows} rows, {payload['width']} features, {payload['classes']} classes"
            f"{logits}{unlabelled}"
        )
    for file in payload["files"]:
        click.echo(f"  {clean(file, 300)}")
