"""``rebalance train``: a backbone and its classifier, jointly."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import Common, common, example
from .output import clean, emit, note, percent, progress

if TYPE_CHECKING:
    from featurecache.datasets import ImageFiles
    from featurecache.datasets.transforms import ImageTransform
    from featurecache.training import TrainingRun

SUFFIXES = (".pt", ".pth", ".safetensors")
CONVNET_SIZE, OTHER_SIZE = 64, 224


@click.command(
    epilog=example(
        "rebalance train photos/train --out joint.pt",
        "rebalance train photos/train --val photos/val --arch timm:resnet18 --epochs 90 --out joint.pt",
    ),
    short_help="Train a backbone and its classifier jointly.",
)
@click.argument("data")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The model's file (.pt, .safetensors).")
@click.option("--val", help="Data to choose the best epoch on; without it a part of DATA is held out.")
@click.option(
    "--holdout",
    type=click.FloatRange(0, 0.5),
    default=0.1,
    show_default=True,
    help="Share of every class to hold out where no --val is given; 0 holds out nothing.",
)
@click.option("--root", type=click.Path(path_type=Path), help="The folder that list files are relative to.")
@click.option(
    "--arch",
    default="convnet",
    show_default=True,
    help="convnet (small), timm:NAME or file:path.py:function.",
)
@click.option(
    "--sampler",
    type=click.Choice(["instance", "class", "sqrt", "progressive"]),
    default="instance",
    show_default=True,
    help="How often a class is drawn; instance gives the best features (Kang et al., 2020).",
)
@click.option("--epochs", type=click.IntRange(1), default=30, show_default=True)
@click.option("--batch-size", type=click.IntRange(2), default=32, show_default=True)
@click.option("--lr", type=click.FloatRange(0, min_open=True), default=0.1, show_default=True, help="Learning rate.")
@click.option("--weight-decay", type=click.FloatRange(0), default=5e-4, show_default=True)
@click.option(
    "--image-size",
    type=click.IntRange(4),
    help=f"Pixels [default: {CONVNET_SIZE} for convnet, {OTHER_SIZE} otherwise].",
)
@click.option("--grey", is_flag=True, help="One channel instead of three.")
@click.option("--flip/--no-flip", default=True, show_default=True, help="Mirror images at random.")
@click.option("--workers", type=click.IntRange(0), default=0, show_default=True, help="Processes that load images.")
@common
def train(
    data: str,
    out: Path,
    val: str | None,
    holdout: float,
    root: Path | None,
    arch: str,
    sampler: str,
    epochs: int,
    batch_size: int,
    lr: float,
    weight_decay: float,
    image_size: int | None,
    grey: bool,
    flip: bool,
    workers: int,
    common: Common,
) -> dict[str, Any]:
    """Train a model on DATA: a folder of class folders, a list file, or digits.

    SGD with momentum and a cosine schedule, cross-entropy, random crops. The epoch with the best balanced accuracy on
    held-out rows is kept. Without --val a tenth of every class is held out and both parts are written as lists beside
    the model, for `rebalance extract`: rows the model was trained on cannot tune anything.
    """
    import torch

    from featurecache.datasets import missing_classes, open_images, write_list
    from featurecache.datasets.transforms import ImageTransform
    from featurecache.models import new_model, save_run
    from featurecache.training import train as train_model
    from rebalance.sampling import SAMPLERS

    if out.suffix not in SUFFIXES or out.is_dir() or not out.parent.is_dir():
        raise ValueError(f"--out {out}: expected a name that ends in {', '.join(SUFFIXES)}, in a folder that is there")
    size = image_size or (CONVNET_SIZE if arch == "convnet" else OTHER_SIZE)
    plain = ImageTransform(size=size, channels=1 if grey else 3)
    images = open_images(data, transform=plain, root=root)
    if lost := missing_classes(images):
        raise ValueError(
            f"{data}: class {clean(images.class_names[lost[0]])!r} ({lost[0]}) has no image ({len(lost)} such "
            "classes); expected at least one image of every class: add some or leave the class out"
        )
    fitting, judging, lists = _parts(images, data, val, holdout, root, out, common.seed)
    torch.manual_seed(common.seed)
    model = new_model(arch, num_classes=len(images.class_names), channels=plain.channels, image_size=size)
    with progress("train") as update:
        run = train_model(
            model,
            fitting.with_transform(_augmented(plain, flip)),
            sampler=SAMPLERS[sampler](torch.from_numpy(fitting.labels), epochs=epochs, seed=common.seed),
            loss=torch.nn.functional.cross_entropy,
            score=None if judging is None else _balanced,
            val=judging,
            epochs=epochs,
            batch_size=batch_size,
            lr=lr,
            weight_decay=weight_decay,
            device=common.device,
            workers=workers,
            seed=common.seed,
            progress=update,
        )
    for part, path in lists:
        write_list(path, part)
    save_run(out, model, _description(arch, size, plain, fitting, sampler, epochs, common.seed, run))
    payload = {
        "model": str(out),
        "classes": len(images.class_names),
        "rows": len(fitting),
        "held_out": 0 if judging is None else len(judging),
        "best_epoch": run.best_epoch,
        "history": run.history,
        "lists": [str(path) for _, path in lists],
    }
    if not emit(payload, as_json=common.as_json):
        _show(payload, run, out)
    return payload


def _parts(
    images: ImageFiles, data: str, val: str | None, share: float, root: Path | None, out: Path, seed: int
) -> tuple[ImageFiles, ImageFiles | None, list[tuple[ImageFiles, Path]]]:
    """The rows to fit, the rows to judge, and the lists to be written of both where one source was divided."""
    from featurecache.datasets import list_text, open_images
    from featurecache.training import holdout

    if val is not None:
        return (
            images,
            open_images(val, transform=images.transform, root=root, class_names=images.class_names),
            [],
        )
    if share == 0:
        return images, None, []
    fit_rows, judge_rows = holdout(images.labels, share, seed)
    parts = images.subset(fit_rows), images.subset(judge_rows)
    if not len(judge_rows):
        note(f"rebalance: {data} is too small to hold out {share:g} of a class; give --val or a larger --holdout")
        return images, None, []
    lists = [out.with_suffix(f".{name}.txt") for name in ("train", "val")]
    if any(path.exists() and Path(data).exists() and path.samefile(data) for path in lists):
        raise ValueError(f"{data}: the lists of both parts would replace it; give --out another name")
    if not out.exists() and (taken := [path for path in lists if path.exists()]):
        raise ValueError(f"{taken[0]}: there already, perhaps of another model; give --out another name or move it")
    list_text(images)  # what cannot stand in a list is refused now, not after the training
    return *parts, list(zip(parts, lists, strict=True))


def _augmented(plain: ImageTransform, flip: bool) -> Any:
    from featurecache.datasets.transforms import TrainTransform

    return TrainTransform(plain, flip=flip)


def _balanced(logits: Any, labels: Any) -> float:
    from rebalance import evaluate

    return evaluate(logits, labels).balanced


def _description(
    arch: str,
    size: int,
    transform: ImageTransform,
    fitting: ImageFiles,
    sampler: str,
    epochs: int,
    seed: int,
    run: TrainingRun,
) -> dict[str, Any]:
    from featurecache.datasets import ids_digest

    from .caches import versions

    return {
        "arch": arch,
        "channels": transform.channels,
        "image_size": size,
        "class_names": list(fitting.class_names),
        "transform": transform.to_dict(),
        "trained_on": ids_digest(fitting.sample_ids),
        "epochs": epochs,
        "sampler": sampler,
        "seed": seed,
        "best": run.best_epoch,
        "versions": versions(),
    }


def _show(payload: dict[str, Any], run: TrainingRun, out: Path) -> None:
    best = run.history[run.best_epoch]
    judged = f", balanced accuracy {percent(best['score'])} % on {payload['held_out']} held-out rows"
    click.echo(
        f"{out}: {payload['classes']} classes, {payload['rows']} rows, epoch {run.best_epoch + 1} of "
        f"{len(run.history)}{judged if payload['held_out'] else ''}"
    )
    for path in payload["lists"]:
        click.echo(f"{path}: its part of the data, for rebalance extract --split")
