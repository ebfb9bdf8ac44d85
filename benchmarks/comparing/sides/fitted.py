"""What a fit of any side comes to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

FLOOR = -100.0  # the log-probability of what is impossible: finite, as the judges want it


@dataclass(frozen=True)
class Fitted:
    """A classifier.

    predict: test features (N, D) -> log-probabilities (N, K). note: what is to be said of the fit, or "".
    decide: test features -> class ids (N,), where these are not the likeliest classes.
    """

    predict: Callable[[Any], NDArray[Any]]
    note: str = ""
    decide: Callable[[Any], NDArray[Any]] | None = None


Fit = Callable[[], Fitted]
