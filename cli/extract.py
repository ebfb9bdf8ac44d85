"""``rebalance extract``: features and logits of a model into a cache."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .launch import own_device, place
from .options import Common, common, example, shots, shots_option
from .output import clean, emit, percent, progress, table

if TYPE_CHECKING:
    from featurecache import FeatureCache
    from featurecache.datasets import ImageFiles
    from featurecache.extract import Extraction
    from featurecache.models import Model


def _parse_splits(_ctx: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Every ``name=DATA`` as an entry."""
    out: dict[str, str] = {}
    for value in values:
        name, equals, source = value.partition("=")
        if not (name and equals and source):
            raise click.BadParameter(f"{value!r}: expected NAME=DATA, such as train=photos/train")
        if name in out:
            raise click.BadParameter(f"{name} is given twice; expected every split once")
        out[name] = source
    return out


@click.command(
    epilog=example(
        "rebalance extract photos.cache --model run:joint.pt --split train=photos/train --split test=photos/test",
        "rebalance extract photos.cache --model timm:resnet50 --checkpoint my.pth --split train=list.txt --root photos",
    ),
    short_help="Cache a model's features and logits.",
)
@click.argument("cache", type=click.Path(path_type=Path))
@click.option(
    "--model",
    "source",
    required=True,
    metavar="SOURCE:NAME",
    help="timm:NAME, file:path.py:function, or run:FILE (made by `rebalance train`).",
)
@click.option("--checkpoint", type=click.Path(path_type=Path), help="Weights for it (.pt, .pth, .safetensors).")
@click.option(
    "--split",
    "splits",
    metavar="NAME=DATA",
    callback=_parse_splits,
    multiple=True,
    required=True,
    help="A split and its data: a folder of class folders, a .txt or .csv list, or digits. Repeat for more.",
)
@click.option("--root", type=click.Path(path_type=Path), help="The folder that list files are relative to.")
@click.option("--layer", help="The classifier's name, where it cannot be proved which it is.")
@click.option("--image-size", type=click.IntRange(4), help="Pixels, for a model that brings no transform of its own.")
@click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True)
@click.option(
    "--dtype",
    type=click.Choice(["float16", "float32"]),
    default="float16",
    show_default=True,
    help="Of the features.",
)
@click.option(
    "--logits",
    type=click.Choice(["float32", "none"]),
    default="float32",
    show_default=True,
    help="Store logits or not.",
)
@click.option(
    "--seen",
    multiple=True,
    metavar="SPLIT",
    help="Splits the backbone was trained on, or none  [default: train, and what the model's file records].",
)
@click.option("--workers", type=click.IntRange(0), default=0, show_default=True, help="Processes that load images.")
@click.option("--rank", type=click.IntRange(0), help="This process's number, where several share the work.")
@click.option("--world-size", type=click.IntRange(1), help="How many share it  [default: what torchrun says, or 1].")
@shots_option
@common
def extract(
    cache: Path,
    source: str,
    checkpoint: Path | None,
    splits: dict[str, str],
    root: Path | None,
    layer: str | None,
    image_size: int | None,
    batch_size: int,
    dtype: str,
    logits: str,
    seen: tuple[str, ...],
    workers: int,
    rank: int | None,
    world_size: int | None,
    shots: tuple[int, int],
    common: Common,
) -> dict[str, Any]:
    """Run the model over every split once and write features, logits and labels to CACHE.

    Features are the input of the classifier layer; that features @ W.T + b gives the logits is proved on the first
    batch. A command that was stopped, however it was, goes on with the rows that are missing and ends in the same
    bytes. Several processes share the work when all run the same command: under torchrun, or each with its --rank
    and the --world-size. --seed is of what a data set of your own draws at random.
    """
    from featurecache import FeatureCache
    from featurecache import extract as extract_features
    from featurecache.writing.agreement import check_free

    here, of = place(rank, world_size)
    check_free(cache, splits, here, of)
    model, data = _open(source, checkpoint, splits, root, image_size)
    with progress("extract") as update, _saying_how_to_go_on(cache):
        done = extract_features(
            model.module,
            data,
            cache,
            layer=layer,
            batch_size=batch_size,
            dtype=dtype,
            logits=logits != "none",
            device=own_device(common.device),
            workers=workers,
            class_names=_names(model, data),
            model_name=_without_folders(model.source),
            transform=model.transform_text,
            seen=_seen(seen, model, data),
            seed=common.seed,
            rank=here,
            world_size=of,
            progress=lambda name, rows, of: update(rows, of, name),
        )
    opened = FeatureCache(cache)
    payload = {
        "cache": str(cache),
        "layer": done.layer,
        "written": done.written,
        "complete_already": done.kept,
        "unfinished": done.unfinished,
        "seconds": round(done.seconds, 3),
        "accuracy": {} if done.unfinished else _accuracies(opened, list(splits), shots, common),
    }
    if not emit(payload, as_json=common.as_json):
        _show(payload, done, opened, shots)
    return payload


@contextmanager
def _saying_how_to_go_on(cache: Path) -> Iterator[None]:
    """An interruption says what is safe, and which command goes on."""
    from featurecache import FeatureCache

    try:
        yield
    except KeyboardInterrupt as stop:
        words = shlex.join(["rebalance", *click.get_current_context().meta["rebalance.words"]])
        how = "start the same job again" if "TORCHELASTIC_RUN_ID" in os.environ else words
        try:
            splits = FeatureCache(cache).describe()["splits"].values()
            rows = sum(split["rows"] if split["complete"] else split["rows_done"] for split in splits)
        except (OSError, ValueError):
            rows = 0
        stop.add_note(f"{rows} rows are safe in {cache}; to go on: {how}")
        raise


def _open(
    source: str, checkpoint: Path | None, splits: dict[str, str], root: Path | None, image_size: int | None
) -> tuple[Model, dict[str, ImageFiles]]:
    """The model and, with its transform and classes, the data; train first, for it says which classes there are."""
    from featurecache.datasets import open_images
    from featurecache.models import open_model

    order = sorted(splits, key=lambda name: name != "train")
    first = open_images(splits[order[0]], transform=None, root=root)
    model = open_model(source, checkpoint=checkpoint, num_classes=len(first.class_names), image_size=image_size)
    names = model.class_names or first.class_names
    data = {name: open_images(splits[name], transform=model.transform, root=root, class_names=names) for name in order}
    return model, data


def _names(model: Model, data: dict[str, ImageFiles]) -> tuple[str, ...] | None:
    """The names of the model's columns; None where a list just numbers them, for it may not reach the last one."""
    names = model.class_names or next(iter(data.values())).class_names
    numbered = names == tuple(str(k) for k in range(len(names)))
    return None if numbered and model.class_names is None else names


def _without_folders(source: str) -> str:
    """run:some/folder/joint.pt as run:joint.pt: a cache is the same wherever its model lies."""
    kind, _, name = source.partition(":")
    return f"{kind}:{Path(name).name}" if kind != "timm" else source


def _seen(asked: tuple[str, ...], model: Model, data: dict[str, ImageFiles]) -> set[str]:
    """The splits the backbone was trained on: as asked; else train, and any split the model's file says it saw."""
    from featurecache.datasets import ids_digest

    if asked:
        unknown = sorted(set(asked) - {*data, "none"})
        if unknown:
            raise ValueError(f"--seen {unknown[0]}: no such split here; expected none or one of {', '.join(data)}")
        return set(asked) - {"none"}
    recorded = {name for name, part in data.items() if ids_digest(part.sample_ids) == model.trained_on}
    return recorded | {"train"}


def _accuracies(
    cache: FeatureCache, names: list[str], bounds: tuple[int, int], common: Common
) -> dict[str, dict[str, Any]]:
    """The joint classifier's figures on every split that has labels: a wrong label order shows at once."""
    from rebalance import evaluate

    from .caches import cached_head, train_counts

    head = cached_head(cache, common.device)
    out = {}
    for name in names:
        split = cache[name]
        if (split.labels >= 0).any() and head is not None:
            logits = split.logits if split.stores_logits else head(split.features)
            out[name] = evaluate(logits, split.labels, train_counts(cache), shots=shots(bounds)).figures()
    return out


def _show(payload: dict[str, Any], done: Extraction, cache: FeatureCache, bounds: tuple[int, int]) -> None:
    rows = sum(done.written.values())
    for name in done.kept:
        click.echo(f"{name}: complete already, left as it is (`rebalance verify` compares it with its checksums)")
    if done.unfinished:
        left = ", ".join(f"{files} of {name}" for name, files in done.unfinished.items())
        click.echo(f"{payload['cache']}: {rows} rows in {done.seconds:.1f} s; files left to other processes: {left}")
    elif rows:
        speed = rows / max(done.seconds, 1e-9)
        click.echo(
            f"{payload['cache']}: {rows} rows in {done.seconds:.1f} s ({speed:.0f} rows/s), layer {done.layer!r}"
        )
        click.echo(f"images: {clean(str(cache.plan.specification['transform']), 300)}")
    figures = ("top1", "balanced", "many", "medium", "few")
    lines = [
        [name, str(len(cache[name])), *(percent(values[figure]) for figure in figures)]
        for name, values in payload["accuracy"].items()
    ]
    if lines:
        table(["joint head", "rows", *figures], lines, caption=f"percent; {shots(bounds).rule}")
