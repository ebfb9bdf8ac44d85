"""The model that images go through: opened, with the layer that a head belongs to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from .options import Through

if TYPE_CHECKING:
    from featurecache.models import Model
    from rebalance import LinearHead


@dataclass(frozen=True)
class Run:
    """How a model is run.

    model: opened. want: its own logits, the input of its classifier, or the output of a layer. layer: its name, where
    it is known. source: as the user named it. record: of the program that stands for the model, None without one.
    """

    model: Model
    want: Literal["logits", "features", "output"]
    layer: str | None
    source: str
    record: Mapping[str, Any] | None = None


def weights_of(kind: str, name: str, through: Through) -> tuple[str, Path | None]:
    """The model's SOURCE:NAME, and the file of its weights where that is another.

    kind, name: of HEAD|CHECKPOINT. UsageError where the model is not named, or its weights twice; ValueError where
    there is no such file.
    """
    if kind != "checkpoint":
        if through.source is None:
            what = {
                "joint": "joint is the classifier of the model it names",
                "head": f"{name} is a head, for the features of a model",
                "program": f"{name} is a program, and how images are read is known of the model it was made of",
            }
            raise click.UsageError(f"--model is missing: {what[kind]}")
        return through.source, through.checkpoint
    if through.checkpoint is not None:
        raise click.UsageError(f"{name} and --checkpoint {through.checkpoint} are both weights; give one of them")
    path = Path(name)
    if not path.exists():
        raise ValueError(f"{name}: no such file; expected joint, a head, or the checkpoint of a model")
    if _holds_rows(path):
        raise ValueError(
            f"{name}: a folder of rows, not of a model: the arguments may be swapped; expected CACHE|DATA first, then "
            "HEAD|CHECKPOINT"
        )
    if through.source is not None:
        return through.source, path
    return (f"hf:{path}" if path.is_dir() else f"run:{path}"), None


def _holds_rows(path: Path) -> bool:
    """Whether it is a cache, or a folder of class folders or images, and no model."""
    from featurecache.datasets.folders import SUFFIXES
    from featurecache.layout import CACHE_FILE

    if not path.is_dir() or (path / "config.json").exists():
        return False
    with os.scandir(path) as entries:
        shown = [each for each in entries if not each.name.startswith(".")]
    return any(
        each.name == CACHE_FILE or each.is_dir() or os.path.splitext(each.name)[1].lower() in SUFFIXES for each in shown
    )


def open_run(source: str, weights: Path | None, through: Through, head: LinearHead | None, classes: int | None) -> Run:
    """The model, and what of it the head takes; without a head, its own logits.

    source, weights: as `weights_of` gives them. classes: K of the data, for a function that wants to be told.
    ValueError when it has no classifier and there is no head.
    """
    from featurecache.models import open_model
    from featurecache.models.headless import without_classifier
    from featurecache.models.overriding import overridden

    known = classes if head is None else head.num_classes
    model = open_model(source, checkpoint=weights, num_classes=known, image_size=through.image_size, ema=through.ema)
    model = overridden(model, through.transform)
    if head is None:
        if not model.has_head:
            raise ValueError(f"model {source[:160]}: it has no classifier; give a head that was fitted on its features")
        return Run(model, "logits", None, source)
    recorded = head.record.get("layer")
    layer = through.layer or (recorded if isinstance(recorded, str) else None)
    # A cache without a joint classifier holds what its layer, or the model, gives.
    backbone = "cache" in head.record and head.record.get("joint") is None
    if model.has_head and not backbone:
        return Run(model, "features", layer, source)
    if model.has_head and layer is None and not source.startswith("file:"):
        model = without_classifier(model)
    return Run(model, "output", layer, source)


def with_program(run: Run, path: Path) -> Run:
    """The same images through a program of the whole model that `rebalance export --full` wrote.

    ValueError when it says that it reads images another way.
    """
    from featurecache.export import open_program
    from featurecache.stream import Called

    program = open_program(path)
    told = program.about.get("input")
    reads = told.get("transform") if isinstance(told, Mapping) else None
    if isinstance(reads, str) and reads != run.model.transform_text:
        raise ValueError(
            f"{path}: a program for images read as {reads[:300]!r}, and {run.source[:160]} reads them as "
            f"{run.model.transform_text[:200]!r}; expected the same model and --transform as at its export"
        )
    names, record = program.about.get("class_names"), program.about.get("record")
    known = tuple(names) if isinstance(names, list) and all(isinstance(each, str) for each in names) else None
    model = replace(run.model, module=Called(program).eval(), class_names=known or run.model.class_names)
    return replace(run, model=model, record=record if isinstance(record, Mapping) else {})
