"""The options of ``rebalance export``: what is written, of which model, and how it is proved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import click

from ..gathered import Sectioned, gathered


@dataclass(frozen=True)
class Targets:
    """What is written."""

    into: Path | None
    out: Path | None
    module: Path | None
    onnx: Path | None
    full: bool
    fold: bool

    def check(self, proof: Proof) -> None:
        """A wrong usage where nothing is to be written, or half of what is needed for it is missing."""
        read = self.out is not None or self.full or proof.check is not None
        if (self.into is not None and not read) or (self.into is None and self.out is not None):
            raise click.UsageError("--into CHECKPOINT and --out go together: the one is read, the other written")
        if not (self.out or self.module or self.onnx):
            raise click.UsageError("nothing to write: expected --into and --out, --module FILE.pt2 or --onnx FILE.onnx")
        if self.full and not (self.module or self.onnx):
            raise click.UsageError("--full writes the whole model: expected --module FILE.pt2 or --onnx FILE.onnx")
        if proof.root is not None and proof.check is None:
            raise click.UsageError("--root is of the images of --check")


@dataclass(frozen=True)
class Origin:
    """Which model the head is of."""

    model: str | None
    layer: str | None
    image_size: int | None


@dataclass(frozen=True)
class Proof:
    """How it is proved."""

    cache: Path | None
    unproved: bool
    check: str | None
    root: Path | None


class ExportCommand(Sectioned):
    """The command of these options."""

    sections: ClassVar = {"What is written": Targets, "Which model": Origin, "Proof": Proof}


target_options = gathered(
    "targets",
    Targets,
    click.option(
        "--into",
        type=click.Path(path_type=Path),
        metavar="CHECKPOINT",
        help="The checkpoint the features were extracted with: .pt, .pth, .safetensors, or a folder of transformers.",
    ),
    click.option(
        "--out", type=click.Path(path_type=Path), help="That checkpoint with the new head: a file or folder like it."
    ),
    click.option(
        "--module",
        type=click.Path(path_type=Path),
        metavar="FILE.pt2",
        help="The head as a program that torch.export.load opens, from features to logits. Any head can be written.",
    ),
    click.option("--onnx", type=click.Path(path_type=Path), metavar="FILE.onnx", help="The same as ONNX."),
    click.option("--full", is_flag=True, help="--module and --onnx hold the whole model, from images to logits."),
    click.option("--fold", is_flag=True, help="Make one weight and bias of what is affine in the head."),
)

origin_options = gathered(
    "origin",
    Origin,
    click.option(
        "--model",
        metavar="SOURCE:NAME",
        help="The model, as in extract; --into are its weights  [default: what --into or the cache says].",
    ),
    click.option("--layer", help="The classifier's name in the model, where the head does not record it."),
    click.option("--image-size", type=click.IntRange(4), help="Pixels, where the model leaves them open."),
)

proof_options = gathered(
    "proof",
    Proof,
    click.option(
        "--cache",
        type=click.Path(path_type=Path),
        help="Rows to prove it on  [default: the head's cache, beside the head, the checkpoint or here].",
    ),
    click.option("--unproved", is_flag=True, help="Write it where there is no cache to prove it on."),
    click.option(
        "--check",
        metavar="DATA",
        help="Also run these images through what was written: a folder of class folders, a list, … as in extract.",
    ),
    click.option("--root", type=click.Path(path_type=Path), help="The folder that list files are relative to."),
)
