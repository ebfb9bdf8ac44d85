"""The options of ``rebalance train``: which data, which model, which recipe, and the headings they stand under."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from ..gathered import Sectioned, gathered


@dataclass(frozen=True)
class DataOptions:
    """Which images, read how."""

    val: str | None
    holdout: float
    root: Path | None
    image_size: int | None
    grey: bool
    transform: tuple[str, ...]
    augment: str
    flip: bool
    jitter: float
    crop_scale: float | None = None


@dataclass(frozen=True)
class ModelOptions:
    """Which model, begun where, and what of it trains."""

    arch: str | None
    init: str | None
    fresh_classifier: bool
    freeze: str


@dataclass(frozen=True)
class RecipeOptions:
    """How it is trained."""

    sampler: str
    loss: str
    label_smoothing: float
    mixup: float
    epochs: int
    batch_size: int
    optimizer: str
    lr: float | None
    weight_decay: float | None
    ema: float | None

    @property
    def rate(self) -> float:
        """The learning rate asked for, or the optimizer's usual one."""
        return self.lr if self.lr is not None else {"sgd": 0.1, "adamw": 1e-3}[self.optimizer]

    @property
    def decay(self) -> float:
        """The weight decay asked for, or the optimizer's usual one."""
        return self.weight_decay if self.weight_decay is not None else {"sgd": 5e-4, "adamw": 0.05}[self.optimizer]


@dataclass(frozen=True)
class ComputeOptions:
    """How it is computed."""

    amp: str
    workers: int


SECTIONS = {"Data": DataOptions, "Model": ModelOptions, "Recipe": RecipeOptions, "Computing": ComputeOptions}


class TrainCommand(Sectioned):
    """The command of these options."""

    sections = SECTIONS


data_options = gathered(
    "source",
    DataOptions,
    click.option("--val", help="Data to choose the best epoch on; without it a part of DATA is held out."),
    click.option(
        "--holdout",
        type=click.FloatRange(0, 0.5),
        default=0.1,
        show_default=True,
        help="Share of every class to hold out where no --val is given; 0 holds out nothing.",
    ),
    click.option("--root", type=click.Path(path_type=Path), help="The folder that list files are relative to."),
    click.option(
        "--image-size",
        type=click.IntRange(4),
        help="Pixels  [default: as --init was trained; else 64 for convnet, 32 for resnet32, 224 otherwise].",
    ),
    click.option("--grey", is_flag=True, help="One channel instead of three."),
    click.option(
        "--transform",
        multiple=True,
        metavar="KEY=VALUE",
        help="Read images another way: crop, interpolation, mean, std (of the weights that --init begins with).",
    ),
    click.option(
        "--augment",
        type=click.Choice(["crop", "pad", "none"]),
        default="crop",
        show_default=True,
        help="Random crops, or small images padded and moved (as for CIFAR), or every image as it is.",
    ),
    click.option(
        "--crop-scale",
        type=click.FloatRange(0, 1, min_open=True),
        help="Share of an image that a random crop covers at least; 0.08 in the paper  [default: 0.35].",
    ),
    click.option("--flip/--no-flip", default=True, show_default=True, help="Mirror images at random."),
    click.option(
        "--jitter",
        type=click.FloatRange(0, 1),
        default=0.0,
        show_default=True,
        help="Change brightness, contrast and saturation by up to this; 0.4 in the paper.",
    ),
)

model_options = gathered(
    "start",
    ModelOptions,
    click.option(
        "--arch",
        help="convnet (small), resnet32 (for CIFAR), timm:NAME, torchvision:NAME or file:path.py:function  "
        "[default: as --init says, else convnet].",
    ),
    click.option("--init", metavar="FILE|run:FILE", help="Begin with these weights instead of random ones."),
    click.option("--fresh-classifier", is_flag=True, help="Draw the classifier of --init anew."),
    click.option(
        "--freeze",
        type=click.Choice(["none", "backbone", "last-block"]),
        default="none",
        show_default=True,
        help="backbone trains the classifier only; last-block the last block of the backbone, too.",
    ),
)

recipe_options = gathered(
    "recipe",
    RecipeOptions,
    click.option(
        "--sampler",
        type=click.Choice(["instance", "class", "sqrt", "progressive"]),
        default="instance",
        show_default=True,
        help="How often a class is drawn; instance gives the best features (Kang et al., 2020).",
    ),
    click.option(
        "--loss",
        type=click.Choice(["ce", "focal", "cb", "ldam", "balanced-softmax", "logit-adjusted"]),
        default="ce",
        show_default=True,
        help="cb is class-balanced; ldam trains a classifier of cosines and weighs rows in the last fifth.",
    ),
    click.option(
        "--label-smoothing",
        type=click.FloatRange(0, 1, max_open=True),
        default=0.0,
        show_default=True,
        help="Share of the target that all classes have alike (with --loss ce).",
    ),
    click.option(
        "--mixup",
        type=click.FloatRange(0),
        default=0.0,
        show_default=True,
        metavar="ALPHA",
        help="Mix pairs of images and their losses; 0.2 as a rule.",
    ),
    click.option("--epochs", type=click.IntRange(1), default=30, show_default=True),
    click.option(
        "--batch-size",
        type=click.IntRange(2),
        default=32,
        show_default=True,
        help="Rows of a step, over all processes.",
    ),
    click.option("--optimizer", type=click.Choice(["sgd", "adamw"]), default="sgd", show_default=True),
    click.option(
        "--lr",
        type=click.FloatRange(0, min_open=True),
        help="Learning rate, falling to 0 along a cosine  [default: 0.1 for sgd, 0.001 for adamw].",
    ),
    click.option("--weight-decay", type=click.FloatRange(0), help="[default: 0.0005 for sgd, 0.05 for adamw]"),
    click.option(
        "--ema",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        metavar="DECAY",
        help="Judge and keep an average of the weights; 0.999 as a rule.",
    ),
)

compute_options = gathered(
    "compute",
    ComputeOptions,
    click.option(
        "--amp",
        type=click.Choice(["off", "bf16", "fp16"]),
        default="off",
        show_default=True,
        help="Forward pass in half precision where that is safe; fp16 needs CUDA.",
    ),
    click.option("--workers", type=click.IntRange(0), default=0, show_default=True, help="Processes that load images."),
)
