"""``rebalance verify``: is every byte of a cache still the one that was written?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import Common, common, example
from .output import emit, progress, size

if TYPE_CHECKING:
    from featurecache import FeatureCache

NOT_WHOLE = 1


@click.command(
    epilog=example("rebalance verify photos.cache"),
    short_help="Compare every byte of a cache with its checksums.",
)
@click.argument("cache", type=click.Path(path_type=Path))
@common
def verify(cache: Path, common: Common) -> dict[str, Any]:
    """Read all of CACHE and compare it with its checksums; say which files, rows and columns are bad.

    Also looked for are NaN and infinity, labels that are no class, and rows out of place. The exit code is 1 where
    anything is bad or missing. Nothing is changed: delete the files that are named and run the same extraction again.
    --seed and --device are accepted, as everywhere, and change nothing.
    """
    from featurecache import FeatureCache

    opened = FeatureCache(cache)
    bad = _bad(opened)
    damaged = {entry["split"] for entry in bad}
    unfinished = [name for name in opened if name not in opened.complete]
    rows = {name: opened.plan.splits[name].rows for name in opened.complete if name not in damaged}
    checked = sum(file.stat().st_size for file in opened.path.glob("*/*.h5"))
    payload = {"cache": str(cache), "sound": rows, "bad": bad, "unfinished": unfinished, "bytes": checked}
    if not emit(payload, as_json=common.as_json):
        for name, count in rows.items():
            click.echo(f"{name}: {count} rows are what was written")
        for name in unfinished:
            there, of = _files(opened, name)
            click.echo(
                f"{name}: unfinished, {there} of {of} files are there; the same extraction run again makes the rest"
            )
        for entry in bad:
            click.echo(entry["message"])
        said = f"{len(bad)} bad" if bad else f"nothing bad in {size(checked)}"
        click.echo(f"{said}; not whole: {', '.join(unfinished)}" if unfinished else said)
    if bad or unfinished:
        click.get_current_context().exit(NOT_WHOLE)
    return payload


def _files(cache: FeatureCache, name: str) -> tuple[int, int]:
    """How many files of a split are there, and how many there will be."""
    from featurecache.plan import missing_shards

    split = cache.plan.splits[name]
    return split.shards - len(missing_shards(cache.path, name, split)), split.shards


def _bad(cache: FeatureCache) -> list[dict[str, Any]]:
    """Everything that is wrong, one entry a run of rows."""
    from featurecache.reading.verification import damages_there

    found: list[dict[str, Any]] = []
    with progress("verify") as update:
        for number, name in enumerate(cache):
            update(number, len(cache), name)
            found += [
                {
                    "split": name,
                    "file": str(damage.file),
                    "rows": [damage.start, damage.stop],
                    "column": damage.column,
                    "message": damage.message,
                }
                for damage in damages_there(cache.path, cache.plan, name)
            ]
    try:
        if cache.has_head:
            _ = cache.head
    except ValueError as error:
        found.append({"split": None, "message": " ".join(str(error).split())})
    return found
