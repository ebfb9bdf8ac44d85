"""The options of ``rebalance predict``: through which model, which rows, and what is said of them."""

from __future__ import annotations

import copy
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import click

from ..extract import extract
from ..gathered import Sectioned, gathered
from ..judging.target_prior import check_target_prior

TABLES = (".csv", ".parquet")


@dataclass(frozen=True)
class Answers:
    """What is written.

    out: the file. top_k: classes a row. target_prior: see `target_prior.read_prior`, None for the head's own.
    source_prior: train, uniform or a file, None for what the head's record says. cache: whose training rows a class
    train, forward and backward mean, None for the one that is found.
    ValueError where a value makes no sense whatever the rows are, ImportError where Parquet cannot be written.
    """

    out: Path
    top_k: int
    target_prior: str | None
    source_prior: str | None
    cache: Path | None = None

    def __post_init__(self) -> None:
        suffix = self.out.suffix.lower()
        if self.out.is_dir():
            raise ValueError(f"--out {self.out}: a folder; expected the name of a {' or '.join(TABLES)} file")
        if suffix not in TABLES:
            raise ValueError(f"--out {self.out}: expected a name that ends in {' or '.join(TABLES)}")
        if not self.out.parent.is_dir():
            raise ValueError(f"--out {self.out}: no such folder: {self.out.parent}; make it first, or name another")
        if suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
            raise ImportError(
                f"--out {self.out}: Parquet files need pyarrow: pip install 'featurecache-rebalance[parquet]', or name "
                "a .csv file"
            )
        if self.target_prior is not None:
            check_target_prior(self.target_prior)
        given = self.source_prior
        if given is not None and given not in ("train", "uniform") and not Path(given).is_file():
            raise ValueError(
                f"--source-prior {given[:200]!r}: no such file; expected uniform, train or a file of shares or counts"
            )
        if given is not None and self.target_prior is None:
            raise click.UsageError("--source-prior is what --target-prior is divided by; give that too")
        if self.cache is not None and self.target_prior is None:
            raise click.UsageError("--cache tells the training rows a class that --target-prior needs; give that too")

    def check_apart(self, *inputs: str | Path | None) -> None:
        """ValueError when the file to be written is one that is read."""
        for each in inputs:
            if each is not None and self.out.exists() and os.path.exists(each) and self.out.samefile(each):
                raise ValueError(f"--out {self.out} is itself an input; expected another name")


@dataclass(frozen=True)
class Through:
    """Through which model images go; source: SOURCE:NAME, None where HEAD|CHECKPOINT says it."""

    source: str | None
    checkpoint: Path | None
    ema: bool
    layer: str | None
    image_size: int | None
    transform: tuple[str, ...]

    @property
    def given(self) -> bool:
        """Whether any of it was asked for."""
        return self != Through(None, None, False, None, None, ())


@dataclass(frozen=True)
class Reading:
    """Which rows, and how they are read."""

    split: tuple[str, ...]
    root: Path | None
    on_bad_image: str
    batch_size: int | str
    workers: int


class PredictCommand(Sectioned):
    """The command of these options."""

    sections: ClassVar = {"Predictions": Answers, "Rows": Reading, "Model, for images": Through}


def of_extract(name: str, **changes: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option of `rebalance extract` whose value is called so, with other values of some of its attributes."""
    option = copy.copy(next(each for each in extract.params if each.name == name))
    for key, value in changes.items():
        setattr(option, key, value)

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        # click reads the options of a function that is to become a command from this attribute, last one first.
        vars(function).setdefault("__click_params__", []).append(option)
        return function

    return decorate


answers_options = gathered(
    "answers",
    Answers,
    click.option(
        "--out",
        type=click.Path(path_type=Path),
        required=True,
        metavar="FILE",
        help="The predictions, a row a row (.csv, .parquet); what was there is replaced when all rows are done.",
    ),
    click.option(
        "--top-k",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        help="The most likely classes of a row that are written.",
    ),
    click.option(
        "--target-prior",
        metavar="PRIOR|FILE",
        help="Decide and give probabilities for rows whose classes come in these shares: uniform, train, forward:50 (a "
        "long tail of ratio 50), backward:50 (the same, reversed), or a file of shares, one a class  [default: those "
        "that the head was made for].",
    ),
    click.option(
        "--source-prior",
        metavar="train|uniform|FILE",
        help="The shares that the head was made for, which --target-prior takes the place of; a file may hold counts "
        "[default: what the head's record says: train for joint, uniform for crt, …].",
    ),
    click.option(
        "--cache",
        type=click.Path(path_type=Path),
        metavar="CACHE",
        help="For images: the cache whose training rows a class are meant by train, forward and backward  [default: "
        "the head's, beside the head, the checkpoint or here].",
    ),
)

reading_options = gathered(
    "reading",
    Reading,
    click.option(
        "--split", multiple=True, metavar="NAME", help="The split of CACHE. Repeat for more  [default: all of them]."
    ),
    of_extract("root"),
    of_extract(
        "on_bad_image",
        help="An image that cannot be read ends the command, or becomes a row with an empty prediction.",
    ),
    of_extract("batch_size"),
    of_extract("workers"),
)

through_options = gathered(
    "through",
    Through,
    of_extract("source", required=False),
    *(of_extract(name) for name in ("checkpoint", "ema", "layer", "image_size", "transform")),
)
