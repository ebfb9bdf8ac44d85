"""Class counts and the shot groups many, medium and few."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from rebalance.blocks import Labels, as_labels

Group = Literal["many", "medium", "few"]
GROUPS: tuple[Group, ...] = ("many", "medium", "few")


def class_counts(labels: Labels, num_classes: int) -> Tensor:
    """Rows a class (K,), int64; rows labelled -1 are not counted.

    labels: (N,) class ids.
    num_classes: K. ValueError when a label is K or more, or below -1.
    """
    labels = as_labels(labels)
    known = labels[labels != -1]
    if len(known):
        low, high = int(known.min()), int(known.max())
        if low < 0 or high >= num_classes:
            raise ValueError(
                f"label {high if high >= num_classes else low} is out of range: the head has {num_classes} classes; "
                f"expected 0..{num_classes - 1}, or -1 for a row without a label"
            )
    return torch.bincount(known, minlength=num_classes)


@dataclass(frozen=True)
class Shots:
    """Which classes are many, medium and few, by their number of training rows.

    few: a class with fewer rows is few. many: a class with more rows is many. Both bounds themselves are medium, as
    in the paper's code (100 and 20). closed: a class with just `few` rows is few too, as in code derived from MiSLAS;
    tables under the two conventions do not compare.
    """

    few: int = 20
    many: int = 100
    closed: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.few <= self.many:
            raise ValueError(f"shots {self.few},{self.many}: expected few,many with 0 <= few <= many")

    @property
    def rule(self) -> str:
        """The rule in words, to be printed with every table."""
        least, sign = (self.few + 1, "≤") if self.closed else (self.few, "<")
        medium = f"{least}..{self.many}" if least <= self.many else "none"
        return f"many > {self.many}, medium {medium}, few {sign} {self.few} training rows"

    def groups(self, counts: ArrayLike) -> dict[Group, NDArray[np.bool_]]:
        """Three masks (K,) over the classes that together cover every class once."""
        rows = np.asarray(counts)
        many, few = rows > self.many, rows <= self.few if self.closed else rows < self.few
        return {"many": many, "medium": ~many & ~few, "few": few}
