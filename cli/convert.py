"""``rebalance convert``: other people's features into a cache, and a cache into other people's formats."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import Common, common, example
from .output import clean, emit

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_NAMES = 2**26  # bytes of a file of class names


def _parse_map(_ctx: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Every ``ours=theirs`` as an entry."""
    out: dict[str, str] = {}
    for part in (part for value in values for part in value.split(",")):
        ours, equals, theirs = part.partition("=")
        if not (ours and equals) or ours in out:
            raise click.BadParameter(f"{part!r}: expected OURS=THEIRS, every column once, such as features=feats")
        out[ours] = theirs
    return out


@click.command(
    epilog=example(
        "rebalance convert features.npz mine.cache --split train --map features=feats,labels=y",
        "rebalance convert photos.cache photos.parquet",
    ),
    short_help="Foreign features into a cache, a cache into foreign formats.",
)
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--split", metavar="NAME", help="The split that IN becomes  [default: train].")
@click.option(
    "--map",
    "names",
    metavar="OURS=THEIRS,…",
    callback=_parse_map,
    multiple=True,
    help="What IN calls features, labels, logits and sample_id, where that is not plain; nothing after = to leave one.",
)
@click.option(
    "--to",
    type=click.Choice(["parquet", "npy", "npz", "h5"]),
    help="What a cache is written as  [default: what OUT ends in].",
)
@click.option("--dtype", type=click.Choice(["float16", "float32"]), help="Of the cached features  [default: float16].")
@click.option("--head", type=click.Path(path_type=Path), help="The classifier of these features (.safetensors).")
@click.option("--class-names", type=click.Path(path_type=Path), help="A text file of class names, one a line.")
@click.option(
    "--seen", type=click.Choice(["yes", "no"]), help="Was the backbone trained on them?  [default: yes for train]."
)
@common
def convert(
    source: Path,
    target: Path,
    split: str | None,
    names: Mapping[str, str],
    to: str | None,
    dtype: str | None,
    head: Path | None,
    class_names: Path | None,
    seen: str | None,
    common: Common,
) -> dict[str, Any]:
    """Read IN into the cache OUT as one split; or, where IN is a cache, write it to the new folder OUT.

    IN may be .npy, .npz, .pt, .pkl, .h5 or .parquet, or a folder of img_emb/*.npy and metadata/*.parquet; or a folder
    that this command wrote: every split of it. A cache is written as one file (or folder) a split. Nothing in a file
    is run. --seed and --device change nothing here.
    """
    from featurecache.layout import CACHE_FILE

    reading = {"--split": split, "--map": names, "--dtype": dtype, "--head": head, "--class-names": class_names}
    outward = (source / CACHE_FILE).is_file()
    strange = (
        [name for name, value in (reading | {"--seen": seen}).items() if value] if outward else ["--to"] * bool(to)
    )
    if strange:
        said = "IN is a cache" if outward else "IN is no cache"
        raise click.UsageError(f"{strange[0]} means nothing here: {said}.")
    if outward:
        payload = _write_out(source, target, to)
    else:
        payload = _read_in(source, target, split, names, dtype or "float16", head, class_names, seen)
    if not emit(payload, as_json=common.as_json):
        _show(payload, "written" if outward else "read")
    return payload


def _write_out(source: Path, target: Path, to: str | None) -> dict[str, Any]:
    """Every split of a cache, compared with its checksums first, in another format."""
    from featurecache import FeatureCache
    from featurecache.convert import convert_out

    from .caches import open_cache

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


def _read_in(
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
            class_names=None if class_names is None else _read_names(class_names),
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


def _read_names(path: Path) -> list[str]:
    """The lines of a text file."""
    from featurecache.disk import read_head

    try:
        lines = read_head(path, MAX_NAMES).decode("utf-8-sig").replace("\r\n", "\n").removesuffix("\n").split("\n")
    except UnicodeDecodeError:
        raise ValueError(f"--class-names {path}: expected text in UTF-8, a name a line") from None
    if empty := [number for number, line in enumerate(lines, start=1) if not line.strip()]:
        raise ValueError(f"--class-names {path}: line {empty[0]} is empty; expected a name a line, class 0 first")
    return lines


def _show(payload: dict[str, Any], done: str) -> None:
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
