"""Trained models from anywhere: one file a source, one line a source in SOURCES."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Protocol

from featurecache.checkpoint import load_state
from featurecache.models.architectures import ARCHITECTURES, new_model
from featurecache.models.convnet import ConvNet
from featurecache.models.huggingface.opening import open_huggingface
from featurecache.models.model import Model
from featurecache.models.python_file import open_file
from featurecache.models.reference import open_reference
from featurecache.models.run import described, find_description, open_run, read_run, save_run
from featurecache.models.timm.opening import open_timm
from featurecache.models.torchvision.opening import open_torchvision
from featurecache.quoting import shown


class Opener(Protocol):
    """Opens the model of a name after the colon."""

    def __call__(
        self, name: str, *, checkpoint: Path | None, num_classes: int | None, image_size: int | None, ema: bool
    ) -> Model: ...


SOURCES: dict[str, Opener] = {
    "run": open_run,
    "timm": open_timm,
    "torchvision": open_torchvision,
    "hf": open_huggingface,
    "reference": open_reference,
    "file": open_file,
}
EXPECTED = "run:FILE, timm:NAME, torchvision:NAME, hf:NAME_OR_FOLDER, reference:FILE or file:path.py:function"
FILES = {"run", "reference"}  # the name is itself a file of weights


def open_model(
    source: str,
    *,
    checkpoint: str | Path | None = None,
    num_classes: int | None = None,
    image_size: int | None = None,
    ema: bool = False,
) -> Model:
    """A trained model in eval mode, with its transform and what is known about it.

    source: SOURCE:NAME as in EXPECTED.
    checkpoint: local weights. A run file says which transform and classes belong to them, whatever the source.
    num_classes: K where the source does not know it.
    image_size: pixels of the square that is read, where the source leaves it open.
    ema: take the averaged weights (EMA) of a checkpoint that has them beside the plain ones.
    Raises ValueError, in one line, when there is no such model or the weights do not fit; OSError when a file cannot be
    read.
    """
    checkpoint = None if checkpoint is None else Path(checkpoint)
    kind, colon, name = source.partition(":")
    if not colon or not name or kind not in SOURCES:
        hint = ""
        if Path(source).is_file():
            hint = f"; for weights write timm:NAME --checkpoint {source}, for a file of `rebalance train` run:{source}"
        raise ValueError(f"model {shown(source)} is no source; expected {EXPECTED}{hint}")
    if ema and checkpoint is None and kind not in FILES:
        raise ValueError(f"model {shown(source)}: --ema chooses among the weights in a file; give it as --checkpoint")
    model = SOURCES[kind](name, checkpoint=checkpoint, num_classes=num_classes, image_size=image_size, ema=ema)
    if checkpoint is not None and (description := find_description(checkpoint, load_state(checkpoint, ema=ema))):
        if image_size is not None and image_size != description["image_size"]:
            raise ValueError(
                f"checkpoint {shown(checkpoint)} is of a run that reads {description['image_size']} pixels, "
                f"not {image_size}; leave --image-size out"
            )
        model = described(model, description)
    return replace(model, source=source)


__all__ = [
    "ARCHITECTURES",
    "EXPECTED",
    "SOURCES",
    "ConvNet",
    "Model",
    "new_model",
    "open_model",
    "read_run",
    "save_run",
]
