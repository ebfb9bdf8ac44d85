"""Whether features that are computed again are those that a cache holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from featurecache.proof import precision
from featurecache.reader import FeatureCache
from featurecache.reading.split import Split

COMPUTED_IN = {"bf16": torch.bfloat16, "fp16": torch.float16, "tf32": torch.float16}  # tf32 has float16's digits


@dataclass(frozen=True)
class FeatureAgreement:
    """How far features are from the cached ones of the same images.

    rows: how many were compared. largest: the largest deviation. tolerance: what storing and computing explain.
    beyond: rows that deviate by more.
    """

    rows: int
    largest: float
    tolerance: float
    beyond: int


class CachedFeatures:
    """The cached features of some images, found by their sample ids.

    Splits of several views hold other crops, and unreadable images hold nothing: neither is looked at. An id may be in
    several splits, each of which names its own images from 0 or from its own folder: any of them may be the image.

    cache: opened. ids: of the images.
    """

    def __init__(self, cache: FeatureCache, ids: Sequence[str]) -> None:
        self._splits = [cache[name] for name in cache.complete if cache[name].views == 1]
        wanted = np.array(sorted(set(ids)), dtype=np.str_)
        self._rows: dict[str, list[tuple[Split, int]]] = {}
        for split in self._splits:
            names = split.sample_id
            for row in np.flatnonzero(np.isin(names, wanted) & (split.status == 0)).tolist():
                self._rows.setdefault(str(names[row]), []).append((split, row))
        self._relative = _relative(cache)

    def __len__(self) -> int:
        """How many images are in the cache."""
        return len(self._rows)

    def agreement(self, ids: Sequence[str], features: Tensor) -> FeatureAgreement | None:
        """How well features agree with the cached ones; None where none of the images is in the cache.

        ids: N. features: (N, D), as they were computed.
        """
        computed = features.detach().cpu().double().numpy()
        found = [(row, self._rows[name]) for row, name in enumerate(ids) if name in self._rows]
        if not found:
            return None
        nearest, sizes = [], []
        for row, places in found:
            stored = np.stack([np.asarray(split.features[at], np.float64) for split, at in places])
            deviations = np.nan_to_num(np.abs(stored - computed[row]).max(axis=1), nan=np.inf)
            nearest.append(float(deviations.min()))
            sizes.append(float(np.abs(stored[deviations.argmin()]).max()))
        tolerance = self._relative * max(sizes)
        return FeatureAgreement(
            len(found), max(nearest), tolerance, sum(deviation > tolerance for deviation in nearest)
        )


def _relative(cache: FeatureCache) -> float:
    """The deviation, relative to the largest feature, that storing and the precision of computing explain."""
    specification = cache.plan.specification
    words = str(specification.get("precision") or "").split("+")
    dtypes = [COMPUTED_IN[word] for word in words if word in COMPUTED_IN]
    computed = max(precision(torch.empty(0, dtype=dtype), torch.empty(0)) for dtype in (torch.float32, *dtypes))
    stored = specification.get("features", {}).get("dtype")
    # A float16 is the nearest one: half an epsilon off.
    return computed + (torch.finfo(torch.float16).eps / 2 if stored == "float16" else 0.0)
