"""The options of ``rebalance extract``: which model, which data, how it is computed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import click

from ..gathered import Sectioned, gathered


@dataclass(frozen=True)
class ModelOptions:
    """Which model, with which weights, read how."""

    source: str
    checkpoint: Path | None
    ema: bool
    layer: str | None
    no_head: bool
    image_size: int | None
    transform: tuple[str, ...]


@dataclass(frozen=True)
class DataOptions:
    """Which images, and what becomes of those that cannot be read."""

    splits: dict[str, str]
    root: Path | None
    on_bad_image: str
    views: int
    flip: bool
    seen: tuple[str, ...]


@dataclass(frozen=True)
class ComputeOptions:
    """How it is computed and stored."""

    batch_size: int | str
    workers: int
    amp: str
    tf32: bool
    channels_last: bool
    compile: bool
    dtype: str
    logits: str
    rank: int | None
    world_size: int | None


class ExtractCommand(Sectioned):
    """The command of these options."""

    sections: ClassVar = {"Model": ModelOptions, "Data": DataOptions, "Computing": ComputeOptions}


class BatchSize(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """A number of rows, or auto."""

    name = "integer|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number, or the word."""
        if value == "auto" or isinstance(value, int):
            return value
        try:
            rows = int(value)
        except ValueError:
            rows = 0
        if rows < 1:
            self.fail(f"{value!r}: expected a number from 1, or auto", param, ctx)
        return rows


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


model_options = gathered(
    "model",
    ModelOptions,
    click.option(
        "--model",
        "source",
        required=True,
        metavar="SOURCE:NAME",
        help="timm:NAME, torchvision:NAME[/WEIGHTS], hf:FOLDER (Hugging Face), file:path.py:function, run:FILE (made "
        "by `rebalance train`) or reference:FILE (the paper's .pth).",
    ),
    click.option("--checkpoint", type=click.Path(path_type=Path), help="Weights for it (.pt, .pth, .safetensors)."),
    click.option("--ema", is_flag=True, help="Take the averaged weights of a checkpoint that has both."),
    click.option(
        "--layer",
        help="The classifier's name, where it cannot be proved which it is; NAME+NAME for heads that are added.",
    ),
    click.option(
        "--no-head",
        is_flag=True,
        help="Features without a classifier: the output of --layer, or of the model.",
    ),
    click.option("--image-size", type=click.IntRange(4), help="Pixels, where the model leaves them open."),
    click.option(
        "--transform",
        multiple=True,
        metavar="KEY=VALUE",
        help="Read images another way than the model says: size, crop, interpolation, mean, std; or "
        "file:path.py:function. Repeat for more.",
    ),
)

data_options = gathered(
    "data",
    DataOptions,
    click.option(
        "--split",
        "splits",
        metavar="NAME=DATA",
        callback=_parse_splits,
        multiple=True,
        required=True,
        help="A split and its data: a folder of class folders, a .txt or .csv list, an iNaturalist or COCO .json, "
        "cifar10:DIR:train|test, cifar100:…, idx:… (train with :lt=100 is made long-tailed), digits, or "
        "file:path.py:function. Repeat for more.",
    ),
    click.option("--root", type=click.Path(path_type=Path), help="The folder that list files are relative to."),
    click.option(
        "--on-bad-image",
        type=click.Choice(["stop", "skip"]),
        default="stop",
        show_default=True,
        help="An image that cannot be read ends the extraction, or becomes a row without a label (its status is 1).",
    ),
    click.option(
        "--views",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        help="Passes over train, each with other random crops.",
    ),
    click.option("--flip/--no-flip", default=True, show_default=True, help="Mirror the images of --views at random."),
    click.option(
        "--seen",
        multiple=True,
        metavar="SPLIT",
        help="Splits the backbone was trained on, or none  [default: train, and what the model's file records].",
    ),
)

compute_options = gathered(
    "compute",
    ComputeOptions,
    click.option(
        "--batch-size",
        type=BatchSize(),
        default="64",
        show_default=True,
        help="Images a batch; auto takes what trial batches are fastest with.",
    ),
    click.option("--workers", type=click.IntRange(0), default=0, show_default=True, help="Processes that load images."),
    click.option(
        "--amp",
        type=click.Choice(["off", "bf16", "fp16"]),
        default="off",
        show_default=True,
        help="Compute in half precision where that is safe: faster, the third digit differs.",
    ),
    click.option("--tf32", is_flag=True, help="CUDA: products of float32 numbers rounded to TF32."),
    click.option("--channels-last", is_flag=True, help="Colours innermost in memory: often faster for convolutions."),
    click.option("--compile", is_flag=True, help="Compile the model first (torch.compile; needs a C++ compiler)."),
    click.option(
        "--dtype",
        type=click.Choice(["float16", "float32"]),
        default="float16",
        show_default=True,
        help="Of the features.",
    ),
    click.option(
        "--logits",
        type=click.Choice(["float32", "none"]),
        default="float32",
        show_default=True,
        help="Store logits or not.",
    ),
    click.option("--rank", type=click.IntRange(0), help="This process's number, where several share the work."),
    click.option(
        "--world-size", type=click.IntRange(1), help="How many share it  [default: what torchrun says, or 1]."
    ),
)
