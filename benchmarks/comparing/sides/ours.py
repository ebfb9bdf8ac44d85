"""This project's heads, from the cache as it lies on disk: its float16 is read within the time of the fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from comparing.questions import SHRINKAGE
from comparing.sides.arrays import Arrays
from comparing.sides.fitted import Fit, Fitted
from featurecache import FeatureCache
from rebalance import LinearHead, load_head, tune
from rebalance.methods import METHODS, balanced_softmax, crt, lda, logit_adjusted_loss, lws, ncm, takes_counts
from rebalance.methods import temperature as one_temperature


class Cached(Arrays):
    """The data of a set: the cache's own splits, and the classifier."""

    def __init__(self, folder: Path, limit: float, report: Callable[[str], None]) -> None:
        super().__init__(folder, limit, report)
        self.cache = FeatureCache(self.note["cache"])
        self.joint = load_head(folder / "head.safetensors")

    def rows(self, split: str) -> tuple[Any, Any]:
        """Features, a memory map, and labels."""
        return self.cache[split].features, self.cache[split].labels

    @property
    def test(self) -> Any:
        return self.rows("test")[0]


open_data = Cached


def _predictor(head: LinearHead) -> Callable[[Any], NDArray[np.float32]]:
    return lambda features: torch.log_softmax(head(features), dim=1).numpy()


def _fit(make: Callable[[Cached], LinearHead]) -> Callable[[Cached], Fit]:
    return lambda data: lambda: Fitted(_predictor(make(data)))


def _tuned(name: str, grid: Mapping[str, Sequence[float]] | None = None) -> Callable[[Cached], Fit]:
    def chosen(data: Cached) -> Fitted:
        line = METHODS[name]
        counts = data.cache.counts if line.on is None and takes_counts(line.function) else None
        val = data.rows("val")
        rows = val if line.on is None else data.rows("train")
        best = tune(name, data.joint, *rows, val=val if line.on else None, counts=counts, grid=grid)
        return Fitted(_predictor(best.head), ", ".join(f"{key} {value:.3g}" for key, value in best.parameters.items()))

    return lambda data: lambda: chosen(data)


FITS: dict[str, Callable[[Cached], Fit]] = {
    "joint": _fit(lambda data: data.joint),
    "crt": _fit(lambda data: crt(data.joint, *data.rows("train"), weight_decay=data.note["decay"])),
    "crt, tuned": _tuned("crt"),
    "logit_adjusted_loss, tau 0": _fit(
        lambda data: logit_adjusted_loss(data.joint, *data.rows("train"), tau=0.0, weight_decay=data.note["decay"])
    ),
    "logit_adjusted_loss, tau 0, tuned": _tuned(
        "logit_adjusted_loss", {"tau": [0.0], "weight_decay": METHODS["crt"].grid["weight_decay"]}
    ),
    "balanced_softmax": _fit(
        lambda data: balanced_softmax(data.joint, *data.rows("train"), weight_decay=data.note["decay"])
    ),
    "logit_adjust, tuned": _tuned("logit_adjust"),
    "tau_norm, tuned": _tuned("tau_norm"),
    "lws": _fit(lambda data: lws(data.joint, *data.rows("train"))),
    "ncm": _fit(lambda data: ncm(data.joint, *data.rows("train"))),
    "ncm, un": _fit(lambda data: ncm(data.joint, *data.rows("train"), transform="un")),
    "lda": _fit(lambda data: lda(data.joint, *data.rows("train"), shrinkage=SHRINKAGE)),
    "temperature": _fit(lambda data: one_temperature(data.joint, *data.rows("val"))),
}
