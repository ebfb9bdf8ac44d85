"""``rebalance extract``: features and logits of a model into a cache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .extracting.options import (
    ComputeOptions,
    DataOptions,
    ExtractCommand,
    ModelOptions,
    compute_options,
    data_options,
    model_options,
)
from .launch import how_to_go_on, own_device, place
from .options import Common, common, example, shots_option
from .output import emit, note, progress

if TYPE_CHECKING:
    from featurecache.models import Model


@click.command(
    cls=ExtractCommand,
    epilog=example(
        "rebalance extract photos.cache --model run:joint.pt --split train=photos/train --split test=photos/test",
        "rebalance extract photos.cache --model timm:resnet50 --checkpoint my.pth --split train=list.txt --root photos",
    ),
    short_help="Cache a model's features and logits.",
)
@click.argument("cache", type=click.Path(path_type=Path))
@model_options
@data_options
@compute_options
@shots_option
@common
def extract(
    cache: Path,
    model: ModelOptions,
    data: DataOptions,
    compute: ComputeOptions,
    shots: tuple[int, int],
    common: Common,
) -> dict[str, Any]:
    """Run the model over every split once and write features, logits and labels to CACHE.

    Features are the input of the classifier layer; that features @ W.T + b gives the logits is proved on the first
    batch. A command that was stopped, however it was, goes on with the rows that are missing and ends in the same
    bytes. Several processes share the work when all run the same command: under torchrun, or each with its --rank
    and the --world-size. --seed is of what is drawn at random: views, and what a data set of your own draws.
    """
    from featurecache import FeatureCache
    from featurecache import extract as extract_features
    from featurecache.writing.agreement import check_free

    from .extracting.extracted import show, summary

    rank, world_size = place(compute.rank, compute.world_size)
    check_free(cache, data.splits, rank, world_size)
    opened, splits = _open(model, data)
    for line in [*opened.notes, *(line for split in splits.values() for line in split.notes)]:
        note(f"rebalance: {line}")
    with progress("extract") as update, _saying_how_to_go_on(cache):
        done = extract_features(
            opened.module,
            splits,
            cache,
            layer=model.layer,
            head=opened.has_head and not model.no_head,
            batch_size=compute.batch_size,  # type: ignore[arg-type]  # a number, or auto
            dtype=compute.dtype,
            logits=compute.logits != "none",
            views={"train": data.views} if data.views > 1 else None,
            unreadable=data.on_bad_image,  # type: ignore[arg-type]  # one of two words, as the next
            amp=compute.amp,  # type: ignore[arg-type]
            tf32=compute.tf32,
            channels_last=compute.channels_last,
            compile=compute.compile,
            device=own_device(common.device),
            workers=compute.workers,
            class_names=_names(opened, splits, head=not model.no_head),
            model_name=_without_folders(opened.source),
            transform=opened.transform_text if any(_reads(split) for split in splits.values()) else None,
            seen=_seen(data.seen, opened, splits),
            seed=common.seed,
            rank=rank,
            world_size=world_size,
            progress=lambda name, rows, of: update(rows, of, name),
        )
    made = FeatureCache(cache)
    payload = summary(made, done, data.splits, shots, common) | {"cache": str(cache)}
    if not emit(payload, as_json=common.as_json):
        show(payload, made, shots)
    return payload


@contextmanager
def _saying_how_to_go_on(cache: Path) -> Iterator[None]:
    """An interruption says what is safe, and which command goes on; so do a full device and a bad image."""
    from featurecache.extraction.forward import OutOfMemory
    from featurecache.unreadable import Unreadable

    try:
        yield
    except KeyboardInterrupt as stop:
        stop.add_note(f"{_safe(cache)} rows are safe in {cache}; to go on: {how_to_go_on()}")
        raise
    except OutOfMemory as error:
        if not error.smaller:
            raise
        how = how_to_go_on("--batch-size", str(error.smaller))
        raise ValueError(f"{error}; {_safe(cache)} rows are safe in {cache}; to go on: {how}") from error
    except Unreadable as error:
        raise ValueError(f"{error}; or pass over such images with --on-bad-image skip") from error


def _safe(cache: Path) -> int:
    """Rows that need not be computed again."""
    from featurecache import FeatureCache

    try:
        splits = FeatureCache(cache).describe()["splits"].values()
    except (OSError, ValueError):
        return 0
    return sum(split["rows"] if split["complete"] else split["rows_done"] for split in splits)


def _open(model: ModelOptions, data: DataOptions) -> tuple[Model, dict[str, Any]]:
    """The model and, with its transform and classes, the data; train first, for it says which classes there are."""
    from featurecache.datasets import ImageFiles, open_images
    from featurecache.datasets.augmenting import augmented
    from featurecache.models import open_model
    from featurecache.models.headless import without_classifier
    from featurecache.models.overriding import overridden

    if data.views > 1 and "train" not in data.splits:
        raise ValueError(f"--views {data.views}: expected a split called train, which the views are of")
    order = sorted(data.splits, key=lambda name: name != "train")
    first = open_images(data.splits[order[0]], transform=None, root=data.root)
    # A backbone alone may have been trained on any number of classes.
    classes = len(first.class_names) if first.class_names and not model.no_head else None
    opened = open_model(
        model.source, checkpoint=model.checkpoint, num_classes=classes, image_size=model.image_size, ema=model.ema
    )
    opened = overridden(opened, model.transform)
    if model.no_head and model.layer is None and opened.has_head and not model.source.startswith("file:"):
        opened = without_classifier(opened)
    names = (None if model.no_head else opened.class_names) or first.class_names
    transforms = dict.fromkeys(order, opened.transform)
    if data.views > 1:
        transforms["train"] = augmented(opened.transform, flip=data.flip)
    splits: dict[str, Any] = {}
    for name in order:
        if name == order[0] and isinstance(first, ImageFiles) and names == first.class_names:
            splits[name] = first.with_transform(transforms[name])  # a list of half a million is not read twice
            continue
        source = data.splits[name]
        splits[name] = open_images(source, transform=transforms[name], root=data.root, class_names=names)
    return opened, splits


def _reads(split: Any) -> bool:
    """Whether a split reads its items as the model's transform says; a data set of the user's own may not."""
    return bool(getattr(split, "uses_transform", True))


def _names(model: Model, splits: dict[str, Any], *, head: bool) -> tuple[str, ...] | None:
    """The names of the model's columns; None where a list just numbers them, for it may not reach the last one.

    head: False where the features alone are cached: then the classes are those of the data.
    """
    names = (model.class_names if head else None) or next(iter(splits.values())).class_names
    if names is None:
        return None
    numbered = tuple(names) == tuple(str(k) for k in range(len(names)))
    return None if numbered and model.class_names is None else tuple(names)


def _without_folders(source: str) -> str:
    """run:some/folder/joint.pt as run:joint.pt: a cache is the same wherever its model lies."""
    kind, _, name = source.partition(":")
    return f"{kind}:{Path(name).name}" if kind in ("run", "file", "reference", "hf") else source


def _seen(asked: tuple[str, ...], model: Model, splits: dict[str, Any]) -> set[str]:
    """The splits the backbone was trained on: as asked; else train, and any split the model's file says it saw."""
    from featurecache.datasets import ids_digest

    if asked:
        unknown = sorted(set(asked) - {*splits, "none"})
        if unknown:
            raise ValueError(f"--seen {unknown[0]}: no such split here; expected none or one of {', '.join(splits)}")
        return set(asked) - {"none"}
    named = {name: part.sample_ids for name, part in splits.items() if part.sample_ids is not None}
    return {"train"} | {name for name, ids in named.items() if ids_digest(ids) == model.trained_on}
