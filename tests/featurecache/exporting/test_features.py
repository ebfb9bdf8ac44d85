"""Features computed again against those in a cache: found by id, allowed the rounding of storage and no more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from featurecache import FeatureCache, write
from featurecache.exporting.features import CachedFeatures, FeatureAgreement
from featurecache.reader import read_plan

ROWS, WIDTH = 12, 5


def drawn(seed: int) -> Tensor:
    """Features of ordinary size."""
    return torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(seed))


def ids(split: str) -> list[str]:
    """The ids of a split's rows; those of train and test are alike."""
    return [f"cat/{i}.png" if split in ("train", "test") else f"{split}/{i}.png" for i in range(ROWS)]


@pytest.fixture(params=["float16", "float32"])
def cache(tmp_path: Path, request: pytest.FixtureRequest) -> FeatureCache:
    """Three splits of features drawn with the seeds 0, 1 and 2."""
    for seed, split in enumerate(("train", "val", "test")):
        write(
            tmp_path / "x.cache",
            split,
            drawn(seed).numpy(),
            np.arange(ROWS) % 3,
            sample_ids=ids(split),
            dtype=request.param,
        )
    return FeatureCache(tmp_path / "x.cache")


def agreement(cache: FeatureCache, names: list[str], features: Tensor) -> FeatureAgreement:
    """The agreement of what must be in the cache."""
    found = CachedFeatures(cache, names).agreement(names, features)
    assert found is not None
    return found


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_same_features_are_found_in_any_split(seed: int, cache: FeatureCache) -> None:
    names = ids(("train", "val", "test")[seed])
    found = agreement(cache, names, drawn(seed))
    assert (found.rows, found.beyond) == (ROWS, 0)
    assert found.largest <= found.tolerance
    assert found.tolerance < 7e-4 * float(drawn(seed).abs().max())


def test_other_features_are_not(cache: FeatureCache) -> None:
    features = drawn(1)
    features[3, 2] += 0.01
    features[7, 0] = torch.nan
    assert agreement(cache, ids("val"), features).beyond == 2
    assert agreement(cache, ids("val"), drawn(5)).beyond == ROWS


def test_some_images_are_in_the_cache_and_some_are_not(cache: FeatureCache) -> None:
    names = ["new.png", "val/4.png", "other.png", "val/2.png"]
    found = agreement(cache, names, drawn(1)[[0, 4, 1, 2]])
    assert (found.rows, found.beyond) == (2, 0)
    known = CachedFeatures(cache, ["new.png"])
    assert len(known) == 0
    assert known.agreement(["new.png"], drawn(0)[:1]) is None


def test_what_was_computed_in_half_precision_is_allowed_its_rounding(cache: FeatureCache) -> None:
    features = drawn(1) * (1 + 2e-3)
    assert agreement(cache, ids("val"), features).beyond
    cache.plan.specification["precision"] = "bf16"
    assert not agreement(cache, ids("val"), features).beyond
    assert read_plan(cache.path).specification.get("precision") is None
