"""``rebalance info``: what is in a cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import Common, common, example
from .output import clean, emit, note, size, table


@click.command(
    epilog=example("rebalance info photos.cache"),
    short_help="Splits, shapes, class counts and provenance of a cache.",
)
@click.argument("cache", type=click.Path(path_type=Path))
@click.option("--rebuild", is_flag=True, help="First make a lost or damaged cache.json again from the other files.")
@common
def info(cache: Path, rebuild: bool, common: Common) -> dict[str, Any]:
    """Show the splits, shapes, class counts and provenance of CACHE, and what of it is unfinished.

    Nothing here is computed: --seed and --device are accepted, as everywhere, and change nothing.
    """
    from featurecache import FeatureCache

    if rebuild:
        _rebuild(cache)
    described = FeatureCache(cache).describe()
    if not emit(described, as_json=common.as_json):
        _show(described)
    return described


def _rebuild(cache: Path) -> None:
    from featurecache.writing.rebuilding import rebuild

    plan = rebuild(cache)
    note(f"{cache / 'cache.json'}: made again, with {', '.join(plan.splits)}")


def _show(described: dict[str, Any]) -> None:
    rows = [_split_row(name, split) for name, split in described["splits"].items()]
    table(["split", "rows", "features", "dtype", "logits", "size", "backbone saw it"], rows)
    for name, split in described["splits"].items():
        if not split["complete"]:
            done = f"{split['rows_done']} of {split['rows']} rows are there"
            files = f"{split['missing_files']} of {split['files']} files to finish"
            click.echo(f"{name} is unfinished: {done}, {files}; the same extraction run again makes the rest")
        elif split["unreadable"]:
            click.echo(f"{name}: {split['unreadable']} rows could not be read (status 1, no label)")
        if split["views"] > 1:
            click.echo(f"{name}: {split['views']} views of {split['rows'] // split['views']} images")
    _show_classes(described)
    specification = described["specification"]
    click.echo(f"\nspecification {described['hash'][:16]}")
    for key, value in specification.items():
        click.echo(f"  {key:10} {_text(value)}")
    for text, names in _made_with(described["splits"]).items():
        whose = "" if len(names) == len(described["splits"]) else f"{', '.join(names)}: "
        click.echo(f"  made with  {whose}{text}")


def _text(value: Any) -> str:
    shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
    return "–" if shown is None else clean(str(shown), 300)


def _made_with(splits: dict[str, Any]) -> dict[str, list[str]]:
    """What splits were made with, in words, and which they are."""
    out: dict[str, list[str]] = {}
    for name, split in splits.items():
        made = split["made_with"]
        if made is not None:
            flat = {key: value for key, value in made.items() if not isinstance(value, dict)}
            versions = made.get("versions")
            text = _text(flat | (versions if isinstance(versions, dict) else {}))
            out.setdefault(text, []).append(name)
    return out


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
