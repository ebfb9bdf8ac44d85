"""``rebalance info``: what is in a cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import Common, common, example
from .output import clean, emit, size, table


@click.command(
    epilog=example("rebalance info photos.cache"),
    short_help="Splits, shapes, class counts and provenance of a cache.",
)
@click.argument("cache", type=click.Path(path_type=Path))
@common
def info(cache: Path, common: Common) -> dict[str, Any]:
    """Show the splits, shapes, class counts and provenance of CACHE, and what of it is unfinished.

    Nothing here is computed: --seed and --device are accepted, as everywhere, and change nothing.
    """
    from featurecache import FeatureCache

    described = FeatureCache(cache).describe()
    if not emit(described, as_json=common.as_json):
        _show(described)
    return described


def _show(described: dict[str, Any]) -> None:
    rows = [_split_row(name, split) for name, split in described["splits"].items()]
    table(["split", "rows", "features", "dtype", "logits", "size", "backbone saw it"], rows)
    for name, split in described["splits"].items():
        if not split["complete"]:
            missing = f"{split['missing_files']} of {split['files']} files missing"
            click.echo(f"{name} is unfinished: {missing}; the same extraction run again makes them")
    _show_classes(described)
    specification = described["specification"]
    click.echo(f"\nspecification {described['hash'][:16]}")
    for key, value in specification.items():
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        click.echo(f"  {key:10} {'–' if shown is None else clean(str(shown), 300)}")


def _split_row(name: str, split: dict[str, Any]) -> list[str]:
    if not split["complete"]:
        return [name, str(split["rows"]), *("–" for _ in range(5))]
    seen = {True: "yes", False: "no", None: "not known"}[split["seen"]]
    logits = "–" if split["logits"] is None else "×".join(map(str, split["logits"]))
    shape = "×".join(map(str, split["features"]))
    return [name, str(split["rows"]), shape, split["dtype"], logits, size(split["bytes"]), seen]


def _show_classes(described: dict[str, Any], limit: int = 12) -> None:
    """Rows a class in every split, the classes with most training rows first."""
    splits = {name: split["class_counts"] for name, split in described["splits"].items() if split["complete"]}
    if not splits:
        return
    order_by = splits.get("train", next(iter(splits.values())))
    order = sorted(range(described["classes"]), key=lambda k: -order_by[k])
    shown = order if len(order) <= limit else [*order[: limit // 2], *order[-(limit // 2) :]]
    names = described["class_names"]
    rows = [[names[k] if names else str(k), *(str(counts[k]) for counts in splits.values())] for k in shown]
    if len(order) > limit:
        rows.insert(limit // 2, [f"… {len(order) - len(shown)} more", *("…" for _ in splits)])
    click.echo()
    table(["class", *splits], rows)
