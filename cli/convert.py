"""``rebalance convert``: other people's features and heads into ours, and ours into other people's formats."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .converting import features, heads
from .options import Common, common, example
from .output import emit

if TYPE_CHECKING:
    from collections.abc import Mapping


CACHE_OUT, CACHE_IN = "IN is a cache", "IN is no cache"
HEAD_OUT, HEAD_IN = "IN is a head", "OUT is a head"
MEANT = {
    CACHE_OUT: {"--to"},
    CACHE_IN: {"--split", "--map", "--dtype", "--head", "--class-names", "--seen"},
    HEAD_OUT: set[str](),
    HEAD_IN: {"--map", "--class-names"},
}


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
        "rebalance convert sklearn.npz sklearn.safetensors --class-names classes.txt",
    ),
    short_help="Foreign features and heads into ours, and ours into foreign formats.",
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
    help="What IN calls features, labels, logits and sample_id (a head: weight and bias), where that is not plain; "
    "nothing after = to leave one.",
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

    Where OUT ends in .safetensors, IN is somebody else's head (.npz, .pt or .safetensors): arrays called weight and
    bias, fc.weight and fc.bias and the like, or scikit-learn's coef_, intercept_ and classes_. A head is written as
    weight and bias where OUT ends in .npz or .pt.
    """
    given = {
        **{"--split": split, "--map": names, "--to": to, "--dtype": dtype, "--head": head},
        **{"--class-names": class_names, "--seen": seen},
    }
    way = _way(source, target)
    if strange := [option for option, value in given.items() if value and option not in MEANT[way]]:
        raise click.UsageError(f"{strange[0]} means nothing here: {way}.")
    if way == HEAD_IN:
        payload = heads.read_in(source, target, names, class_names)
    elif way == HEAD_OUT:
        payload = heads.write_out(source, target)
    elif way == CACHE_OUT:
        payload = features.write_out(source, target, to)
    else:
        payload = features.read_in(source, target, split, names, dtype or "float16", head, class_names, seen)
    if not emit(payload, as_json=common.as_json):
        if way in (HEAD_IN, HEAD_OUT):
            heads.show(payload)
        else:
            features.show(payload, "written" if way == CACHE_OUT else "read")
    return payload


def _way(source: Path, target: Path) -> str:
    """What is to become what, by the input's kind and the names."""
    from featurecache.layout import CACHE_FILE

    if (source / CACHE_FILE).is_file():
        return CACHE_OUT
    if heads.is_head_in(target):
        return HEAD_IN
    return HEAD_OUT if heads.is_head_out(source, target) else CACHE_IN
