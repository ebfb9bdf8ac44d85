"""What heads are judged on and by, and which files come of it: the options of ``evaluate`` and ``compare``."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..gathered import gathered
from ..options import shots_option
from .cones import check_cones
from .target_prior import check_target_prior

if TYPE_CHECKING:
    from rebalance import Shots

TABLES = (".csv", ".parquet")


@dataclass(frozen=True)
class Files:
    """Which files are written besides the table.

    predictions: of every row. figures: the folder of all drawings. ValueError where one could not be written.
    """

    predictions: Path | None
    figures: Path | None

    def __post_init__(self) -> None:
        if self.predictions is not None:
            _check_table(self.predictions)
        if self.figures is not None and not (self.figures.is_dir() or _is_free(self.figures)):
            raise ValueError(f"--figures {self.figures}: expected a folder, or a new name in a folder that is there")


@dataclass(frozen=True)
class Judging(Files):
    """What heads are judged on and by.

    split: the one to report. shots: the bounds of the groups. few_includes_bound: whether a class on the lower one is
    few. target_prior: a word or a file, see `target_prior.read_target_prior`. costs: a file of K x K. replicates: of
    the bootstrap, 0 for no intervals. full: whether every figure and every class is shown. cones: which three classes
    decision cones are drawn of, see `cones.read_cones`.
    ValueError where a value makes no sense whatever the cache.
    """

    split: str
    shots: tuple[int, int]
    few_includes_bound: bool
    target_prior: str | None
    costs: Path | None
    replicates: int
    full: bool
    cones: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.target_prior is not None:
            check_target_prior(self.target_prior)
        if self.costs is not None and not self.costs.is_file():
            raise ValueError(f"--costs {self.costs}: no file; expected a .csv of K x K numbers")
        if self.cones is not None:
            check_cones(self.cones)

    def goal(self, metric: str = "balanced") -> str:
        """The figure that heads are ranked by: what mistakes cost, accuracy under the prior, or else the metric."""
        if self.costs is not None:
            return "cost"
        return metric if self.target_prior is None else "top1"

    @property
    def groups(self) -> Shots:
        """The groups many, medium and few."""
        from rebalance import Shots

        return Shots(*self.shots, closed=self.few_includes_bound)


judging_options = gathered(
    "judging",
    Judging,
    click.option("--split", default="test", show_default=True, help="The split to report."),
    shots_option,
    click.option(
        "--few-includes-bound",
        is_flag=True,
        help="A class with exactly FEW training rows is few, as in some papers' code; without it, medium.",
    ),
    click.option(
        "--target-prior",
        metavar="PRIOR|FILE",
        help="Judge as if the classes came in these shares: uniform, train, forward:50 (a long tail of ratio 50), "
        "backward:50 (the same, reversed), or a file of shares, one a class  [default: the rows as they are].",
    ),
    click.option(
        "--costs",
        type=click.Path(path_type=Path),
        metavar="FILE.csv",
        help="What each mistake costs: a row a true class, a column a prediction. Adds the cost a row, and that of the "
        "decisions of least expected cost.",
    ),
    click.option(
        "--replicates",
        type=click.IntRange(0, 100_000),
        default=1000,
        show_default=True,
        help="Of the bootstrap that the 95 % intervals are from; 0 for none.",
    ),
    click.option("--full", is_flag=True, help="Show every figure, and every class."),
    click.option(
        "--predictions",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Write id, label and each head's prediction, confidence and correctness of every row (.csv, .parquet).",
    ),
    click.option(
        "--figures",
        type=click.Path(path_type=Path),
        metavar="FOLDER",
        help="Write all drawings there, each as .svg, .png and the .csv of its numbers.",
    ),
    click.option(
        "--cones",
        metavar="A,B,C",
        help="The three classes, by name or id, that the drawing of decision cones is of  [default: a rare class that "
        "gained, and the two it was most often taken for].",
    ),
)


def _check_table(path: Path) -> None:
    """ValueError, or ImportError where Parquet cannot be written here."""
    if path.suffix.lower() not in TABLES or path.is_dir() or not path.parent.is_dir():
        raise ValueError(f"--predictions {path}: expected a {' or '.join(TABLES)} file in a folder that is there")
    if path.suffix.lower() == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise ImportError(
            f"--predictions {path}: Parquet files need pyarrow: pip install 'featurecache-rebalance[parquet]', "
            "or name a .csv file"
        )


def _is_free(path: Path) -> bool:
    return not path.exists() and path.parent.is_dir()
