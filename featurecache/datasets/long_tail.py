"""Long-tailed parts of balanced data: class sizes that fall exponentially from the first class to the last.

Source: Cui et al., CVPR 2019, section 5.1; the rows are those that the code of Cao et al., NeurIPS 2019 (LDAM-DRW)
takes, which the field has used since.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from featurecache.quoting import shown

_TEXT = re.compile(r"lt=([0-9]{1,9}(?:\.[0-9]{1,9})?)(?:,seed=([0-9]{1,10}))?")


@dataclass(frozen=True)
class LongTail:
    """Which long-tailed part is meant.

    ratio: rows of the first class over those of the last, above 1.
    seed: of the shuffle, below 2 ** 32; 0 gives the selection that is published.
    """

    ratio: float
    seed: int = 0

    @classmethod
    def parse(cls, text: str) -> LongTail:
        """What `lt=RATIO` or `lt=RATIO,seed=S` says; ValueError when the text is neither."""
        match = _TEXT.fullmatch(text)
        if match is None or not float(match[1]) > 1 or int(match[2] or 0) >= 2**32:
            raise ValueError(f"{shown(text)}: expected lt=RATIO or lt=RATIO,seed=S, with a ratio above 1, as lt=100")
        return cls(float(match[1]), int(match[2] or 0))

    def rows(self, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The rows to keep: class after class, each class in the order in which it was shuffled.

        Class k of K keeps int(n * (1 / ratio) ** (k / (K - 1))) rows, where n are those of the smallest class.

        labels: (N,) of the balanced data, 0 or more.
        Raises ValueError when a class would lose all its rows, or there is only one.
        """
        classes, sizes = np.unique(labels, return_counts=True)
        if len(classes) < 2:
            raise ValueError(f"{len(classes)} class has no tail; expected 2 classes or more")
        kept = [int(size) for size in falling(int(sizes.min()), self.ratio, len(classes))]
        if not kept[-1]:
            raise ValueError(f"lt={self.ratio:g} leaves the last class no row of {sizes.min()}; take a smaller ratio")
        # NumPy promises the stream of this old generator for ever; all classes are shuffled from one stream.
        random = np.random.RandomState(self.seed)
        chosen = []
        for label, count in zip(classes, kept, strict=True):
            rows = np.flatnonzero(labels == label)
            random.shuffle(rows)
            chosen.append(rows[:count])
        return np.concatenate(chosen)


def falling(n_max: int, ratio: float, classes: int) -> list[float]:
    """Class sizes before rounding: n_max * (1 / ratio) ** (k / (classes - 1)).

    n_max: rows of class 0.
    ratio: rows of the first class over those of the last, at least 1.
    classes: number of classes, at least 2.
    """
    return [n_max * (1 / ratio) ** (k / (classes - 1)) for k in range(classes)]
