"""Joint training of a backbone and its classifier."""

from __future__ import annotations

from featurecache.training.dividing import holdout
from featurecache.training.trainer import TrainingRun, train

__all__ = ["TrainingRun", "holdout", "train"]
