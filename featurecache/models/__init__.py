"""Trained models from anywhere: one file a source, one line a source in SOURCES."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Protocol

from featurecache.checkpoint import load_state
from featurecache.models.architectures import ARCHITECTURES, new_model
from featurecache.models.convnet import ConvNet
from featurecache.models.model import Model
from featurecache.models.python_file import open_file
from featurecache.models.run import described, find_description, open_run, read_run, save_run
from featurecache.models.timm import open_timm
from featurecache.quoting import shown


class Opener(Protocol):
    """Opens the model of a name after the colon."""

    def __call__(
        self, name: str, *, checkpoint: Path | None, num_classes: int | None, image_size: int | None
    ) -> Model: ...


SOURCES: dict[str, Opener] = {
    "run": open_run,
    "timm": open_timm,
    "file": open_file,
}


def open_model(
    source: str,
    *,
    checkpoint: Path | None = None,
    num_classes: int | None = None,
    image_size: int | None = None,
) -> Model:
    """A trained model in eval mode, with its transform and what is known about it.

    source: run:FILE, timm:NAME or file:path.py:function.
    checkpoint: local weights. A run file says which transform and classes belong to them, whatever the source.
    num_classes: K where the source does not know it.
    image_size: pixels of the square that is read, where the source leaves it open.
    Raises ValueError, in one line, when there is no such model or the weights do not fit; OSError when a file cannot be
    read.
    """
    kind, colon, name = source.partition(":")
    if not colon or not name or kind not in SOURCES:
        hint = f"; for a file of `rebalance train` write run:{source}" if Path(source).is_file() else ""
        raise ValueError(
            f"model {shown(source)} is no source; expected run:FILE, timm:NAME or file:path.py:function{hint}"
        )
    model = SOURCES[kind](name, checkpoint=checkpoint, num_classes=num_classes, image_size=image_size)
    if checkpoint is not None and (description := find_description(checkpoint, load_state(checkpoint))):
        if image_size is not None and image_size != description["image_size"]:
            raise ValueError(
                f"checkpoint {shown(checkpoint)} is of a run that reads {description['image_size']} pixels, "
                f"not {image_size}; leave --image-size out"
            )
        model = described(model, description)
    return replace(model, source=source)


__all__ = [
    "ARCHITECTURES",
    "SOURCES",
    "ConvNet",
    "Model",
    "new_model",
    "open_model",
    "read_run",
    "save_run",
]
