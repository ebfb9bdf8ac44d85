"""``rebalance train``: a backbone and its classifier, jointly."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .launch import first, own_device
from .options import Common, common, example
from .output import emit, note, percent, progress
from .training.kept import alone, kept_beside, saying_how_to_go_on
from .training.options import (
    ComputeOptions,
    DataOptions,
    ModelOptions,
    RecipeOptions,
    TrainCommand,
    compute_options,
    data_options,
    model_options,
    recipe_options,
)

if TYPE_CHECKING:
    from featurecache.training import TrainingRun

    from .training.data import Parts
    from .training.model import Design, Start

SUFFIXES = (".pt", ".pth", ".safetensors")


@click.command(
    cls=TrainCommand,
    epilog=example(
        "rebalance train photos/train --out joint.pt",
        "rebalance train photos/train --val photos/val --arch timm:resnet18 --epochs 90 --out joint.pt",
        "rebalance train photos/train --init run:joint.pt --freeze backbone --sampler class --out tuned.pt",
    ),
    short_help="Train a backbone and its classifier jointly.",
)
@click.argument("data")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The model's file (.pt, .safetensors).")
@data_options
@model_options
@recipe_options
@compute_options
@common
def train(
    data: str,
    out: Path,
    source: DataOptions,
    start: ModelOptions,
    recipe: RecipeOptions,
    compute: ComputeOptions,
    common: Common,
) -> dict[str, Any]:
    """Train a model on DATA: a folder of class folders, a list file, or any other source of extract's.

    The epoch with the best balanced accuracy on held-out rows is kept. Without --val a tenth of every class is held out
    and both parts are written as lists beside the model, for `rebalance extract`: rows the model was trained on cannot
    tune anything. A log of every epoch is beside the model, too. A command that was stopped goes on with the epoch that
    it was in. Under torchrun several processes share every batch; batch normalisation stays each one's own.
    """
    from featurecache.training.sharing import together

    from .training.data import open_parts
    from .training.model import design

    if out.suffix not in SUFFIXES or out.is_dir() or not out.parent.is_dir():
        raise ValueError(f"--out {out}: expected a name that ends in {', '.join(SUFFIXES)}, in a folder that is there")
    if recipe.label_smoothing and recipe.loss != "ce":
        raise ValueError(f"--label-smoothing goes with --loss ce, not with {recipe.loss}")
    with together() as ranks, alone(out):
        made = design(start, source)
        parts = open_parts(data, source, out, common.seed, made.plain, first())
        begun, run, kept = _trained(parts, made, out, source, start, recipe, compute, common, ranks)
        payload = {
            "model": str(out),
            "classes": len(parts.class_names),
            "rows": len(parts.plain),
            "held_out": 0 if parts.judging is None else len(parts.judging),
            "best_epoch": run.best_epoch,
            "history": run.history,
            "trained": None if begun.parts is None else list(begun.parts),
            "data": data,
            "lists": [str(path) for _, path in parts.lists],
            "logs": [str(_log(out)) + ending for ending in (".csv", ".jsonl")],
        }
        if first():
            _save(out, begun, made, parts, source, start, recipe, common, run)
            kept.unlink(missing_ok=True)
            if not emit(payload, as_json=common.as_json):
                _show(payload, run, out)
    return payload


def _trained(
    parts: Parts,
    made: Design,
    out: Path,
    source: DataOptions,
    start: ModelOptions,
    recipe: RecipeOptions,
    compute: ComputeOptions,
    common: Common,
    ranks: Any,
) -> tuple[Start, TrainingRun, Path]:
    """The model as it is in the end, what happened, and the file that an interrupted training goes on from."""
    import numpy as np
    import torch

    from featurecache.training import train as train_model
    from rebalance.losses import LOSSES
    from rebalance.sampling import SAMPLERS

    from .training.data import training_transform
    from .training.model import build

    counts = np.bincount(parts.labels[parts.labels >= 0], minlength=len(parts.class_names))
    smoothing = {"smoothing": recipe.label_smoothing} if recipe.label_smoothing else {}
    loss = LOSSES[recipe.loss](counts, epochs=recipe.epochs, **smoothing)
    batch = _example(parts)
    torch.manual_seed(common.seed)
    begun = build(made, start, parts.class_names, batch, getattr(loss, "scale", None))
    kept = kept_beside(out)
    decides = {
        **parts.identity(),
        "arch": made.arch,
        "transform": training_transform(source, made.plain).describe(),
        "init": begun.begun,
        "fresh_classifier": start.fresh_classifier,
        "sampler": recipe.sampler,
        "loss": recipe.loss,
        "label_smoothing": recipe.label_smoothing,
    }
    with ExitStack() as around:
        update = None
        if first():
            for line in [*begun.notes, *_unseen(made, parts)]:
                note(f"rebalance: {line}")
            if kept.exists():
                note(f"rebalance: going on from {kept}")
            elif out.exists():
                note(f"rebalance: {out} is there already; it is replaced when this training is done")
            update = around.enter_context(progress("train"))
            around.enter_context(saying_how_to_go_on(kept))
        run = train_model(
            begun.module,
            parts.fitting,
            sampler=SAMPLERS[recipe.sampler](torch.from_numpy(parts.labels), epochs=recipe.epochs, seed=common.seed),
            loss=loss,
            score=None if parts.judging is None else _balanced,
            val=parts.judging,
            epochs=recipe.epochs,
            batch_size=recipe.batch_size,
            lr=recipe.rate,
            weight_decay=recipe.decay,
            optimiser=recipe.optimizer,
            mixup=recipe.mixup,
            amp=compute.amp,
            ema=recipe.ema,
            parts=begun.parts,
            state=kept,
            run=decides,
            log=_log(out),
            ranks=ranks,
            device=own_device(common.device),
            workers=compute.workers,
            seed=common.seed,
            progress=update,
        )
    return begun, run, kept


def _unseen(made: Design, parts: Parts) -> list[str]:
    """A warning where the weights that are begun with may know the rows that are judged."""
    if made.described is None or made.described["trained_on"] == parts.digest():
        return []
    return ["the weights of --init were trained on other rows; rows to judge by must not have been among them"]


def _example(parts: Parts) -> Any:
    """Two inputs as the model takes them."""
    from torch.utils.data import default_collate

    together = getattr(parts.plain, "collate", None) or default_collate
    return together([parts.plain[row % len(parts.plain)] for row in range(2)])[0]


def _log(out: Path) -> Path:
    return out.with_suffix(".log")


def _balanced(logits: Any, labels: Any) -> float:
    from rebalance import evaluate

    return float(evaluate(logits, labels).balanced)


def _save(
    out: Path,
    begun: Start,
    made: Design,
    parts: Parts,
    source: DataOptions,
    start: ModelOptions,
    recipe: RecipeOptions,
    common: Common,
    run: TrainingRun,
) -> None:
    """Writes the run file and the lists."""
    from featurecache.datasets import write_list
    from featurecache.models import save_run
    from featurecache.models.normed import fold

    from .caches import versions

    unit_rows = begun.unit_rows
    if begun.scale is not None and begun.classifier is not None:
        unit_rows = fold(begun.module, begun.classifier)
    for part, path in parts.lists:
        write_list(path, part)
    description = {
        "arch": made.arch,
        "channels": made.plain.channels,
        "image_size": made.plain.size,
        "class_names": list(parts.class_names),
        "transform": made.plain.to_dict(),
        "trained_on": parts.digest(),
        **({} if unit_rows is None else {"unit_rows": unit_rows}),
        "epochs": recipe.epochs,
        "sampler": recipe.sampler,
        "loss": recipe.loss,
        "optimizer": recipe.optimizer,
        "ema": recipe.ema,
        "freeze": start.freeze,
        "init": begun.begun,
        "seed": common.seed,
        "best": run.best_epoch,
        "versions": versions(),
    }
    save_run(out, begun.module, description)


def _show(payload: dict[str, Any], run: TrainingRun, out: Path) -> None:
    best = run.history[run.best_epoch]
    judged = f", balanced accuracy {percent(best['score'])} % on {payload['held_out']} held-out rows"
    click.echo(
        f"{out}: {payload['classes']} classes, {payload['rows']} rows, epoch {run.best_epoch + 1} of "
        f"{len(run.history)}{judged if payload['held_out'] else ''}"
    )
    for path in payload["lists"]:
        name = Path(path).stem.rpartition(".")[2]
        click.echo(f"{path}: its part of the data; rebalance extract --split {name}={payload['data']}:only={path}")
    click.echo(f"{payload['logs'][0]}: a line for every epoch, as in {Path(payload['logs'][1]).name}")
